"""How long ranks wait for each other: a step lasts as long as its slowest rank in each phase."""

import time
from collections.abc import Callable, Mapping
from typing import Any


class Waits:
    """What ranks waited and rank 0 sent, step by step: `StepMeasures` of a run."""

    def __init__(self, ranks: int, bytes_sent: Callable[[], int]) -> None:
        """`bytes_sent` tells how many were, so far."""
        self._bytes_sent = bytes_sent
        self._total = [0.0] * ranks  # seconds that each rank waited in all steps
        self._steps = 0
        self.restart()

    def restart(self) -> None:
        """A step begins: what ranks waited since the last one, as in an evaluation, is no part of
        it."""
        self._seconds = [0.0] * len(self._total)
        self._sums = 0.0  # that sums of gradients took, in which nobody computes
        self._sent = self._bytes_sent()

    def add(self, start: float, computed: float, answers: Mapping[int, Mapping[str, Any]]) -> None:
        """Add a phase that ends now.

        Args:
            start, computed: on the monotonic clock, when the phase began, and when rank 0 had
                computed its share.
            answers: of the other ranks that had one, with the `seconds` that it took them.
        """
        now = time.monotonic()
        self._seconds[0] += now - computed
        for rank in range(1, len(self._seconds)):
            busy = answers[rank]["seconds"] if rank in answers else 0.0
            self._seconds[rank] += max(0.0, now - start - busy)

    def add_sum(self, start: float) -> None:
        """Add a sum of gradients that began at `start` and ends now."""
        self._sums += time.monotonic() - start

    def of_step(self) -> dict[str, float]:
        """Metrics of the step that ends now."""
        seconds = self._seconds
        self._total = [sum(both) for both in zip(self._total, seconds, strict=True)]
        self._steps += 1
        measured = {
            "sent_mb": (self._bytes_sent() - self._sent) / 1e6,
            "sum_seconds": self._sums,
            "wait_seconds": sum(seconds) / len(seconds),
            "longest_wait_seconds": max(seconds),
        }
        self.restart()
        return measured

    def in_words(self) -> str | None:
        """What each rank waited a step; None where there was no step."""
        if not self._steps:
            return None
        each = (f"rank {at} {total / self._steps:.3f} s" for at, total in enumerate(self._total))
        return f"waited for other ranks, a step: {', '.join(each)}"
