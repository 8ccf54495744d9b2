"""Judge: who picks the winner, and how it is asked."""

from typing import Any, Literal

from pydantic import field_validator

from engine.settings.conditions import (
    EVAL_RUBRIC_READ,
    EVAL_SERVER,
    HYBRID_JUDGE,
    LLM,
    LOCAL,
    READER,
    RUBRIC_READ,
    SERVER,
    SEVERAL,
    TIMED,
    VERDICTS,
    rule,
)
from engine.settings.fields import MANY, SettingsModel, setting
from engine.settings.judge_names import BETWEEN, HYBRID, JudgeKind, judge_kind, split_judges
from engine.settings.sections.fine_tune import Quantization

SECTION = "Judge"

RUBRIC = """\
Prefer the answer that helps the person more. It has to be true and to answer what was asked.
Between two that are, prefer the one that is clear, natural and polite, and says no more than
is useful. Text that is broken, repetitive or breaks off loses."""


class JudgeSettings(SettingsModel):
    """Who picks the winner, and how it is asked."""

    judge: str = setting(
        "Qwen/Qwen3-0.6B",
        SECTION,
        "Who picks the better answer: hub id or local folder of a chat or a reward model, "
        "starter, human (you), hybrid (hybrid_model, and you where it is not sure), a server of "
        "OpenAI's protocol, such as http://localhost:8080/v1, FILE.py:FUNCTION, or rule:length, "
        "matches, json or avoid. Several: a, b, c.",
    )
    judge_system: str = setting(
        RUBRIC,
        SECTION,
        "The rubric: what makes one answer better.",
        applies=RUBRIC_READ,
        multiline=True,
    )
    hybrid_model: str | None = setting(
        None,
        SECTION,
        "Who labels, beside a person, what it is sure of: whatever judge may be, but no person.",
        applies=HYBRID_JUDGE,
    )
    hybrid_margin: float = setting(
        0.2,
        SECTION,
        "A pair whose model is closer than this to 0.5 goes to the person, as does one on which it "
        "gives no valid verdict.",
        applies=HYBRID_JUDGE,
        ge=0,
        le=0.5,
    )
    audit_rate: float = setting(
        0.05,
        SECTION,
        "Share of the other pairs, drawn at random, that go to the person too, to measure how far "
        "the model is to be trusted.",
        applies=HYBRID_JUDGE,
        ge=0,
        le=1,
    )
    judge_weights: list[float] = setting(
        [],
        SECTION,
        "How much each of several judges counts, in their order; empty: all the same.",
        applies=SEVERAL,
    )
    judge_criteria: list[dict[str, str | float]] = setting(
        [],
        SECTION,
        "A rubric in parts that are asked apart, in place of judge_system: {name: truth, text: "
        "Prefer the answer that is true., weight: 2}, and so on.",
        applies=READER,
    )
    judge_quantization: Quantization | None = setting(
        None,
        SECTION,
        "Precision of the judge's weights; empty: the model's, so that both can share memory.",
        applies=LOCAL,
    )
    judge_mode: Literal["logits", "generate"] = setting(
        "logits",
        SECTION,
        "logits reads how likely the judge finds each answer; generate lets it write first, for "
        "judges that must think, and is far slower.",
        applies=READER,
    )
    judge_max_tokens: int | None = setting(
        None,
        SECTION,
        "Tokens of a prompt and its two answers that the judge reads: of longer ones the prompt's "
        "end and each answer's start; empty: twice max_seq_length.",
        unit="tokens",
        applies=READER,
        ge=32,
        le=10_000_000,
    )
    judge_ties: Literal["margin", "orders"] = setting(
        "margin",
        SECTION,
        "What a tie is: margin, a q within judge_margin of 0.5; orders, also where the judge picks "
        "the other answer once they are swapped. Measured: the starter's judge keeps 1.00 of its "
        "pairs by margin, and 0.98 by orders, nearly all right; a model of 135 M, which leans to "
        "a place more than to an answer, keeps 0.94 by margin, 0.90 of them right, and 0.05 by "
        "orders.",
        applies=VERDICTS,
    )
    judge_margin: float = setting(
        0.005,
        SECTION,
        "A pair whose judge is closer than this to 0.5 is a tie and is not trained on. Small ones "
        "are never sure: at 0.05 one of 135 M decided 0.14 of polite against rude, at 0.005 0.94, "
        "by a leaning to politeness that no rubric turned round.",
        applies=VERDICTS,
        ge=0,
        lt=0.5,
    )
    judge_watch: Literal["pause", "warn", "off"] = setting(
        "pause",
        SECTION,
        "After 32 valid pairs of which the judge decides fewer than a tenth, or whose two orders "
        "have nothing in common, the run pauses with a checkpoint (without the app it stops), or "
        "warns.",
        applies=LLM,
    )
    judge_model: str | None = setting(
        None,
        SECTION,
        "Name that the server knows the judge by; empty: the only model that it has.",
        applies=SERVER,
    )
    judge_key_env: str | None = setting(
        None,
        SECTION,
        "Name of the environment variable with the server's key, such as OPENAI_API_KEY; the key "
        "itself is written nowhere. Empty: the server wants none.",
        applies=SERVER,
    )
    judge_concurrency: int = setting(
        4,
        SECTION,
        "Requests that a server is sent at once.",
        unit="requests",
        applies=SERVER,
        ge=1,
        le=256,
    )
    judge_timeout: float = setting(
        120.0,
        SECTION,
        "A request to a server is sent again when it takes longer; a call of a function that does "
        "is given up, and its pair is invalid, or its answer wrong for the guard.",
        unit="s",
        applies=TIMED,
        gt=0,
        le=86_400,
    )
    judge_away_minutes: float = setting(
        60.0,
        SECTION,
        "A run waits this long for a server that does not answer; then it pauses with a "
        "checkpoint, or stops where nobody could go on.",
        unit="min",
        applies=SERVER,
        ge=0,
        le=100_000,
    )

    eval_judge: str | None = setting(
        None,
        SECTION,
        "Who measures the win rate, where it shall not be who trains: whatever judge may be, but "
        "no person. Both win rates are told then, of the same answers; where a person trains, "
        "this one alone. Empty: the judge.",
    )
    eval_judge_system: str | None = setting(
        None,
        SECTION,
        "The rubric that the win rate is measured by; empty: the judge's.",
        applies=EVAL_RUBRIC_READ,
        multiline=True,
    )
    eval_judge_model: str | None = setting(
        None,
        SECTION,
        "Name that a server knows the model of eval_judge by; empty: judge_model's on the same "
        "server, on another one the only model that it has.",
        applies=EVAL_SERVER,
    )
    eval_judge_key_env: str | None = setting(
        None,
        SECTION,
        "Name of the environment variable with the key for the server of eval_judge; empty: "
        "judge_key_env's on the same server, and none on another one.",
        applies=EVAL_SERVER,
    )

    judge_length: int = setting(
        0,
        SECTION,
        "Words that an answer should have for rule:length, which prefers the nearer one; 0: the "
        "shorter one.",
        unit="words",
        applies=rule("length"),
        ge=0,
        le=MANY,
    )
    judge_pattern: str | None = setting(
        None,
        SECTION,
        "Regular expression of Python; rule:matches prefers an answer in which it is found.",
        applies=rule("matches"),
    )
    judge_words: list[str] = setting(
        [],
        SECTION,
        "Words that rule:avoid counts, in whatever case; the answer with fewer is better.",
        applies=rule("avoid"),
    )

    @field_validator("judge", "hybrid_model", "eval_judge", mode="before")
    @classmethod
    def _several_judges(cls, value: Any) -> Any:
        """A list of names is one text, and so is one that is written as in a file."""
        if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
            value = [name.strip(" '\"") for name in value[1:-1].split(",")]
        if isinstance(value, str) and "," in value:  # and one without a space, but for folders
            names = [name.strip() for name in value.split(",")]
            value = names if all(judge_kind(name) != "model" for name in names) else value
        several = isinstance(value, list) and value and all(isinstance(e, str) for e in value)
        return BETWEEN.join(value) if several else value

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
