"""Every setting, once: its name, type, default, bounds, unit, section and what turning it does.

The form, the YAML, the command line and the page of all settings are drawn from `Settings`. How
settings are read from files and written to them is the subject of `engine.settings.files`.
"""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.settings.conditions import (
    ADAPTERS,
    CHUNKED,
    COUNTED,
    DEQUANTIZED,
    DPOP,
    EVAL_RUBRIC_READ,
    EVAL_SERVER,
    EVALUATED,
    FUSED,
    FUSED_ADAPTERS,
    GUARDED,
    HYBRID_JUDGE,
    LLM,
    LOCAL,
    MANY_ANSWERS,
    MEASURED,
    NEVER,
    NOTIFIED_PERSON,
    ONE_SOURCE,
    PERSON,
    PICKED,
    READER,
    RUBRIC_READ,
    SCHEDULED,
    SERVER,
    SEVERAL,
    SHAPED,
    SMOOTHED,
    SUMMED,
    TESTED,
    TIMED,
    TRACKED,
    UNATTENDED,
    UNSCHEDULED_RATE,
    VERDICTS,
    WARM_STARTED,
    WARMED,
    rule,
)
from engine.settings.fields import Setting, SettingsModel, describe, setting
from engine.settings.judge_names import BETWEEN, HYBRID, JudgeKind, judge_kind, split_judges

SECTIONS = (
    "Model and data",
    "Fine-tune",
    "Training",
    "Online preference",
    "Judge",
    "Output",
    "Session",
)
DATA, TUNE, TRAIN, PREFERENCE, JUDGE, OUTPUT, SESSION = SECTIONS

Quantization = Literal["none", "4-bit", "6-bit", "8-bit", "mxfp4"]
Schedule = Literal["constant", "cosine_decay", "linear_schedule", "exponential_decay", "step_decay"]
Keep = Literal["best", "last"]
Rejected = Literal["worst", "low", "random"]
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

RUBRIC = """\
Prefer the answer that helps the person more. It has to be true and to answer what was asked.
Between two that are, prefer the one that is clear, natural and polite, and says no more than
is useful. Text that is broken, repetitive or breaks off loses."""

# The highest value of a count: far above any real one, and safe in every file format.
MANY = 10**9


class LoraParameters(SettingsModel):
    """The shape of LoRA and DoRA adapters."""

    rank: int = setting(
        8,
        TUNE,
        "Size of the adapters: higher can learn more, and costs memory and speed.",
        applies=ADAPTERS,
        ge=1,
        le=4096,
    )
    scale: float = setting(
        20.0,
        TUNE,
        "Factor on what the adapters add: higher makes every update count for more.",
        applies=ADAPTERS,
        gt=0,
        le=10_000,
    )
    dropout: float = setting(
        0.0,
        TUNE,
        "Share of adapter inputs dropped while training, against overfitting.",
        applies=ADAPTERS,
        ge=0,
        lt=1,
    )
    keys: list[str] | None = setting(
        None,
        TUNE,
        "Modules that get adapters, such as self_attn.q_proj; empty: all linear layers.",
        applies=ADAPTERS,
    )


class LrSchedule(SettingsModel):
    """How the learning rate moves over a run: up during the warmup, then down."""

    name: Schedule = setting(
        "constant", TRAIN, "Shape of the learning rate over the run after the warmup."
    )
    warmup: int | None = setting(
        None,
        TRAIN,
        "Updates in which the rate climbs to its peak; empty: 40 where it decays later, else 0.",
        unit="updates",
        ge=0,
        le=MANY,
    )
    warmup_init: float = setting(
        1e-7, TRAIN, "Learning rate at the first update of the warmup.", applies=WARMED, ge=0, le=1
    )
    decay_fraction: float = setting(
        0.8,
        TRAIN,
        "Share of the updates after the warmup over which the rate falls to its final value.",
        applies=SHAPED,
        gt=0,
        le=1,
    )
    final_rate: float = setting(
        2e-6, TRAIN, "Learning rate that the decay ends at.", applies=SHAPED, ge=0, le=1
    )
    arguments: list[float] | None = setting(
        None,
        TRAIN,
        "The schedule's own arguments as mlx-lm's files give them, the peak rate first.",
        applies=SCHEDULED,
    )

    @property
    def warmup_steps(self) -> int:
        """The warmup that is used: none unless asked for where nothing decays by our shape."""
        if self.warmup is not None:
            return self.warmup
        return 0 if self.name == "constant" or self.arguments else 40


class Settings(SettingsModel):
    """All settings of a run, validated one by one; `problems` looks at them together."""

    model: str = setting(
        "Qwen/Qwen3-0.6B",
        DATA,
        "The model that is trained: hub id, local folder, or starter (the bundled one).",
    )
    data: str = setting(
        "mlx-community/Human-Like-DPO",
        DATA,
        "The prompts: hub dataset id, local folder, file (jsonl, json, csv, tsv, parquet, txt; "
        "also .gz), or starter.",
    )
    data_config: str | None = setting(
        None,
        DATA,
        "Configuration of a hub dataset that has several; data: NAME:CONFIGURATION says the same.",
        applies=ONE_SOURCE,
    )
    data_split: str | None = setting(
        None,
        DATA,
        "Split whose prompts are trained on, such as train_sft, or a part of a hub dataset's, such "
        "as train[:10%]; empty: train.",
        applies=ONE_SOURCE,
    )
    data_streaming: bool = setting(
        False,
        DATA,
        "Reads a hub dataset over the network as far as max_prompts and eval_prompts need it, out "
        "of a shuffled window, and downloads nothing else.",
    )
    data_mix: list[dict[str, str | float]] = setting(
        [],
        DATA,
        "Several sources in place of data: {data: NAME, weight: 2}, and so on, each also with "
        "data_config, data_split, prompt_feature and system_feature of its own. With weights the "
        "prompts are in that proportion, as many as the scarcest source allows; without, all are "
        "used.",
    )
    text_prompts: Literal["lines", "files"] = setting(
        "lines",
        DATA,
        "What is a prompt in txt files: each line, or each file as a whole (md files too).",
    )
    prompt_feature: str | None = setting(
        None,
        DATA,
        "Column with the prompt, text or chat messages, or texts to join, such as context + "
        "question. Found by itself are prompt, question, instruction, messages and conversations, "
        "a text with the context and input beside it; empty: found by itself.",
    )
    system_feature: str | None = setting(
        None,
        DATA,
        "Column with a system message for each prompt; empty: system or system_prompt, if any.",
    )
    system_prompt: str | None = setting(
        None,
        DATA,
        "One system message put before every prompt that brings none.",
        multiline=True,
    )
    enable_thinking: bool = setting(
        False,
        DATA,
        "Lets a model with a thinking mode think before it answers, policy and judge alike; "
        "slower, and completions need room for it.",
    )
    max_prompts: int = setting(
        0,
        DATA,
        "Use only this many prompts after the shuffle; 0: all.",
        unit="prompts",
        ge=0,
        le=MANY,
    )
    eval_prompts: int = setting(
        64,
        DATA,
        "Prompts never trained on, kept for the win rate; more make it surer and slower.",
        unit="prompts",
        applies=MEASURED,
        ge=0,
        le=MANY,
    )
    trust_remote_code: bool = setting(
        False,
        DATA,
        "Runs Python code that the model's folder brings. Only for a source you trust as much "
        "as a program you install.",
        dangerous=True,
    )
    lm_studio_name: str | None = setting(
        None,
        DATA,
        "Also writes the fused model into LM Studio's models folder under this name.",
        applies=FUSED,
    )

    train_type: Literal["lora", "dora", "full"] = setting(
        "lora",
        TUNE,
        "lora trains small adapters; dora adapters with their own magnitudes, a little better and "
        "slower; full all weights, with several times the memory.",
    )
    num_layers: int = setting(
        16,
        TUNE,
        "Layers, counted from the top, that are trained; -1: all.",
        unit="layers",
        ge=-1,
        le=10_000,
    )
    lora_parameters: LoraParameters = Field(default_factory=LoraParameters)
    quantization: Quantization = setting(
        "4-bit",
        TUNE,
        "Precision of the frozen weights in memory: fewer bits need less memory and lose some "
        "quality. Full fine-tuning takes none.",
    )
    resume_adapter_file: str | None = setting(
        None,
        TUNE,
        "Saved adapters to start from: a safetensors file, or its folder. What adapter_config.json "
        "beside it says takes the place of defaults, and the run keeps a copy.",
    )

    iters: int = setting(
        1000, TRAIN, "Steps of the run.", unit="steps", applies=COUNTED, ge=1, le=MANY
    )
    epochs: float = setting(
        0.0,
        TRAIN,
        "Passes over the prompts; above 0 it decides the length in place of iters.",
        ge=0,
        le=1e6,
    )
    batch_size: int = setting(
        1,
        TRAIN,
        "Prompts (pairs) a step: more give steadier updates and need more memory.",
        unit="prompts",
        ge=1,
        le=65_536,
    )
    gradient_accumulation_steps: int = setting(
        1,
        TRAIN,
        "Steps whose gradients are added up to one update: a larger batch without its memory.",
        unit="steps",
        ge=1,
        le=65_536,
    )
    learning_rate: float = setting(
        1e-5,
        TRAIN,
        "Size of the updates at their peak: higher learns faster and breaks text sooner.",
        applies=UNSCHEDULED_RATE,
        gt=0,
        le=10,
    )
    optimizer: Optimizer = setting("adamw", TRAIN, "The rule that turns gradients into updates.")
    optimizer_config: dict[str, dict[str, Any]] = setting(
        {}, TRAIN, "Arguments of optimizers by name, such as {adamw: {weight_decay: 0.01}}."
    )
    lr_schedule: LrSchedule = Field(default_factory=LrSchedule)
    max_grad_norm: float = setting(
        1.0,
        TRAIN,
        "Longer gradients are cut to this norm, so that one odd batch weighs less; 0: off.",
        ge=0,
        le=1e9,
    )
    max_seq_length: int = setting(
        2048,
        TRAIN,
        "Prompt and completion together; a longer prompt loses its oldest turns.",
        unit="tokens",
        ge=8,
        le=10_000_000,
    )
    grad_checkpoint: bool = setting(
        True, TRAIN, "Recomputes activations in the backward pass: less memory, slower updates."
    )
    compile: Literal["auto", "on", "off"] = setting(
        "auto",
        TRAIN,
        "Compiles the update, its batches padded to at most 32 shapes: auto on a GPU, where that "
        "is faster; on a CPU only on, and only with g++. Never with dropout.",
    )
    rank_gradients: Literal["float32", "bfloat16"] = setting(
        "float32",
        TRAIN,
        "How several processes that train one run send each other their gradients: bfloat16 halves "
        "what goes over the network and keeps two to three digits, so that a run differs a little "
        "from that of one process.",
    )
    efficient_long_context: bool = setting(
        False, TRAIN, "Scores long sequences in chunks over the KV cache: less memory, slower."
    )
    seq_step_size: int = setting(
        512, TRAIN, "Length of those chunks.", unit="tokens", applies=CHUNKED, ge=1, le=10_000_000
    )
    steps_per_report: int = setting(
        10, TRAIN, "Steps between two lines of metrics.", unit="steps", ge=1, le=MANY
    )
    steps_per_eval: int = setting(
        200,
        TRAIN,
        "Steps between two measurements of the held-out win rate; -1: never.",
        unit="steps",
        applies=MEASURED,
        ge=-1,
        le=MANY,
    )
    stop_after: int = setting(
        0,
        TRAIN,
        "Ends the run after so many evaluations in a row whose win rate, by the lower bound of its "
        "interval, was no better than the best; 0: never.",
        unit="evaluations",
        applies=EVALUATED,
        ge=0,
        le=MANY,
    )
    max_kl: float = setting(
        0.0,
        TRAIN,
        "Ends the run where a report's kl is above this: the policy has left its reference; 0: "
        "never.",
        unit="nats",
        ge=0,
        le=1e9,
    )
    max_growth: float = setting(
        0.0,
        TRAIN,
        "Ends the run where answers are so many times as long as at its start; 0: never.",
        unit="times",
        ge=0,
        le=1e6,
    )
    save_every: int = setting(
        100, TRAIN, "Steps between two checkpoints to resume from.", unit="steps", ge=1, le=MANY
    )
    collapse_watch: Literal["pause", "warn", "off"] = setting(
        "pause",
        TRAIN,
        "Where the sampled text breaks (it loops, does not end, has few words, or is far from the "
        "start's) the run pauses with its last sound checkpoint kept (without the app it stops), "
        "or warns.",
    )
    guard: Literal["warn", "stop", "off"] = setting(
        "warn",
        TRAIN,
        "At the end the model as it was and as it is now answer small suites of questions that "
        "rules score, and what was lost is told; stop ends the run with a checkpoint where "
        "steps_per_guard shows that more was lost than by chance.",
    )
    guard_suites: list[str] = setting(
        [],
        TRAIN,
        "Which suites: names of those that come with the program, and paths of your own (JSONL: "
        "prompt, check: equals, contains, matches or json, value); empty: all that come with it "
        "for such a model.",
        applies=GUARDED,
    )
    steps_per_guard: int = setting(
        0,
        TRAIN,
        "Steps between two looks of the guard; 0: at the end alone.",
        unit="steps",
        applies=GUARDED,
        ge=0,
        le=MANY,
    )
    val_batches: int = setting(
        25,
        TRAIN,
        "Batches of an evaluation; -1: all held-out prompts.",
        unit="batches",
        applies=EVALUATED,
        ge=-1,
        le=MANY,
    )
    test: bool = setting(
        False, TRAIN, "Measures the win rate on the test split at the end.", applies=MEASURED
    )
    test_batches: int = setting(
        100,
        TRAIN,
        "Batches of that test; -1: all test prompts.",
        unit="batches",
        applies=TESTED,
        ge=-1,
        le=MANY,
    )
    seed: int = setting(
        0, TRAIN, "Start of all chance: sampling, order of prompts, adapters.", ge=0, lt=2**32
    )
    mask_prompt: bool = setting(
        True, TRAIN, "Prompt tokens carry no loss; always so, whatever is said here.", applies=NEVER
    )

    beta: float = setting(
        0.1,
        PREFERENCE,
        "Pull towards the reference: larger asks for a smaller lead over it (about 1/beta nats), "
        "so the model stays closer. How fast it learns is learning_rate's matter; sgd's first "
        "steps alone grow with beta (with ipo, they shrink).",
        gt=0,
        le=1000,
    )
    dpo_cpo_loss_type: Literal["sigmoid", "hinge", "ipo", "dpop"] = setting(
        "sigmoid",
        PREFERENCE,
        "How a pair becomes a loss: sigmoid (DPO), hinge (stops at a margin), ipo (aims at one), "
        "dpop (keeps the winner likely).",
    )
    delta: float = setting(
        50.0,
        PREFERENCE,
        "Weight of dpop's penalty on a winner that gets less likely.",
        applies=DPOP,
        ge=0,
        le=1e6,
    )
    dpop_form: Literal["paper", "studio"] = setting(
        "paper",
        PREFERENCE,
        "paper puts the penalty inside the sigmoid; studio adds it to the loss.",
        applies=DPOP,
    )
    soft_labels: Literal["off", "mix", "geometric"] = setting(
        "off",
        PREFERENCE,
        "How sure the judge is counts too, and not its winner alone: mix weighs the losses of both "
        "orders of a pair by it; geometric shrinks the lead that is asked for (sigmoid alone).",
        applies=LLM,
    )
    label_smoothing: float = setting(
        0.0,
        PREFERENCE,
        "Share of labels that are taken to be wrong, for the sigmoid loss without soft_labels; 0: "
        "none.",
        ge=0,
        lt=0.5,
    )
    label_smoothing_form: Literal["conservative", "robust"] = setting(
        "conservative",
        PREFERENCE,
        "conservative asks for a smaller lead of the winner (cDPO); robust takes out what wrong "
        "labels add to the loss on average (rDPO), and never has enough of a lead.",
        applies=SMOOTHED,
    )
    length_normalize: bool = setting(
        False,
        PREFERENCE,
        "Compares completions by their log-probability a token, so that a longer one has no more "
        "weight than a short one; for sigmoid (ipo does so always) and hinge. Then beta counts "
        "for less: 10 times the usual is a start.",
        applies=SUMMED,
    )
    length_penalty: float = setting(
        0.0,
        PREFERENCE,
        "Takes so many nats a 100 tokens from the judge's preference for the longer answer, for "
        "training alone; 0: none.",
        unit="nats",
        applies=LLM,
        ge=0,
        le=1000,
    )
    missing_eos: Literal["keep", "lose"] = setting(
        "keep",
        PREFERENCE,
        "An answer that max_completion_length cut off: keep has it judged as any other; lose "
        "makes the other one win unasked, and a pair of two such answers a tie.",
    )
    warm_start: str | None = setting(
        None,
        PREFERENCE,
        "Preference pairs to learn from before the first sampled ones, in steps beside those of "
        "iters: a file or folder (prompt, chosen, rejected), a hub dataset as owner/name, or an "
        "earlier run, by its name or folder, with its labels of a chat. The run keeps a copy.",
    )
    warm_start_epochs: float = setting(
        1.0,
        PREFERENCE,
        "Passes over the pairs of warm_start before the first sampled ones.",
        applies=WARM_STARTED,
        ge=0,
        le=1e6,
    )
    replay: float = setting(
        0.0,
        PREFERENCE,
        "How many pairs of warm_start are mixed into each later step, as a share of batch_size; 0: "
        "none.",
        applies=WARM_STARTED,
        ge=0,
        le=64,
    )
    reference_model_path: str | None = setting(
        None,
        PREFERENCE,
        "Another frozen model to stay close to; empty: the model that the run starts from, the "
        "adapters of resume_adapter_file included.",
    )
    completions: int = setting(
        2,
        PREFERENCE,
        "Answers that are sampled to a prompt. Of more than two the best and one of the others are "
        "a pair: by their scores where the judge gives scores, else by a small tournament, whose "
        "judgements the form and `train` tell beforehand. A person picks the best by its number.",
        unit="answers",
        ge=2,
        le=8,
    )
    rejected: Rejected = setting(
        "worst",
        PREFERENCE,
        "Which of the others the best one of more than two is paired with: the worst; low, the one "
        "whose score is nearest to the mean of all less one standard deviation (from 4 answers "
        "on; not of a person, who gives no scores); or one at random. A person picks the worst "
        "after the best.",
        applies=MANY_ANSWERS,
    )
    pairs_per_pick: Literal["one", "all"] = setting(
        "one",
        PREFERENCE,
        "What a person's pick of more than two answers becomes: one pair, by rejected, or a pair "
        "with each of the others.",
        applies=PICKED,
    )
    max_completion_length: int = setting(
        512,
        PREFERENCE,
        "Longest completion that is sampled; the time of a step grows with it.",
        unit="tokens",
        ge=1,
        le=10_000_000,
    )
    temperature: float = setting(
        0.8,
        PREFERENCE,
        "Chance in sampling: low gives pairs that are alike, high odd text.",
        gt=0,
        le=10,
    )
    top_p: float = setting(
        0.95,
        PREFERENCE,
        "Samples from the likeliest tokens that hold this share; 1: from all.",
        gt=0,
        le=1,
    )
    top_k: int = setting(
        0,
        PREFERENCE,
        "Samples from this many likeliest tokens; 0: from all.",
        unit="tokens",
        ge=0,
        le=MANY,
    )
    min_p: float = setting(
        0.0,
        PREFERENCE,
        "Drops tokens less likely than this share of the likeliest; 0: off.",
        ge=0,
        lt=1,
    )
    lookahead: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = setting(
        "auto",
        PREFERENCE,
        "Batches sampled ahead of the updates, so that nobody waits; auto: 0 for an LLM judge, "
        "1 for a person, 4 for hybrid, whose person has so long to answer: then the run goes on "
        "without the pair.",
        unit="batches",
    )

    judge: str = setting(
        "Qwen/Qwen3-0.6B",
        JUDGE,
        "Who picks the better answer: hub id or local folder of a chat or a reward model, "
        "starter, human (you), hybrid (hybrid_model, and you where it is not sure), a server of "
        "OpenAI's protocol, such as http://localhost:8080/v1, FILE.py:FUNCTION, or rule:length, "
        "matches, json or avoid. Several: a, b, c.",
    )
    judge_system: str = setting(
        RUBRIC,
        JUDGE,
        "The rubric: what makes one answer better.",
        applies=RUBRIC_READ,
        multiline=True,
    )
    hybrid_model: str | None = setting(
        None,
        JUDGE,
        "Who labels, beside a person, what it is sure of: whatever judge may be, but no person.",
        applies=HYBRID_JUDGE,
    )
    hybrid_margin: float = setting(
        0.2,
        JUDGE,
        "A pair whose model is closer than this to 0.5 goes to the person, as does one on which it "
        "gives no valid verdict.",
        applies=HYBRID_JUDGE,
        ge=0,
        le=0.5,
    )
    audit_rate: float = setting(
        0.05,
        JUDGE,
        "Share of the other pairs, drawn at random, that go to the person too, to measure how far "
        "the model is to be trusted.",
        applies=HYBRID_JUDGE,
        ge=0,
        le=1,
    )
    judge_weights: list[float] = setting(
        [],
        JUDGE,
        "How much each of several judges counts, in their order; empty: all the same.",
        applies=SEVERAL,
    )
    judge_criteria: list[dict[str, str | float]] = setting(
        [],
        JUDGE,
        "A rubric in parts that are asked apart, in place of judge_system: {name: truth, text: "
        "Prefer the answer that is true., weight: 2}, and so on.",
        applies=READER,
    )
    judge_quantization: Quantization | None = setting(
        None,
        JUDGE,
        "Precision of the judge's weights; empty: the model's, so that both can share memory.",
        applies=LOCAL,
    )
    judge_mode: Literal["logits", "generate"] = setting(
        "logits",
        JUDGE,
        "logits reads how likely the judge finds each answer; generate lets it write first, for "
        "judges that must think, and is far slower.",
        applies=READER,
    )
    judge_max_tokens: int | None = setting(
        None,
        JUDGE,
        "Tokens of a prompt and its two answers that the judge reads: of longer ones the prompt's "
        "end and each answer's start; empty: twice max_seq_length.",
        unit="tokens",
        applies=READER,
        ge=32,
        le=10_000_000,
    )
    judge_ties: Literal["margin", "orders"] = setting(
        "margin",
        JUDGE,
        "What a tie is: margin, a q within judge_margin of 0.5; orders, also where the judge picks "
        "the other answer once they are swapped. Measured: the starter's judge keeps 1.00 of its "
        "pairs by margin, and 0.98 by orders, nearly all right; a model of 135 M, which leans to "
        "a place more than to an answer, keeps 0.94 by margin, 0.90 of them right, and 0.05 by "
        "orders.",
        applies=VERDICTS,
    )
    judge_margin: float = setting(
        0.005,
        JUDGE,
        "A pair whose judge is closer than this to 0.5 is a tie and is not trained on. Small ones "
        "are never sure: at 0.05 one of 135 M decided 0.14 of polite against rude, at 0.005 0.94, "
        "by a leaning to politeness that no rubric turned round.",
        applies=VERDICTS,
        ge=0,
        lt=0.5,
    )
    judge_watch: Literal["pause", "warn", "off"] = setting(
        "pause",
        JUDGE,
        "After 32 valid pairs of which the judge decides fewer than a tenth, or whose two orders "
        "have nothing in common, the run pauses with a checkpoint (without the app it stops), or "
        "warns.",
        applies=LLM,
    )
    judge_model: str | None = setting(
        None,
        JUDGE,
        "Name that the server knows the judge by; empty: the only model that it has.",
        applies=SERVER,
    )
    judge_key_env: str | None = setting(
        None,
        JUDGE,
        "Name of the environment variable with the server's key, such as OPENAI_API_KEY; the key "
        "itself is written nowhere. Empty: the server wants none.",
        applies=SERVER,
    )
    judge_concurrency: int = setting(
        4,
        JUDGE,
        "Requests that a server is sent at once.",
        unit="requests",
        applies=SERVER,
        ge=1,
        le=256,
    )
    judge_timeout: float = setting(
        120.0,
        JUDGE,
        "A request to a server is sent again when it takes longer; a call of a function that does "
        "is given up, and its pair is invalid.",
        unit="s",
        applies=TIMED,
        gt=0,
        le=86_400,
    )
    judge_away_minutes: float = setting(
        60.0,
        JUDGE,
        "A run waits this long for a server that does not answer; then it pauses with a "
        "checkpoint, or stops where nobody could go on.",
        unit="min",
        applies=SERVER,
        ge=0,
        le=100_000,
    )

    eval_judge: str | None = setting(
        None,
        JUDGE,
        "Who measures the win rate, where it shall not be who trains: whatever judge may be, but "
        "no person. Both win rates are told then, of the same answers; where a person trains, "
        "this one alone. Empty: the judge.",
    )
    eval_judge_system: str | None = setting(
        None,
        JUDGE,
        "The rubric that the win rate is measured by; empty: the judge's.",
        applies=EVAL_RUBRIC_READ,
        multiline=True,
    )
    eval_judge_model: str | None = setting(
        None,
        JUDGE,
        "Name that a server knows the model of eval_judge by; empty: judge_model's on the same "
        "server, on another one the only model that it has.",
        applies=EVAL_SERVER,
    )
    eval_judge_key_env: str | None = setting(
        None,
        JUDGE,
        "Name of the environment variable with the key for the server of eval_judge; empty: "
        "judge_key_env's on the same server, and none on another one.",
        applies=EVAL_SERVER,
    )

    judge_length: int = setting(
        0,
        JUDGE,
        "Words that an answer should have for rule:length, which prefers the nearer one; 0: the "
        "shorter one.",
        unit="words",
        applies=rule("length"),
        ge=0,
        le=MANY,
    )
    judge_pattern: str | None = setting(
        None,
        JUDGE,
        "Regular expression of Python; rule:matches prefers an answer in which it is found.",
        applies=rule("matches"),
    )
    judge_words: list[str] = setting(
        [],
        JUDGE,
        "Words that rule:avoid counts, in whatever case; the answer with fewer is better.",
        applies=rule("avoid"),
    )

    run_name: str | None = setting(
        None, OUTPUT, "Name of the run and its folder; empty: the model and a number."
    )
    output_root: str | None = setting(
        None, OUTPUT, "Folder that gets a runs folder; empty: LORA_STUDIO_HOME or your data folder."
    )
    keep: Keep = setting(
        "best",
        OUTPUT,
        "Which step's weights are fused, exported and tried: the best by its held-out win rate, "
        "where one was measured, or the last. Both have a checkpoint.",
        applies=EVALUATED,
    )
    fuse: bool = setting(True, OUTPUT, "Writes a standalone model at the end.")
    fuse_dequantize: bool = setting(
        True,
        OUTPUT,
        "Writes that model in full precision, which other programs read.",
        applies=DEQUANTIZED,
    )
    fuse_remove_adapters: bool = setting(
        False,
        OUTPUT,
        "Removes the adapters once they are part of that model.",
        applies=FUSED_ADAPTERS,
    )

    report_to: list[str] = setting(
        [],
        OUTPUT,
        "Programs that follow the run: tensorboard, wandb, trackio, swanlab, each an extra to "
        "install. They get metrics, settings and the newest pairs; wandb and swanlab send those to "
        "their servers unless WANDB_MODE or SWANLAB_MODE is offline.",
    )
    project_name: str = setting(
        "lora-studio",
        OUTPUT,
        "The project that those programs file the run under.",
        applies=TRACKED,
    )

    on_hangup: Literal["continue", "stop"] = setting(
        "continue",
        SESSION,
        "When the terminal is lost: continue without a screen, or stop with a checkpoint.",
        applies=UNATTENDED,
    )
    undo_seconds: float = setting(
        8.0,
        SESSION,
        "An update waits for the next press or this long, so the last press can be undone.",
        unit="s",
        applies=PERSON,
        ge=0,
        le=3600,
    )
    self_check_every: int = setting(
        20,
        SESSION,
        "Every so many pairs an earlier one comes again, swapped, to measure how steady you are; "
        "0: never.",
        unit="pairs",
        applies=PERSON,
        ge=0,
        le=MANY,
    )
    notify_env: str | None = setting(
        None,
        SESSION,
        "Name of the environment variable with a web address that is told when the run ends, fails "
        "or pauses by itself, when its health turns, and when a pair has waited: of ntfy, Slack, "
        "Discord or any webhook. The address is a secret and is written nowhere.",
    )
    notify_minutes: float = setting(
        5.0,
        SESSION,
        "A pair has waited when the person has answered none for so long.",
        unit="min",
        applies=NOTIFIED_PERSON,
        gt=0,
        le=100_000,
    )
    memory_limit: float = setting(
        0.85,
        SESSION,
        "Share of the machine's memory above which a run saves a checkpoint and pauses.",
        gt=0,
        le=1,
    )

    @field_validator("judge", "hybrid_model", "eval_judge", mode="before")
    @classmethod
    def _several_judges(cls, value: Any) -> Any:
        """A list of names is one text, and so is one that is written as in a file."""
        if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
            value = [name.strip(" '\"") for name in value[1:-1].split(",")]
        several = isinstance(value, list) and value and all(isinstance(e, str) for e in value)
        return BETWEEN.join(value) if several else value

    @model_validator(mode="before")
    @classmethod
    def _a_list_of_data_is_a_mix(cls, data: Any) -> Any:
        """`data: [{data: a}, b]` is what `data_mix` says; data then names them all."""
        given = data.get("data") if isinstance(data, dict) else None
        if isinstance(given, list) and given:
            mix = [{"data": each} if isinstance(each, str) else each for each in given]
            data = {**data, "data_mix": mix}
        mix = data.get("data_mix") if isinstance(data, dict) else None
        if isinstance(mix, list) and mix and all(isinstance(each, dict) for each in mix):
            data = {**data, "data": BETWEEN.join(str(each.get("data", "")) for each in mix)}
        return data

    @field_validator("report_to", mode="before")
    @classmethod
    def _several_trackers(cls, value: Any) -> Any:
        """A text is a list of names, as other programs' configs have it."""
        return [each.strip() for each in value.split(",")] if isinstance(value, str) else value

    @field_validator("soft_labels", mode="before")
    @classmethod
    def _a_switch_of_soft_labels(cls, data: Any) -> Any:
        """It was a switch once, which older files still have."""
        return {True: "mix", False: "off"}[data] if isinstance(data, bool) else data

    @model_validator(mode="before")
    @classmethod
    def _full_takes_no_quantization(cls, data: Any) -> Any:
        """The default gives way to full fine-tuning; an explicit choice is a problem instead."""
        if isinstance(data, dict) and data.get("train_type") == "full":
            return {"quantization": "none", **data}
        return data

    @property
    def data_names(self) -> tuple[str, ...]:
        """The datasets, files and folders that the prompts are read from."""
        if self.data_mix:
            return tuple(str(source.get("data", "")) for source in self.data_mix)
        return (self.data,)

    @property
    def human_judge(self) -> bool:
        return self.judge == "human"

    @property
    def asks_person(self) -> bool:
        """Whether pairs are put before a person: all, or some."""
        return self.human_judge or self.judge == HYBRID

    @property
    def measures(self) -> bool:
        """Whether there is a judge that a win rate can be measured by."""
        return not self.human_judge or self.eval_judge is not None

    @property
    def judge_kinds(self) -> frozenset[JudgeKind]:
        """Who judges, those who only measure the win rate included, by their spelling."""
        return frozenset(judge_kind(name) for name in (*self.judges, *self.eval_judges))

    @property
    def judges(self) -> tuple[str, ...]:
        """The names in `judge`, or in `hybrid_model` where that judges with a person."""
        if self.judge == HYBRID:
            return split_judges(self.hybrid_model) if self.hybrid_model else ()
        return split_judges(self.judge)

    @property
    def eval_judges(self) -> tuple[str, ...]:
        """The names in `eval_judge`."""
        return split_judges(self.eval_judge) if self.eval_judge else ()

    def judge_names(self, *kinds: JudgeKind) -> dict[str, str]:
        """All judges of some kinds, those who only measure the win rate included, each once with
        the setting that names it first."""
        settings: dict[str, str] = {}
        judging = "hybrid_model" if self.judge == HYBRID else "judge"
        for key, names in ((judging, self.judges), ("eval_judge", self.eval_judges)):
            for name in names:
                if judge_kind(name) in kinds:
                    settings.setdefault(name, key)
        return settings

    @property
    def prompt_tokens(self) -> int:
        """Room for a prompt, in tokens: what the longest completion leaves of `max_seq_length`."""
        return self.max_seq_length - self.max_completion_length

    @property
    def judged_tokens(self) -> int:
        """`judge_max_tokens`, or the default: room for what the policy reads and writes, also
        where the judge's tokenizer makes more tokens of it."""
        return self.judge_max_tokens or max(32, 2 * self.max_seq_length)

    @property
    def lookahead_batches(self) -> int:
        """`lookahead` with `auto` resolved."""
        if self.lookahead == "auto":
            return 1 if self.human_judge else 4 if self.judge == HYBRID else 0
        return self.lookahead


@cache
def fields() -> tuple[Setting, ...]:
    """Every setting in the order of the form, nested ones with dotted keys."""
    return tuple(describe(Settings))


def value(settings: Settings, key: str) -> Any:
    """The value of a setting by its dotted key."""
    part: Any = settings
    for name in key.split("."):
        part = getattr(part, name)
    return part


def no_effect(settings: Settings) -> dict[str, str]:
    """The settings that change nothing now, each with the reason."""
    return {
        field.key: field.applies.otherwise
        for field in fields()
        if field.applies and not field.applies.holds(settings)
    }


def changed(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that are not at their default: key -> (value, default)."""
    values = ((field.key, value(settings, field.key), field.default) for field in fields())
    return {key: (now, default) for key, now, default in values if now != default}
