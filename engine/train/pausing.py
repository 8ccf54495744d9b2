"""Pauses and stops, looked at between batches and between sampled tokens."""

import time

from engine.control import Control
from engine.train.journal import Journal

# How long a loop that waits for a person sleeps before it looks around again, in seconds.
POLL_SECONDS = 0.25


class StepClock:
    """Obeys pause and stop, and times a step and the whole run: pauses are left out."""

    def __init__(self, control: Control, journal: Journal) -> None:
        self._control = control
        self._journal = journal
        self._start = self._lap = time.monotonic()

    def restart(self) -> None:
        """Begin to time a step."""
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Seconds of the step so far."""
        return time.monotonic() - self._start

    def lap(self) -> float:
        """Seconds since the last call, whatever they went into."""
        now = time.monotonic()
        seconds, self._lap = now - self._lap, now
        return seconds

    def must_stop(self) -> bool:
        """Sleep while paused; True when asked to stop."""
        if self._control.paused:
            paused = time.monotonic()
            self._journal.update(status="paused")
            while self._control.paused:
                self._journal.progress("paused")
                self._control.wait(POLL_SECONDS)
            pause = time.monotonic() - paused
            self._start += pause
            self._lap += pause
            if not self._control.stopping:
                self._journal.update(status="running")
        return self._control.stopping
