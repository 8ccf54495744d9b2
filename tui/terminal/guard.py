"""A second process that gives the terminal back where the program itself no longer can.

An abort in C code, a system out of memory and `kill -9` leave a program no time for it. The guard
is forked before anything heavy is loaded, waits for the program's end, and does nothing when that
was in order.
"""

import contextlib
import os
import signal
import termios
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from engine.data_folder import data_folder
from engine.runs.durable import write_file
from engine.runs.storage import StorageError

# Frames, paste, line wrap, reports of size, mouse and focus, keys, screen, cursor, colours.
GIVE_BACK = (
    "\x1b[?2026l\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1016l\x1b[?1006l\x1b[?1015l\x1b[?1003l"
    "\x1b[?1000l\x1b[?1004l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[0m"
)
CRASH_FILE = "crash.txt"  # in the program's folder
IN_ORDER, GIVE_UP = b"q", b"r"
IGNORED = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
)


def crash_file() -> Path:
    """Where the last words of a program that died are kept."""
    return data_folder() / CRASH_FILE


def keep_trace() -> Path:
    """Write the trace of the error that is being handled to the crash file; where that is."""
    file = crash_file()
    with contextlib.suppress(StorageError):
        write_file(file, traceback.format_exc().encode(errors="replace"))
    return file


class Guard:
    """Watches over the program while the context lasts."""

    def __init__(
        self,
        terminal: int,
        last_words: Callable[[], bytes],
        crash_file: Path,
        give_back: str = GIVE_BACK,
    ) -> None:
        """`terminal` is a descriptor of it, and `give_back` what is written to it after a death.
        What `last_words` gives is kept in `crash_file`."""
        self._give_back = give_back.encode()
        self._terminal = terminal
        self._last_words = last_words
        self._crash_file = crash_file
        self._pid = 0
        self._pipe = -1

    def __enter__(self) -> "Guard":
        try:
            attributes = termios.tcgetattr(self._terminal)
            reading, self._pipe = os.pipe()
        except (OSError, termios.error):
            return self
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._pipe)
                self._watch(reading, attributes)
            finally:
                os._exit(0)
        os.close(reading)
        # Other children are no reason to take the program for alive.
        os.register_at_fork(after_in_child=self._close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.dismiss()

    def dismiss(self, *, restore: bool = False) -> None:
        """Let the guard go. With `restore` it gives the terminal back first, without a word."""
        if self._pipe < 0:
            return
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._pipe, GIVE_UP if restore else IN_ORDER)
        self._close()
        if not restore:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def _close(self) -> None:
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = -1

    # -- in the guard's own process --------------------------------------------------------------

    def _watch(self, reading: int, attributes: list[int | list[bytes | int]]) -> None:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        word = os.read(reading, 1)
        if word == IN_ORDER:
            return
        line = b"" if word else self._keep_last_words()
        with contextlib.suppress(OSError):
            os.write(self._terminal, self._give_back)
        with contextlib.suppress(OSError, termios.error):
            # Keys that make signals are off in the app alone; on, a shell has taken over.
            if not termios.tcgetattr(self._terminal)[3] & termios.ISIG:
                termios.tcsetattr(self._terminal, termios.TCSANOW, attributes)
        with contextlib.suppress(OSError):
            os.write(self._terminal, line)

    def _keep_last_words(self) -> bytes:
        """Write down what the program printed last; the line that says so."""
        words, where = b"", ""
        with contextlib.suppress(OSError):
            words = self._last_words()
        if words:
            with contextlib.suppress(StorageError):
                write_file(self._crash_file, words)
                where = f"; {self._crash_file} has its last words"
        return (
            f"lora-studio: the program was killed or aborted{where}; "
            "`lora-studio runs` shows what is saved\r\n"
        ).encode(errors="replace")
