"""Online preference: the loss, and the answers that are sampled for it."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from engine.settings.conditions import (
    DPOP,
    LLM,
    MANY_ANSWERS,
    PICKED,
    SMOOTHED,
    SUMMED,
    WARM_STARTED,
)
from engine.settings.fields import MANY, SettingsModel, setting

SECTION = "Online preference"

Rejected = Literal["worst", "low", "random"]


class PreferenceSettings(SettingsModel):
    """The loss, and the answers that are sampled for it."""

    beta: float = setting(
        0.1,
        SECTION,
        "Pull towards the reference: larger asks for a smaller lead over it (about 1/beta nats), "
        "so the model stays closer. How fast it learns is learning_rate's matter; sgd's first "
        "steps alone grow with beta (with ipo, they shrink).",
        gt=0,
        le=1000,
    )
    dpo_cpo_loss_type: Literal["sigmoid", "hinge", "ipo", "dpop"] = setting(
        "sigmoid",
        SECTION,
        "How a pair becomes a loss: sigmoid (DPO), hinge (stops at a margin), ipo (aims at one), "
        "dpop (keeps the winner likely).",
    )
    delta: float = setting(
        50.0,
        SECTION,
        "Weight of dpop's penalty on a winner that gets less likely.",
        applies=DPOP,
        ge=0,
        le=1e6,
    )
    dpop_form: Literal["paper", "studio"] = setting(
        "paper",
        SECTION,
        "paper puts the penalty inside the sigmoid; studio adds it to the loss.",
        applies=DPOP,
    )
    soft_labels: Literal["off", "mix", "geometric"] = setting(
        "off",
        SECTION,
        "How sure the judge is counts too, and not its winner alone: mix weighs the losses of both "
        "orders of a pair by it; geometric shrinks the lead that is asked for (sigmoid alone).",
        applies=LLM,
    )
    label_smoothing: float = setting(
        0.0,
        SECTION,
        "Share of labels that are taken to be wrong, for the sigmoid loss without soft_labels; 0: "
        "none.",
        ge=0,
        lt=0.5,
    )
    label_smoothing_form: Literal["conservative", "robust"] = setting(
        "conservative",
        SECTION,
        "conservative asks for a smaller lead of the winner (cDPO); robust takes out what wrong "
        "labels add to the loss on average (rDPO), and never has enough of a lead.",
        applies=SMOOTHED,
    )
    length_normalize: bool = setting(
        False,
        SECTION,
        "Compares completions by their log-probability a token, so that a longer one has no more "
        "weight than a short one; for sigmoid (ipo does so always) and hinge. Then beta counts "
        "for less: multiply it by about the tokens of an answer.",
        applies=SUMMED,
    )
    length_penalty: float = setting(
        0.0,
        SECTION,
        "Takes so many nats a 100 tokens from the judge's preference for the longer answer, for "
        "training alone; 0: none.",
        unit="nats",
        applies=LLM,
        ge=0,
        le=1000,
    )
    missing_eos: Literal["keep", "lose"] = setting(
        "keep",
        SECTION,
        "An answer that max_completion_length cut off: keep has it judged as any other; lose "
        "makes the other one win unasked, and a pair of two such answers a tie.",
    )
    warm_start: str | None = setting(
        None,
        SECTION,
        "Preference pairs to learn from before the first sampled ones, in steps beside those of "
        "iters: a file or folder (prompt, chosen, rejected), a hub dataset as owner/name, or an "
        "earlier run, by its name or folder, with its labels of a chat. The run keeps a copy.",
    )
    warm_start_epochs: float = setting(
        1.0,
        SECTION,
        "Passes over the pairs of warm_start before the first sampled ones.",
        applies=WARM_STARTED,
        ge=0,
        le=1e6,
    )
    replay: float = setting(
        0.0,
        SECTION,
        "How many pairs of warm_start are mixed into each later step, as a share of batch_size; 0: "
        "none.",
        applies=WARM_STARTED,
        ge=0,
        le=64,
    )
    reference_model_path: str | None = setting(
        None,
        SECTION,
        "Another frozen model to stay close to; empty: the model that the run starts from, the "
        "adapters of resume_adapter_file included.",
    )
    completions: int = setting(
        2,
        SECTION,
        "Answers that are sampled to a prompt. Of more than two the best and one of the others are "
        "a pair: by their scores where the judge gives scores, else by a small tournament, whose "
        "judgements the form and `train` tell beforehand. A person picks the best by its number.",
        unit="answers",
        ge=2,
        le=8,
    )
    rejected: Rejected = setting(
        "worst",
        SECTION,
        "Which of the others the best one of more than two is paired with: the worst; low, the one "
        "whose score is nearest to the mean of all less one standard deviation (from 4 answers "
        "on; not of a person, who gives no scores); or one at random. A person picks the worst "
        "after the best.",
        applies=MANY_ANSWERS,
    )
    pairs_per_pick: Literal["one", "all"] = setting(
        "one",
        SECTION,
        "What a person's pick of more than two answers becomes: one pair, by rejected, or a pair "
        "with each of the others.",
        applies=PICKED,
    )
    max_completion_length: int = setting(
        512,
        SECTION,
        "Longest completion that is sampled; the time of a step grows with it.",
        unit="tokens",
        ge=1,
        le=10_000_000,
    )
    temperature: float = setting(
        0.8,
        SECTION,
        "Chance in sampling: low gives pairs that are alike, high odd text.",
        gt=0,
        le=10,
    )
    top_p: float = setting(
        0.95,
        SECTION,
        "Samples from the likeliest tokens that hold this share; 1: from all.",
        gt=0,
        le=1,
    )
    top_k: int = setting(
        0,
        SECTION,
        "Samples from this many likeliest tokens; 0: from all.",
        unit="tokens",
        ge=0,
        le=MANY,
    )
    min_p: float = setting(
        0.0,
        SECTION,
        "Drops tokens less likely than this share of the likeliest; 0: off.",
        ge=0,
        lt=1,
    )
    lookahead: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = setting(
        "auto",
        SECTION,
        "Batches sampled ahead of the updates, so that nobody waits; auto: 0 for an LLM judge, "
        "1 for a person, 4 for hybrid, whose person has so long to answer: then the run goes on "
        "without the pair.",
        unit="batches",
    )

    @field_validator("soft_labels", mode="before")
    @classmethod
    def _a_switch_of_soft_labels(cls, data: Any) -> Any:
        """It was a switch once, which older files still have."""
        return {True: "mix", False: "off"}[data] if isinstance(data, bool) else data
