"""Judges: who decides which of two completions is better."""

from collections.abc import Sequence
from typing import Protocol

from engine.pairs import Pair, Verdict


class Judge(Protocol):
    """What the training loop asks of a judge, be it a model or a person.

    Batches are answered in the order in which they were submitted.
    """

    name: str

    def submit(self, pairs: Sequence[Pair]) -> None:
        """Hand over a batch; returns at once."""
        ...

    def open_batches(self) -> int:
        """Submitted batches that still lack an answer."""
        ...

    def collect(self) -> list[tuple[Pair, Verdict]] | None:
        """The oldest batch with its verdicts, or None where it cannot be had yet."""
        ...

    def pending(self) -> list[Sequence[Pair]]:
        """Submitted batches that were not collected, oldest first."""
        ...
