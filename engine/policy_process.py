"""A process of its own that loads the policies of a run and answers, and the connection to it.

It is a process and not a thread because a run may be training meanwhile, and two threads that
compute with MLX 0.32 on CUDA crash their process: each captures its kernels in a graph, and kernels
that the other launches meanwhile make that capture fail. Importing this is light.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Generic, TypeVar

from engine.errors import UserError

Event = TypeVar("Event")


class PolicyProcess(Generic[Event]):
    """Answers until closed. Belongs to one thread."""

    def __init__(self, module: str, arguments: str, failed: Callable[[str], Event]) -> None:
        """
        Args:
            module: of `engine`, such as `publish.process`; its `main` is called in the process with
                the number of the connection's descriptor and `arguments`, which are Python.
            failed: makes the event that says in one sentence why it cannot go on.
        """
        self._module, self._arguments = module, arguments
        self._failed = failed
        self._connection, self._far_end = Pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to load."""
        far = self._far_end.fileno()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; import engine.{self._module} as module; "
            f"module.main({far}, {self._arguments})"
        )
        # Not by multiprocessing, which passes on a screen's stand-in for standard error.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(far,),
            start_new_session=True,  # a key that stops an answer is no end for who writes it
        )
        self._far_end.close()  # it is the process's now: its end shows here

    def send(self, request: object) -> None:
        """Ask the process for something."""
        with contextlib.suppress(OSError):  # it ended, which `drain` tells
            self._connection.send(request)

    def drain(self, timeout: float = 0.0) -> list[Event]:
        """Events since the last call, oldest first; waits for the first of them so many seconds."""
        events: list[Event] = []
        with contextlib.suppress(EOFError, OSError):
            while not self._closed and self._connection.poll(0.0 if events else timeout):
                events.append(self._connection.recv())
            return events
        self._closed = True
        status = self._process.wait() if self._process else 0
        if status:
            what = f"The program that answers ended by itself (status {status})."
            failed = self._failed(what)
            if not any(isinstance(event, type(failed)) for event in events):
                events.append(failed)
        return events

    def close(self) -> None:
        """Stop at once. Does not wait."""
        self._closed = True
        if self._process:
            self._process.kill()  # what it keeps is on the disk
            threading.Thread(target=self._process.wait, daemon=True).start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the process to end; whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process:
                self._process.wait(timeout)
            return True
        return False


def serve(
    descriptor: int, answer: Callable[[Connection], None], failed: Callable[[str], object]
) -> None:
    """In the process: import MLX, and answer until the other end of a connection is gone."""
    from engine.data.template_renderer import RENDERER
    from engine.machine.blas import import_mlx
    from engine.train.engine_thread import leave_thread, step_back

    connection = Connection(descriptor)
    step_back()
    RENDERER.begin()
    import_mlx()
    try:
        answer(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except UserError as error:
        connection.send(failed(str(error)))
    except Exception as error:  # a defect, ours or a library's
        connection.send(failed(f"{type(error).__name__}: {error}"))
    finally:
        leave_thread()
