"""Ctrl+Z, `bg` and `fg`: the program leaves the terminal to the shell, and comes back to it.

A stopped program trains no further. After `bg` it does, without a screen, until `fg`.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from tui.terminal.signals import STOPPED_BY, ask

if TYPE_CHECKING:
    from textual.driver import Driver

    from tui.app import StudioApp

POLL_SECONDS = 0.2  # between two looks whether the terminal is ours again
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
STOPPED = "lora-studio: stopped; `fg` goes on, `bg` trains on behind the shell\r\n"


def install(app: "StudioApp") -> None:
    """Take over from Textual, whose way back starts a second screen after `bg` and stops."""
    signal.signal(signal.SIGTSTP, lambda number, frame: ask(app, lambda: suspend(app)))
    signal.signal(signal.SIGCONT, lambda number, frame: ask(app, lambda: _come_back(app)))


def suspend(app: "StudioApp") -> None:
    """Leave the terminal and stop with all of the job; returns once it is in the foreground."""
    driver = app._driver
    if driver is None or not driver.can_suspend or app.ended_by:
        return
    continued: list[int] = []

    def go_on(number: int, frame: FrameType | None) -> None:
        continued.append(number)

    driver.suspend_application_mode()
    if app.session and app.session.alive:
        with contextlib.suppress(OSError):
            os.write(_terminal(driver), STOPPED.encode())
    handlers = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGCONT, go_on), (signal.SIGTSTP, signal.SIG_DFL))
    }
    # Stops here. Where no shell waits for the job, the system ignores the signal.
    os.killpg(os.getpgrp(), signal.SIGTSTP)
    while _in_background(driver):
        if app.ended_by and app.session:
            app.session.join()
        if app.ended_by:
            if app.guard:
                app.guard.dismiss()
            os._exit(STOPPED_BY + app.ended_by)
        time.sleep(POLL_SECONDS)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if os.isatty(_terminal(driver)):
        driver.resume_application_mode()
        _repaint(app)
        if not continued:
            app.say("there is no shell here to go back to")


@contextlib.contextmanager
def cursor_back_when_stopped(terminal: TextIO) -> Iterator[None]:
    """Within the context a program that draws in place shows the cursor while it is stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone, or input alone
            os.write(terminal.fileno(), SHOW_CURSOR.encode())
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here
        signal.signal(signal.SIGTSTP, stop)
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(terminal.fileno()) == os.getpgrp():
                os.write(terminal.fileno(), HIDE_CURSOR.encode())

    if not terminal.isatty():
        yield
        return
    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _come_back(app: "StudioApp") -> None:
    """Draw anew after a stop that could not be seen coming: a shell has used the terminal."""
    driver = app._driver
    if driver and driver.can_suspend and not _in_background(driver) and not app.ended_by:
        driver.suspend_application_mode()
        driver.resume_application_mode()
        _repaint(app)


def _repaint(app: "StudioApp") -> None:
    app.refresh(layout=True)


def _terminal(driver: "Driver") -> int:
    return int(getattr(driver, "fileno", 0))


def _in_background(driver: "Driver") -> bool:
    """Whether the terminal belongs to another job; one that is lost belongs to nobody."""
    try:
        return os.tcgetpgrp(_terminal(driver)) != os.getpgrp()
    except OSError:
        return False
