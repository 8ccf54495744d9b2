"""Ends that come from outside: SIGTERM or SIGINT, and a terminal whose other end is gone.

SIGTERM and SIGINT save a checkpoint, give the terminal back and end. A lost terminal ends the
screen alone where the setting `on_hangup` lets the run go on, and else is as SIGTERM.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui.app import StudioApp

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOPPED_BY = 128  # plus the number of the signal
TIMEOUT = 5.0  # seconds that the screen gets to go once the run has ended


@contextlib.contextmanager
def handle_signals(app: "StudioApp", screen: int) -> Iterator[None]:
    """Handle the signals for the app that draws on the descriptor `screen`."""

    def handle(number: int, frame: FrameType | None) -> None:
        again, app.ended_by = app.ended_by is not None, number
        if number == signal.SIGHUP:
            _let_go(app, screen)
            if app.outlives_screen():
                ask(app, app.exit)
                return
        if app.session:
            app.session.stop()
        if not again:
            threading.Thread(target=_insist, args=(app, number), daemon=True).start()
        ask(app, app.quit_when_stopped)

    before = {number: signal.signal(number, handle) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask(app: "StudioApp", what: Any) -> None:
    """Have the app's loop do something; a signal's handler may not do it itself."""
    if app._loop is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            app._loop.call_soon_threadsafe(what)


def _let_go(app: "StudioApp", screen: int) -> None:
    """Point input and screen at nothing, so that neither is waited for.

    Textual's writer ends with an error when the terminal is gone, and its queue then fills and
    blocks the loop; somebody has to take what is still put there.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, screen):
        with contextlib.suppress(OSError):
            os.dup2(nothing, descriptor)
    os.close(nothing)
    if app.guard:  # the signal may have come while the terminal is still there
        app.guard.dismiss(restore=True)
    writer: Any = getattr(app._driver, "_writer_thread", None)
    if writer is not None:

        def swallow() -> None:
            writer.join()
            while writer._queue.get() is not None:
                pass

        threading.Thread(target=swallow, name="swallow", daemon=True).start()


def _insist(app: "StudioApp", number: int) -> None:
    """End the process although the screen cannot: its terminal takes nothing any more."""
    if app.session:
        app.session.join()
    if not app.gone.wait(TIMEOUT):
        if app.guard:
            app.guard.dismiss(restore=True)
        os._exit(STOPPED_BY + number)
