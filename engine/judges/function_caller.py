"""Calls a function of a person's file in a process of its own, which is ended when it takes too
long.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from engine.compute.sampling import Interrupted
from engine.data_folder import at_home
from engine.errors import UserError
from engine.file_kinds import is_file
from engine.judges import function_process
from engine.settings.judge_names import file_and_function

PROGRAM = function_process.__file__
POLL_SECONDS = 0.1
START_SECONDS = 60.0  # that Python may take to start, however short a call is to be
SHORT = 200  # characters of an error that are told


class CallFailed(Exception):
    """Why a function gave no value, in words; `kind` is error, time, ended or count."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def located(name: str, setting: str) -> tuple[Path, str]:
    """The file of `FILE.py:FUNCTION`, from the root, and the function's name.

    Raises:
        UserError: there is no such file, or it may not be looked at; `setting` is named.
    """
    path, function = file_and_function(name)
    file = at_home(path).absolute()
    try:
        there = is_file(file)
    except OSError as error:
        raise UserError(f"{setting}: {file} cannot be read: {error.strerror}") from error
    if not there:
        raise UserError(f"{setting}: there is no file {file}")
    return file, function


class FunctionCaller:
    """A function in its process, started anew where it has ended.

    `takes` is how many arguments it takes, `lists` whether as lists; known once it is open.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        *,
        seconds: float,
        options: Mapping[str, Any] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            seconds: that a call, or the file itself, may take.
            options: given to the function by name at each call.
        """
        self.file, self._name, self._options = file, name, dict(options or {})
        self._seconds, self._stop = seconds, stop
        self.process: subprocess.Popen[bytes] | None = None
        self.takes, self.lists = function_process.PAIR, False

    def open(self) -> None:
        """Run the file, and find out what its function takes.

        Raises:
            CallFailed: the file cannot be run, or has no such function.
            Interrupted: asked to stop.
        """
        # By its path, since its package would bring libraries that it has no use for.
        code = f"import runpy, sys; sys.path[:] = {sys.path!r}; own = runpy.run_path({PROGRAM!r})"
        arguments = (str(self.file), self._name, self._options, self._seconds)
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; own['main'](*{arguments!r})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a key that ends this program leaves it to us
        )
        self._reply(START_SECONDS)
        shape = self._request([])
        self.takes, self.lists = shape["takes"], shape["lists"]

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()

    def values(self, arguments: Sequence[Any], count: int) -> Sequence[float | None]:
        """The `count` values of a call, None for what is no number: one, or as many as the lists
        that it is given hold.

        Raises:
            CallFailed: it gives nothing, or not so many.
            Interrupted: asked to stop.
        """
        if self.process is None:
            self.open()
        value = self._request(arguments)["value"]
        values = value if isinstance(value, list) else [value]
        if len(values) != count:
            raise CallFailed("count", f"it gave {len(values)} values for {count} pairs")
        return values

    def _request(self, arguments: Sequence[Any]) -> Mapping[str, Any]:
        assert self.process
        try:
            _pipe(self.process.stdin).write(json.dumps(arguments).encode() + b"\n")
            _pipe(self.process.stdin).flush()
        except BrokenPipeError:
            self.close()
            raise CallFailed("ended", "its process has ended") from None
        return self._reply(self._seconds)

    def _reply(self, seconds: float) -> Mapping[str, Any]:
        """The next reply, which may take so long.

        Raises:
            CallFailed: it is an error, or does not come; then the process is ended.
            Interrupted: asked to stop; the process is ended too.
        """
        assert self.process
        source = _pipe(self.process.stdout).fileno()
        content, end = b"", time.monotonic() + seconds
        while not content.endswith(b"\n"):
            if self._stop():
                self.close()
                raise Interrupted
            if time.monotonic() > end:
                self.close()
                raise CallFailed("time", f"it did not end within {seconds:g} seconds")
            if select.select([source], [], [], POLL_SECONDS)[0]:
                part = os.read(source, 1 << 20)
                if not part:
                    self.close()
                    raise CallFailed("ended", "its process has ended")
                content += part
        reply = json.loads(content)
        if error := reply.get("error"):
            raise CallFailed("error", _short(error))
        return reply


def _short(text: str) -> str:
    line = " ".join(str(text).split())
    return "".join(char if char.isprintable() else "?" for char in line)[:SHORT]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe
    return pipe
