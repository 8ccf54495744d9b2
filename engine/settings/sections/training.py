"""Training: the run: its length, its updates, what it measures and when it ends."""

from typing import Any, Literal

from pydantic import Field

from engine.settings.conditions import (
    CHUNKED,
    COUNTED,
    EVALUATED,
    GUARDED,
    MEASURED,
    NEVER,
    SCHEDULED,
    SHAPED,
    TESTED,
    UNSCHEDULED_RATE,
    WARMED,
)
from engine.settings.fields import MANY, SettingsModel, setting

SECTION = "Training"

Schedule = Literal["constant", "cosine_decay", "linear_schedule", "exponential_decay", "step_decay"]
Optimizer = Literal[
    "sgd",
    "rmsprop",
    "adagrad",
    "adadelta",
    "adam",
    "adamw",
    "adamax",
    "lion",
    "adafactor",
    "muon",
]


class LrSchedule(SettingsModel):
    """How the learning rate moves over a run: up during the warmup, then down."""

    name: Schedule = setting(
        "constant", SECTION, "Shape of the learning rate over the run after the warmup."
    )
    warmup: int | None = setting(
        None,
        SECTION,
        "Updates in which the rate climbs to its peak; empty: 40 where it decays later, else 0.",
        unit="updates",
        ge=0,
        le=MANY,
    )
    warmup_init: float = setting(
        1e-7,
        SECTION,
        "Learning rate at the first update of the warmup.",
        applies=WARMED,
        ge=0,
        le=1,
    )
    decay_fraction: float = setting(
        0.8,
        SECTION,
        "Share of the updates after the warmup over which the rate falls to its final value.",
        applies=SHAPED,
        gt=0,
        le=1,
    )
    final_rate: float = setting(
        2e-6, SECTION, "Learning rate that the decay ends at.", applies=SHAPED, ge=0, le=1
    )
    arguments: list[float] | None = setting(
        None,
        SECTION,
        "The schedule's own arguments as mlx-lm's files give them, the peak rate first.",
        applies=SCHEDULED,
    )

    @property
    def warmup_steps(self) -> int:
        """The warmup that is used: none unless asked for where nothing decays by our shape."""
        if self.warmup is not None:
            return self.warmup
        return 0 if self.name == "constant" or self.arguments else 40


class TrainingSettings(SettingsModel):
    """The run: its length, its updates, what it measures and when it ends."""

    iters: int = setting(
        1000, SECTION, "Steps of the run.", unit="steps", applies=COUNTED, ge=1, le=MANY
    )
    epochs: float = setting(
        0.0,
        SECTION,
        "Passes over the prompts; above 0 it decides the length in place of iters.",
        ge=0,
        le=1e6,
    )
    batch_size: int = setting(
        1,
        SECTION,
        "Prompts (pairs) a step: more give steadier updates and need more memory.",
        unit="prompts",
        ge=1,
        le=65_536,
    )
    gradient_accumulation_steps: int = setting(
        1,
        SECTION,
        "Steps whose gradients are added up to one update: a larger batch without its memory.",
        unit="steps",
        ge=1,
        le=65_536,
    )
    learning_rate: float = setting(
        1e-5,
        SECTION,
        "Size of the updates at their peak: higher learns faster and breaks text sooner.",
        applies=UNSCHEDULED_RATE,
        gt=0,
        le=10,
    )
    optimizer: Optimizer = setting("adamw", SECTION, "The rule that turns gradients into updates.")
    optimizer_config: dict[str, dict[str, Any]] = setting(
        {}, SECTION, "Arguments of optimizers by name, such as {adamw: {weight_decay: 0.01}}."
    )
    lr_schedule: LrSchedule = Field(default_factory=LrSchedule)
    max_grad_norm: float = setting(
        1.0,
        SECTION,
        "Longer gradients are cut to this norm, so that one odd batch weighs less; 0: off.",
        ge=0,
        le=1e9,
    )
    max_seq_length: int = setting(
        2048,
        SECTION,
        "Prompt and completion together; a longer prompt loses its oldest turns.",
        unit="tokens",
        ge=8,
        le=10_000_000,
    )
    grad_checkpoint: bool = setting(
        True, SECTION, "Recomputes activations in the backward pass: less memory, slower updates."
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto",
        SECTION,
        "Compiles the update, its batches padded to at most 32 shapes: auto on a GPU, where that "
        "is faster; on a CPU only on, and only with g++. Never with dropout.",
    )
    rank_gradients: Literal["float32", "bfloat16"] = setting(
        "float32",
        SECTION,
        "How several processes that train one run send each other their gradients: bfloat16 halves "
        "what goes over the network and keeps two to three digits, so that a run differs a little "
        "from that of one process.",
    )
    efficient_long_context: bool = setting(
        False, SECTION, "Scores long sequences in chunks over the KV cache: less memory, slower."
    )
    seq_step_size: int = setting(
        512, SECTION, "Length of those chunks.", unit="tokens", applies=CHUNKED, ge=1, le=10_000_000
    )
    steps_per_report: int = setting(
        10, SECTION, "Steps between two lines of metrics.", unit="steps", ge=1, le=MANY
    )
    steps_per_eval: int = setting(
        200,
        SECTION,
        "Steps between two measurements of the held-out win rate; -1: never.",
        unit="steps",
        applies=MEASURED,
        ge=-1,
        le=MANY,
    )
    stop_after: int = setting(
        0,
        SECTION,
        "Ends the run after so many evaluations in a row whose win rate, by the lower bound of its "
        "interval, was no better than the best; 0: never.",
        unit="evaluations",
        applies=EVALUATED,
        ge=0,
        le=MANY,
    )
    max_kl: float = setting(
        0.0,
        SECTION,
        "Ends the run where a report's kl is above this: the policy has left its reference; 0: "
        "never.",
        unit="nats",
        ge=0,
        le=1e9,
    )
    max_growth: float = setting(
        0.0,
        SECTION,
        "Ends the run where answers are so many times as long as at its start; 0: never.",
        unit="times",
        ge=0,
        le=1e6,
    )
    save_every: int = setting(
        100, SECTION, "Steps between two checkpoints to resume from.", unit="steps", ge=1, le=MANY
    )
    collapse_watch: Literal["pause", "warn", "off"] = setting(
        "pause",
        SECTION,
        "Where the sampled text breaks (it loops, does not end, has few words, or is far from the "
        "start's) the run pauses with its last sound checkpoint kept (without the app it stops), "
        "or warns.",
    )
    guard: Literal["warn", "stop", "off"] = setting(
        "warn",
        SECTION,
        "At the end the model as it was and as it is now answer small suites of questions that "
        "rules score, and what was lost is told; stop ends the run with a checkpoint where "
        "steps_per_guard shows that more was lost than by chance.",
    )
    guard_suites: list[str] = setting(
        [],
        SECTION,
        "Which suites: names of those that come with the program, and paths of your own (JSONL: "
        "prompt, check: equals, contains, matches or json, value); empty: all that come with it "
        "for such a model.",
        applies=GUARDED,
    )
    guard_function: str | None = setting(
        None,
        SECTION,
        "Scores items of your own suites that have no check: FILE.py:NAME, called as f(prompt, "
        "answer); True, or a number of 0.5 or more, is right.",
        applies=GUARDED,
    )
    steps_per_guard: int = setting(
        0,
        SECTION,
        "Steps between two looks of the guard; 0: at the end alone.",
        unit="steps",
        applies=GUARDED,
        ge=0,
        le=MANY,
    )
    val_batches: int = setting(
        25,
        SECTION,
        "Batches of an evaluation; -1: all held-out prompts.",
        unit="batches",
        applies=EVALUATED,
        ge=-1,
        le=MANY,
    )
    test: bool = setting(
        False, SECTION, "Measures the win rate on the test split at the end.", applies=MEASURED
    )
    test_batches: int = setting(
        100,
        SECTION,
        "Batches of that test; -1: all test prompts.",
        unit="batches",
        applies=TESTED,
        ge=-1,
        le=MANY,
    )
    seed: int = setting(
        0, SECTION, "Start of all chance: sampling, order of prompts, adapters.", ge=0, lt=2**32
    )
    mask_prompt: bool = setting(
        True,
        SECTION,
        "Prompt tokens carry no loss; always so, whatever is said here.",
        applies=NEVER,
    )
