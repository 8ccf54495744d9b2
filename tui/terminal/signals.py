"""Ends that come from outside: SIGTERM or SIGINT, and a terminal whose other end is gone.

SIGTERM and SIGINT save a checkpoint, give the terminal back and end. A lost terminal ends the
screen alone where the setting `on_hangup` lets the run go on, and else is as SIGTERM.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from tui import textual_private
from tui.state.run_control import BY_SIGNAL
from tui.terminal.exit_status import STOPPED_BY

if TYPE_CHECKING:
    from textual.app import App

    from tui.state.run_control import RunControl
    from tui.terminal.guard import Guard

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TIMEOUT = 5.0  # seconds that the screen gets to go once the run has ended


@contextlib.contextmanager
def handle_signals(
    app: "App[int]",
    control: "RunControl",
    guard: "Guard",
    screen: int,
    quit_when_stopped: Callable[[], None],
) -> Iterator[None]:
    """Handle the signals for the app that draws on the descriptor `screen`."""

    def handle(number: int, frame: FrameType | None) -> None:
        again, control.ended_by = control.ended_by is not None, number
        control.was_alive |= control.alive
        if number == signal.SIGHUP:
            _let_go(guard, screen)
            if control.outlives_screen():
                textual_private.call_soon(app, app.exit)
                return
        control.stop(by=BY_SIGNAL[signal.Signals(number)])
        if not again:
            threading.Thread(target=_insist, args=(control, guard, number), daemon=True).start()
        textual_private.call_soon(app, quit_when_stopped)

    before = {number: signal.signal(number, handle) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go(guard: "Guard", screen: int) -> None:
    """Point input and screen at nothing, so that neither is waited for."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, screen):
        with contextlib.suppress(OSError):
            os.dup2(nothing, descriptor)
    os.close(nothing)
    guard.dismiss(restore=True)  # the signal may have come while the terminal is still there


def _insist(control: "RunControl", guard: "Guard", number: int) -> None:
    """End the process although the screen cannot: its terminal takes nothing any more."""
    if control.session:
        control.session.join()
    if not control.screen_gone.wait(TIMEOUT):
        guard.dismiss(restore=True)
        os._exit(STOPPED_BY + number)
