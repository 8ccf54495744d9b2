"""What the world may ask of a running loop: flags that it looks at between tokens and batches."""

import threading
from typing import Literal

Request = Literal["evaluate", "save"]


class LoadingStopped(Exception):
    """The loop was asked to stop before it began: there is nothing to save."""


class Control:
    """Thread-safe requests to one loop.

    `attended` says whether somebody sits at a screen who can end a pause.
    """

    def __init__(self, *, attended: bool = False) -> None:
        self.attended = attended
        self._condition = threading.Condition()
        self._stopping = False
        self._begun = self._abandoned_loading = False
        self._paused = False
        self._requests: set[Request] = set()

    @property
    def stopping(self) -> bool:
        """Whether the loop was asked to stop."""
        return self._stopping

    @property
    def begun(self) -> bool:
        """Whether the loop has begun: all is loaded, and a stop is worth a checkpoint."""
        return self._begun

    def raise_if_stopping(self) -> None:
        """Called between the steps of loading.

        Raises:
            LoadingStopped: the loop was asked to stop.
        """
        if self._stopping:
            raise LoadingStopped

    def begin(self) -> None:
        """Say that all is loaded; from now on a stop is the loop's to obey.

        Raises:
            LoadingStopped: the loop was asked to stop before.
        """
        with self._condition:
            self.raise_if_stopping()
            self._begun = True

    def abandon(self) -> bool:
        """Let go of a loop that was asked to stop and is still loading; whether that was in time.
        It never begins then."""
        with self._condition:
            self._abandoned_loading = self._stopping and not self._begun
            return self._abandoned_loading

    @property
    def paused(self) -> bool:
        """Whether the loop was asked to pause, and not to stop."""
        return self._paused and not self._stopping

    def stop(self) -> None:
        """Ask for a checkpoint and the end; cannot be taken back."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def pause(self, paused: bool = True) -> None:
        """Ask to pause, or to go on."""
        with self._condition:
            self._paused = paused
            self._condition.notify_all()

    def request(self, what: Request) -> None:
        """Ask for something to be done once, after the current step."""
        with self._condition:
            self._requests.add(what)
            self._condition.notify_all()

    def take(self, what: Request) -> bool:
        """Whether this was asked for since it was last taken."""
        with self._condition:
            requested = what in self._requests
            self._requests.discard(what)
            return requested

    def wake(self) -> None:
        """Let a waiting loop look around."""
        with self._condition:
            self._condition.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleep until woken or newly asked for something, or `seconds` have passed. A request
        that nobody has taken yet, as in a pause, ends no later sleep."""
        with self._condition:
            if not self._stopping:
                self._condition.wait(seconds)
