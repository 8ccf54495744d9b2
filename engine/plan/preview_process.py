"""Data read for a preview in a process of its own, so that no file, however large or broken, holds
or ends the program, and what `datasets` needs is not loaded into it.

The process writes a preview a line, as JSON, and the caller reads them as they come.
"""

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

from engine.data import files as data_files
from engine.data.mixture import sources_of
from engine.data_folder import at_home
from engine.model import files as model_files
from engine.plan.preview import DataPreview, read_preview
from engine.settings import files
from engine.settings.schema import Settings, changed

SECONDS = 30  # that data is read for
MEMORY = 4 << 30  # bytes, beside what is mapped from files
SMALL = 2 << 20  # bytes of a file of text that is read at once, without a process
# What a system of the kind offers to keep a process from the hub.
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


class Preview:
    """Previews of the data of some settings, as they come; `cancel` from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def __iter__(self) -> Iterator[DataPreview]:
        """What the data holds, first of a part of it; the last one says whether that was all."""
        names = [source.data for source in sources_of(self._settings)]
        if all(map(_is_small, names)):
            yield from read_preview(self._settings)
            return
        if not all(map(model_files.has_dataset, names)):
            yield DataPreview(absent=True)
            return
        code = f"import sys; sys.path[:] = {sys.path!r}; from engine.plan import preview_process; "
        self._process = subprocess.Popen(
            [sys.executable, "-c", code + "preview_process.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **OFFLINE},
        )
        if self._cancelled:
            self.cancel()
        yield from self._received(self._process)

    def cancel(self) -> None:
        """Stop reading."""
        self._cancelled = True
        if self._process:
            self._process.kill()

    def _received(self, process: subprocess.Popen[bytes]) -> Iterator[DataPreview]:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError), process.stdin as requests:
            values = {key: now for key, (now, _) in changed(self._settings).items()}
            requests.write(json.dumps(values).encode())
        last = DataPreview()
        with process.stdout as replies:
            for last in _previews(replies):
                yield last
        status = process.wait()
        if not (self._cancelled or last.whole or last.error) and status != -signal.SIGALRM:
            error = f"data: {self._settings.data} cannot be read with the memory that is here"
            yield dataclasses.replace(last, error=error)


def _previews(replies: IO[bytes]) -> Iterator[DataPreview]:
    for line in replies:
        with contextlib.suppress(ValueError, TypeError):
            reply: dict[str, Any] = json.loads(line)
            fields: dict[str, Any] = {
                key: tuple(v) if isinstance(v, list) else v for key, v in reply.items()
            }
            yield DataPreview(**fields)


def _is_small(data: str) -> bool:
    """Whether the data is the starter's or a small file of text."""
    if data == "starter":
        return True
    try:
        path = at_home(data)
        kind = data_files.kind(path)
        plain = kind not in ("", "parquet") and path.suffix[1:].lower() in (kind, "ndjson")
        missing = data.startswith(("/", ".", "~")) and not path.exists()
        return missing or (plain and path.is_file() and path.stat().st_size <= SMALL)
    except (OSError, ValueError):
        return True  # no path at all, which is told without reading anything


def main() -> None:
    """Read what standard input asks for, for a limited time and in limited memory."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints does not answer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.alarm(SECONDS)
    os.nice(10)
    with contextlib.suppress(OSError, ValueError):  # a system without such a limit
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    settings = files.from_mapping(json.loads(sys.stdin.buffer.read()), "the form")
    try:
        for preview in read_preview(settings):
            replies.write(json.dumps(dataclasses.asdict(preview)).encode() + b"\n")
            replies.flush()
    except MemoryError:
        os._exit(1)
