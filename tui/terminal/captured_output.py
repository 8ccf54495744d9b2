"""What libraries and C code print on descriptors 1 and 2, kept apart from our own output."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TextIO

READ_AT_ONCE = 100_000  # bytes
FILE_LIMIT = 1_000_000  # bytes of the temporary file, once they are read


class CapturedOutput:
    """Within the context, whatever others print goes to a file, and `out` and `err` are ours.

    Until `move_to` names the file (a run's log, which does not exist at the start), it waits in a
    temporary one.
    """

    out: TextIO
    err: TextIO

    def __enter__(self) -> "CapturedOutput":
        self._saved = [os.dup(1), os.dup(2)]
        self.out, self.err = (
            open(descriptor, "w", encoding=stream.encoding, errors="replace", closefd=False)  # noqa: SIM115
            for descriptor, stream in zip(self._saved, (sys.stdout, sys.stderr), strict=True)
        )
        self._waiting = tempfile.TemporaryFile()
        self._read = 0
        self._point_at(self._waiting.fileno())
        return self

    def move_to(self, file: Path) -> None:
        """Append to `file` what was printed so far and what will be; keep on where it fails."""
        if self._waiting.closed:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError), open(os.open(file, flags, 0o600), "wb") as log:
            sys.stdout.flush()
            sys.stderr.flush()
            moved = self._copy_to(log, 0)
            self._point_at(log.fileno())
            self._copy_to(log, moved)  # what another thread printed in between
            self._waiting.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closed here, or what they could not write would go to whatever gets their descriptor next.
        for finish in (sys.stdout.flush, sys.stderr.flush, self.out.close, self.err.close):
            with contextlib.suppress(OSError, ValueError):
                finish()
        for target, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, target)
            os.close(saved)
        self._waiting.close()

    def unread(self) -> str:
        """What was printed since the last call, while it waits in the temporary file."""
        if self._waiting.closed:
            return ""
        descriptor = self._waiting.fileno()
        data = os.pread(descriptor, READ_AT_ONCE, self._read)
        self._read += len(data)
        if self._read > FILE_LIMIT and not os.pread(descriptor, 1, self._read):
            os.lseek(descriptor, 0, os.SEEK_SET)  # descriptors 1 and 2 share this place
            os.ftruncate(descriptor, 0)
            self._read = 0
        return data.decode(errors="replace")

    def last_words(self) -> bytes:
        """The end of what was printed into the temporary file, for whoever inherits it."""
        descriptor = self._waiting.fileno()
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, READ_AT_ONCE, max(0, size - READ_AT_ONCE))

    def _copy_to(self, log: BinaryIO, position: int) -> int:
        """Append what was printed from a position on (bytes); the position of its end.

        Read without moving the file's own position, at which others go on to print.
        """
        while data := os.pread(self._waiting.fileno(), READ_AT_ONCE, position):
            log.write(data)
            position += len(data)
        log.flush()
        return position

    @staticmethod
    def _point_at(descriptor: int) -> None:
        for target in (1, 2):
            os.dup2(descriptor, target)


class Lines:
    """Text as it is printed, taken apart into whole lines; of a progress bar, the last state."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """The lines that this text completes, without empty ones."""
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest.rpartition("\r")[2][-4000:] if "\r" in rest[:-1] else rest[-4000:]
        states = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines)
        return [line for line in states if line]
