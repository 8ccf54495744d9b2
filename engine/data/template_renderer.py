"""The process that renders chat templates (`engine.data.template_process`), as its caller sees it.

Importing this is light, so that the process can start while the rest is still loaded.
"""

import atexit
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from engine.errors import UserError

SECONDS = 5.0  # for one conversation
NO_PROCESS = "chat templates cannot be rendered: Python could not be started a second time."


class TemplateRenderer:
    """A process, started when it is first needed or before, and again after it was ended.
    Thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start it, to be ready by the time that it is needed. Where that fails, `render` says
        so."""
        with self._lock, contextlib.suppress(UserError):
            self._process = self._process or self._start()

    def render(self, values: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
        """The reply to a request; None where the template did not end in time.

        Raises:
            UserError: the process cannot be started.
        """
        request = {"values": values, "limit": limit, "seconds": SECONDS}
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # one that was ended from outside since the last time is replaced
                process = self._process = self._process or self._start()
                reply = b""
                try:
                    self._ready = self._ready or bool(_pipe(process.stdout).readline())
                    if self._ready:
                        _pipe(process.stdin).write(line)
                        _pipe(process.stdin).flush()
                        reply = _pipe(process.stdout).readline()
                except BrokenPipeError:
                    pass
                except BaseException:  # the thread was interrupted: nobody else may get its reply
                    self._end(seconds=0)
                    raise
                if reply.endswith(b"\n"):
                    return json.loads(reply)
                if self._end() == -signal.SIGALRM:
                    return None
            if not self._ready:
                raise UserError(NO_PROCESS)
            return {"too_long": True}  # ended by the system, as where memory ran out

    def _start(self) -> subprocess.Popen[bytes]:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from engine.data import template_process as t"
        )
        self._ready = False
        try:
            return subprocess.Popen(
                [sys.executable, "-c", f"{code}; t.main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a key that ends this program leaves it time to save
            )
        except OSError as error:
            raise UserError(NO_PROCESS) from error

    def _end(self, seconds: float = 1.0) -> int:
        """End the process, which has so long to do it by itself; its status, 0 if there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        _pipe(process.stdout).close()
        return process.wait()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end(seconds=0)


def _pipe(pipe: Any) -> Any:
    """A pipe that was asked for, and so is there."""
    assert pipe is not None
    return pipe


RENDERER = TemplateRenderer()
atexit.register(RENDERER.close)
