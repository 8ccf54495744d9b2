"""Draws on the terminal from the screen's own thread, and reads whole pastes from it, as from a
browser's tab."""

import contextlib
import os
import signal

from textual._ansi_sequences import SYNC_END, SYNC_START
from textual.drivers import linux_driver, web_driver
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver

from tui.textual_private.paste_parser import PasteParser


class TerminalDriver(LinuxDriver):
    """Textual's driver, except that it writes each frame at once, from the screen's own thread.

    Textual's writes from another thread, which has to wait for Python's lock while the engine
    computes. It also queues up to thirty frames that a slow connection has not taken: seconds of
    old screens before the answer to a key. Here a terminal that takes nothing blocks the screen,
    but not the engine.
    """

    _in_frame = False

    def write(self, data: str) -> None:
        """Write a sequence, or a frame as a whole; nothing once the terminal is gone."""
        assert self._file is not None  # which the app was given to draw on
        self._in_frame = data == SYNC_START or (self._in_frame and data != SYNC_END)
        with contextlib.suppress(OSError):
            self._file.write(data)
            if not self._in_frame:
                self._file.flush()

    def run_input_thread(self) -> None:
        """Read the terminal by the program's own parser, which Textual does not ask for."""
        linux_driver.XTermParser = PasteParser  # pyright: ignore[reportPrivateImportUsage]
        super().run_input_thread()


class TabDriver(WebDriver):
    """Textual's driver of an app in a browser, with the same parser. A server that is gone is a
    terminal that is lost, which no system tells of."""

    def write(self, data: str) -> None:
        """Write a sequence or a frame; nothing once the server is gone."""
        with contextlib.suppress(OSError):
            super().write(data)

    def run_input_thread(self) -> None:
        """Read what the tab sends; hang up at its end."""
        web_driver.XTermParser = PasteParser  # pyright: ignore[reportPrivateImportUsage]
        super().run_input_thread()
        if not self.exit_event.is_set():
            os.kill(os.getpid(), signal.SIGHUP)
