"""The loop in which the screen comes first: a key is answered before the engine's thread goes on.

Python's lock goes to any thread that has waited for it for the switch interval, so two threads that
compute get half the time each. A thread that looks for input releases the lock as well. Textual
looks some fifty times while it draws the answer to one key, and at each look the engine's thread
would cut in. So the interval is long while the screen has something to do, and input is looked for
less often.
"""

import asyncio
import contextlib
import gc
import io
import selectors
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SCREEN_TURN = 0.1  # seconds that the screen may keep Python's lock while the engine wants it
ENGINE_TURN = 0.001  # seconds that the engine may keep it while the screen wants it
POLL_SECONDS = 0.02  # between two looks for input while there is something to do
YOUNG = 3_000  # new objects that make it worth collecting garbage in a pause
YOUNG_AT_ONCE = 100_000  # new objects that make Python collect at once, pause or not
OLDER = 10  # collections of a generation after which the next older one is due, as in Python


@contextlib.contextmanager
def screen_runner() -> Iterator[asyncio.Runner]:
    """Run a coroutine in such a loop; everything is as before afterwards."""
    switch, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SCREEN_TURN)
    gc.set_threshold(YOUNG_AT_ONCE, *thresholds[1:])
    try:
        with asyncio.Runner(loop_factory=_loop) as runner:
            yield runner
    finally:
        sys.setswitchinterval(switch)
        gc.set_threshold(*thresholds)


class ScreenSelector(selectors.DefaultSelector):
    """Waits for input, and lets the engine have Python's lock only then."""

    _looked = 0.0  # when, on the clock of `time.monotonic`

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; `timeout` is in seconds, 0 while the loop has something to do.

        Raises:
            OSError: as the selector that it is made of.
        """
        busy = timeout is not None and timeout <= 0
        if busy and time.monotonic() - self._looked < POLL_SECONDS:
            return []
        if not busy:
            _collect_garbage()
        with _python_away():
            ready = super().select(timeout)
        self._looked = time.monotonic()
        return ready


class ScreenFile(io.FileIO):
    """The terminal, opened to draw on. The engine may have Python's lock during a write as well."""

    def write(self, data: "ReadableBuffer", /) -> int | None:
        """Write to the terminal, as far as it takes it.

        Raises:
            OSError: the terminal is gone.
        """
        with _python_away():
            return super().write(data)


@contextlib.contextmanager
def _python_away() -> Iterator[None]:
    """Around a call that waits outside Python: until it returns, the engine may compute."""
    turn = sys.getswitchinterval()
    sys.setswitchinterval(ENGINE_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(turn)


def _collect_garbage() -> None:
    """Collect in a pause what Python would else collect in the middle of a frame, which would delay
    it by 30 ms."""
    young, middle, old = gc.get_count()
    if young > YOUNG:
        gc.collect(0 if middle < OLDER else 1 if old < OLDER else 2)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(ScreenSelector())
