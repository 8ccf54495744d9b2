"""Ctrl+Z, `bg` and `fg`: the program leaves the terminal to the shell, and comes back to it.

A stopped program trains no further. After `bg` it does, without a screen, until `fg`.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from tui import textual_private
from tui.terminal.exit_status import STOPPED_BY
from tui.terminal.requirements import in_foreground

if TYPE_CHECKING:
    from textual.app import App

    from tui.state.run_control import RunControl
    from tui.terminal.guard import Guard

POLL_SECONDS = 0.2  # between two looks whether the terminal is ours again
STOPPED = "lora-studio: stopped; `fg` goes on, `bg` trains on behind the shell\r\n"


class JobControl:
    """Leaves the terminal to the shell for an app, and comes back; `say` tells it a sentence."""

    def __init__(
        self, app: "App[int]", control: "RunControl", guard: "Guard", say: Callable[[str], None]
    ) -> None:
        self._app = app
        self._control = control
        self._guard = guard
        self._say = say

    def install(self) -> None:
        """Take over from Textual, whose way back starts a second screen after `bg` and stops.

        To be called once Textual has begun, for it puts handlers of its own in place then.
        """
        app = self._app
        signal.signal(signal.SIGTSTP, lambda *_: textual_private.call_soon(app, self._suspend))
        signal.signal(signal.SIGCONT, lambda *_: textual_private.call_soon(app, self._come_back))

    def _suspend(self) -> None:
        """Leave the terminal and stop with all of the job; returns once it is in the foreground."""
        driver, control = textual_private.driver_of(self._app), self._control
        if driver is None or not driver.can_suspend or control.ended_by:
            return
        continued: list[int] = []

        def go_on(number: int, frame: FrameType | None) -> None:
            continued.append(number)

        terminal = textual_private.descriptor_of(driver)
        driver.suspend_application_mode()
        if control.alive:
            with contextlib.suppress(OSError):
                os.write(terminal, STOPPED.encode())
        handlers = {
            number: signal.signal(number, handler)
            for number, handler in ((signal.SIGCONT, go_on), (signal.SIGTSTP, signal.SIG_DFL))
        }
        # Stops here. Where no shell waits for the job, the system ignores the signal.
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        while not in_foreground(terminal):
            if control.ended_by:
                self._end(control.ended_by)
            time.sleep(POLL_SECONDS)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if os.isatty(terminal):
            driver.resume_application_mode()
            self._app.refresh(layout=True)
            if not continued:
                self._say("there is no shell here to go back to")

    def _end(self, number: int) -> NoReturn:
        """End behind the shell, whose terminal is not to be drawn on."""
        if self._control.session:
            self._control.session.join()
        self._guard.dismiss()
        os._exit(STOPPED_BY + number)

    def _come_back(self) -> None:
        """Draw anew after a stop that could not be seen coming: a shell has used the terminal."""
        driver = textual_private.driver_of(self._app)
        if not driver or not driver.can_suspend or self._control.ended_by:
            return
        if in_foreground(textual_private.descriptor_of(driver)):
            driver.suspend_application_mode()
            driver.resume_application_mode()
            self._app.refresh(layout=True)
