"""Draws on the terminal from the screen's own thread."""

import contextlib

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """Textual's driver, but a frame is written as soon as it is there.

    Textual's own gives it to a thread, which has to wait for Python while the engine computes, and
    keeps up to thirty frames that a slow connection has not taken: seconds of old screens before
    the answer to a key. A terminal that takes nothing holds up the screen alone.
    """

    def write(self, data: str) -> None:
        """Write a frame or a sequence; nothing once the terminal is gone."""
        assert self._file is not None  # which the app was given to draw on
        with contextlib.suppress(OSError):
            self._file.write(data)
            self._file.flush()
