"""Judges: who decides which of two completions is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.prompts import Prompt


@runtime_checkable
class Judge(Protocol):
    """What the training loop asks of a judge, be it a model or a person.

    Batches are answered in the order in which they were submitted.
    """

    name: str
    stores_labels: bool  # its labels are stored when they are given, not when they are learned

    def submit(self, pairs: Sequence[Pair]) -> None:
        """Hand over a batch, after a restart also what is left of one; returns at once."""
        ...

    def open_batches(self) -> int:
        """Submitted batches that still lack an answer."""
        ...

    def collect(self) -> list[JudgedPair] | None:
        """The oldest batch with its verdicts, or None where it cannot be had yet."""
        ...

    def settles_in(self) -> float:
        """Seconds until `collect` may have a batch; infinity while an answer is missing."""
        ...

    def pending(self) -> list[Sequence[Pair]]:
        """Submitted batches that were not collected, oldest first."""
        ...


HELD_OUT_PAIR = "the pair of a held-out prompt"  # what a warning calls a pair without a name


class PairJudge(Protocol):
    """A judge that reads pairs when it is asked to, and needs no queue."""

    name: str

    def judge(
        self, texts: Sequence[tuple[str | Prompt, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion); `names` are what a warning
        calls them.

        Raises:
            Interrupted: asked to stop.
            JudgeAway: it is elsewhere, and has not been there for longer than is waited for.
        """
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """What a judge gives one answer: a finite number, higher for a better one, or NaN for none.

    `cut` and `note` are as of a verdict; `parts` are the scores by each of several judges.
    """

    value: float
    cut: bool = False
    note: str = ""
    parts: tuple["Score", ...] = ()


@runtime_checkable
class ScoringJudge(Protocol):
    """A `PairJudge` that can score answers one at a time, where `gives_scores`."""

    @property
    def gives_scores(self) -> bool: ...

    def score(
        self, answers: Sequence[tuple[str | Prompt, str]], names: Sequence[str] = ()
    ) -> list[Score]:
        """Scores of (prompt, completion); `names` are what a warning calls them. Raises as
        `PairJudge.judge`."""
        ...

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        """The verdict on two answers with these scores, as `PairJudge.judge` gives it."""
        ...


class JudgeAway(Exception):
    """A judge elsewhere does not answer, and the run has waited for it long enough: a sentence.
    What it was asked stays asked."""
