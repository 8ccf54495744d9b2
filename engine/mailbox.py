"""Commands to a run that another process trains, left as files in the run's folder.

Files work wherever the folder does: across hosts, on a network drive, under any path. The folder
belongs to its owner alone, and so does the right to command.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Literal, get_args

from engine.durable import StorageError, write_file
from engine.run_folder import Run

Command = Literal["pause", "unpause", "stop", "evaluate", "save"]
COMMANDS: tuple[str, ...] = get_args(Command)
MAILBOX = "mailbox"
LOOK_SECONDS = 0.25

_numbers = itertools.count()


def post(run: Run, command: Command) -> None:
    """Leave a command; the process that trains the run takes it within a second.

    Raises:
        StorageError: it could not be written.
    """
    folder = run.path / MAILBOX
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(folder, error) from error
    # Names sort by time, so commands are taken in the order in which they were given.
    name = f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers)}.{command}"
    write_file(folder / name, "")


def take(run: Run) -> list[str]:
    """Remove and return the commands that wait, oldest first. Anything else is left alone."""
    try:
        names = sorted(os.listdir(run.path / MAILBOX))
    except OSError:
        return []
    taken = []
    for name in names:
        command = name.rpartition(".")[2]
        if name.startswith(".") or command not in COMMANDS:
            continue
        try:
            os.unlink(run.path / MAILBOX / name)
        except OSError:
            continue
        taken.append(command)
    return taken


class Watch:
    """Takes commands on a thread of its own until closed; what waited before is thrown away."""

    def __init__(self, run: Run, obey: Callable[[str], None]) -> None:
        self._run = run
        self._obey = obey
        self._closed = threading.Event()
        take(run)
        self._thread = threading.Thread(target=self._look, name="mailbox", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            for command in take(self._run):
                self._obey(command)
