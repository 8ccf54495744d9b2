"""Judges: who decides which of two completions is better."""

from collections.abc import Sequence
from typing import Protocol

from engine.data.pairs import JudgedPair, Pair


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
