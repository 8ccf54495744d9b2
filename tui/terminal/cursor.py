"""The cursor of a terminal in which a program draws in place, without the app."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

from tui.terminal.requirements import in_foreground

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


@contextlib.contextmanager
def cursor_back_when_stopped(terminal: TextIO) -> Iterator[None]:
    """Within the context, a program that hides the cursor to draw in place shows it whenever it is
    stopped (Ctrl+Z), and hides it again when it goes on."""

    def stop(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone, or input alone
            os.write(terminal.fileno(), SHOW_CURSOR.encode())
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here
        signal.signal(signal.SIGTSTP, stop)
        with contextlib.suppress(OSError):
            if in_foreground(terminal.fileno()):
                os.write(terminal.fileno(), HIDE_CURSOR.encode())

    if not terminal.isatty():
        yield
        return
    before = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
