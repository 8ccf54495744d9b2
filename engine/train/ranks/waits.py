"""How long ranks wait for each other: a step lasts as long as its slowest rank in each phase."""

import time
from collections.abc import Mapping
from typing import Any


class Waits:
    """Sums of what ranks waited, rank 0 first, in seconds."""

    def __init__(self, ranks: int) -> None:
        self._seconds = [0.0] * ranks
        self._sums = 0.0  # that sums of gradients took, in which nobody computes

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

    def measures(self, steps: int) -> dict[str, float]:
        """Metrics: means over so many steps."""
        seconds = self._seconds
        return {
            "wait_seconds": sum(seconds) / len(seconds) / steps,
            "longest_wait_seconds": max(seconds) / steps,
            "sum_seconds": self._sums / steps,
        }

    def in_words(self, steps: int) -> str:
        """What each rank waited, of so many steps."""
        each = (f"rank {at} {seconds / steps:.3f} s" for at, seconds in enumerate(self._seconds))
        return f"waited for other ranks, a step: {', '.join(each)}"
