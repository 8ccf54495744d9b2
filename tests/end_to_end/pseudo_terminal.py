"""A program on a pseudo-terminal: keys go in, and what a person would see can be read."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyte

from tests.end_to_end.program import TIMEOUT

# Sequences that pyte does not know and would show as text.
_UNKNOWN = re.compile(rb"\x1b\[[<>=][0-9;]*[A-Za-z]|\x1b\[\?[0-9;]*\$p|\x1b[P_^X][^\x1b]*\x1b\\")
# Around a frame: shown as a whole or not yet. A program uses it when the terminal says it can.
_BEGIN, FRAME_END, _CAN_YOU, _I_CAN = (
    b"\x1b[?2026h",
    b"\x1b[?2026l",
    b"\x1b[?2026$p",
    b"\x1b[?2026;2$y",
)
_UNFINISHED = re.compile(rb"\x1b(?:[P_^X\]][^\x1b\x07]*\x1b?|\[?[<>=?]?[0-9;]*\$?)$")


class PseudoTerminal:
    """Runs a command on a terminal of its own. Use it in a `with` block."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.arrived: list[tuple[float, bytes]] = []  # everything the program wrote, and when
        self.started = time.perf_counter()
        self.status: int | None = None  # as of `os.waitstatus_to_exitcode`, once it has ended
        self._read = 0
        self._held = b""
        self._more = threading.Condition()
        self._hanging_up = False
        self._stalled = threading.Event()
        self._read_all = threading.Event()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(command[0], list(command), _environment(environment or {}))
            finally:
                os._exit(127)
        self.resize(columns, rows)
        self.first_attributes = self.attributes()  # before the program has come to change them
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()

    def __enter__(self) -> "PseudoTerminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- a person's side -------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """What the screen shows now, a string a row."""
        self._draw()
        return [line.rstrip() for line in self._screen.display]

    @property
    def screen(self) -> pyte.Screen:
        """The screen now, with the colours of its cells."""
        self._draw()
        return self._screen

    @property
    def text(self) -> str:
        """What the screen shows now."""
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        """Send characters, or the sequence of a key, as a terminal does."""
        os.write(self._terminal, keys.encode())

    def wait_for(self, what: str | Callable[[str], object], seconds: float = TIMEOUT) -> str:
        """Wait until the screen shows `what`, a text or a condition on the screen's text.

        Raises:
            AssertionError: it does not, in time; the message has the screen.
        """
        holds = what if callable(what) else lambda text: what in text
        end = time.perf_counter() + seconds
        while True:
            if holds(text := self.text):
                return text
            now = time.perf_counter()
            if self.ended or now >= end:
                how = f"ended with {self.status}" if self.ended else f"after {seconds} s"
                raise AssertionError(f"{how}, waiting for {what!r}; the screen shows:\n{text}")
            self._wait(min(0.25, max(0.0, end - now)))

    def seen_at(
        self, what: Callable[[str], object], *, quietly: float = 0, seconds: float = TIMEOUT
    ) -> float:
        """When the screen first showed what holds, by `time.perf_counter`.

        Looks at what came since the last look, and only after `quietly` seconds, so that looking
        does not slow the program down.

        Raises:
            AssertionError: it does not, in time.
        """
        time.sleep(quietly)
        end = time.perf_counter() + seconds
        while True:
            at = self._draw_next()
            if at is not None and what("\n".join(self._screen.display)):
                return at
            if at is None:
                self._wait(0.05)
                late = time.perf_counter() > end or self.ended
                assert not late, f"not seen:\n{self.text}"

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        # Our screen first: what the program draws at the new size is not to meet the old one.
        self._draw()
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """While the context lasts, nobody reads what the program writes."""
        self._stalled.set()
        try:
            yield
        finally:
            self._stalled.clear()

    # -- the terminal itself ---------------------------------------------------------------------

    def attributes(self) -> list[object]:
        """How it treats input and output now: cooked or raw."""
        flags = termios.tcgetattr(self._terminal)
        return [*flags[:4], flags[6][termios.VMIN]]

    def switched_on(self) -> set[str]:
        """The private modes that are on and were not at first, less those that are off and were
        on: what a program has to give back."""
        everything = b"".join(data for _, data in self.arrived)
        state = dict.fromkeys(("7", "25"), True)
        for modes, switch in re.findall(rb"\x1b\[\?([0-9;]+)([hl])", everything):
            for mode in modes.decode().split(";"):
                state[mode] = switch == b"h"
        wrong = {mode for mode, on in state.items() if on != (mode in ("7", "25"))}
        pushed = len(re.findall(rb"\x1b\[>[0-9]+u", everything))
        popped = len(re.findall(rb"\x1b\[<[0-9]*u", everything))
        return wrong | ({"keys"} if pushed > popped else set())

    # -- the program -----------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the program is gone and all that it wrote has been read."""
        return not self._reader.is_alive()

    def wait(self, seconds: float = TIMEOUT) -> int:
        """Wait for the program to end; its exit status, negative for a signal.

        Raises:
            AssertionError: it still runs.
        """
        self._reader.join(seconds)
        assert self.status is not None, f"still running after {seconds} s:\n{self.text}"
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        if self.status is None:
            os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Lose the terminal, as when an SSH connection breaks; the program lives on."""
        self._hanging_up = True
        self._read_all.wait(10)
        os.close(self._terminal)

    def close(self) -> None:
        """End the program, if it has not ended, and what it has started on this terminal."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._reader.join(10)
        if not self._hanging_up:
            os.close(self._terminal)

    # -- inside ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._hanging_up:
            if self._stalled.is_set():
                time.sleep(0.02)
                continue
            if not select.select([self._terminal], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._terminal, 1 << 16)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                break
            with self._more:
                self.arrived.append((time.perf_counter(), data))
                self._more.notify_all()
            if _CAN_YOU in data:
                os.write(self._terminal, _I_CAN)
        self._read_all.set()
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)

    def _wait(self, seconds: float) -> None:
        with self._more:
            if self._read == len(self.arrived):
                self._more.wait(seconds)

    def _draw(self) -> None:
        """Let the screen take in what has arrived."""
        while self._draw_next() is not None:
            pass

    def _draw_next(self) -> float | None:
        """Let the screen take in the next piece; when that arrived, or None if there is none."""
        with self._more:
            if self._read == len(self.arrived):
                return None
            at, data = self.arrived[self._read]
            self._read += 1
        self._held = feed(self._stream, self._held + data)
        return at


def feed(stream: pyte.ByteStream, data: bytes) -> bytes:
    """Feed what is complete; gives back a sequence or a frame whose end has not arrived."""
    unfinished = _UNFINISHED.search(data)
    end = unfinished.start() if unfinished else len(data)
    if (frame := data.rfind(_BEGIN)) > data.rfind(FRAME_END):
        end = min(end, frame)
    stream.feed(_UNKNOWN.sub(b"", data[:end]))
    return data[end:]


def studio(home: Path, *arguments: str, columns: int = 80, rows: int = 24) -> PseudoTerminal:
    """LoRA Studio on a terminal, with `home` as the folder that it keeps its things in."""
    return PseudoTerminal(
        [sys.executable, "-m", "tui.main", *arguments],
        columns=columns,
        rows=rows,
        environment={"LORA_STUDIO_HOME": str(home)},
    )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """A local terminal with all colours, offline, whatever the tests run in."""
    remote = ("SSH_", "TMUX", "STY", "NO_COLOR", "COLUMNS", "LINES", "TEXTUAL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(remote)}
    own = {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return {**kept, **own, **more}
