"""Commands to a run that another process trains, left as files in the run's folder.

Files work wherever the folder does: across hosts, on a network drive, under any path. The folder
belongs to its owner alone, and so does the right to command: what anybody else put there is left
alone, and what was asked of an earlier process is thrown away.
"""

import contextlib
import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from engine.runs.durable import tidy, write_file
from engine.runs.folder import COMMANDS_FOLDER, Run
from engine.runs.storage import StorageError

Command = Literal["pause", "unpause", "stop", "evaluate", "save"]
COMMANDS: tuple[str, ...] = get_args(Command)
POLL_SECONDS = 0.25

_numbers = itertools.count()


def post(run: Run, command: Command) -> Path:
    """Leave a command; the process that trains the run takes it, and removes the file, within a
    second. Returns the file.

    Raises:
        StorageError: it could not be written.
    """
    folder = _private_folder(run)
    tidy(folder)
    # Names sort by time, so commands are taken in the order in which they were given.
    name = f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers)}.{command}"
    write_file(folder / name, "")
    return folder / name


def withdraw(posted: Path) -> bool:
    """Take a command back; whether that was in time."""
    try:
        posted.unlink()
    except OSError:
        return False
    return True


def take(run: Run) -> list[str]:
    """Remove and return the commands that wait, oldest first. Anything else is left alone."""
    folder = run.path / COMMANDS_FOLDER
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    commands = []
    for name in names:
        command = name.rpartition(".")[2]
        if name.startswith(".") or command not in COMMANDS or not _ours(folder / name):
            continue
        if withdraw(folder / name):
            commands.append(command)
    return commands


def _private_folder(run: Run) -> Path:
    """The folder of commands, there and closed to others.

    Raises:
        StorageError: it cannot be.
    """
    folder = run.path / COMMANDS_FOLDER
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if facts.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StorageError(folder, error) from error
    return folder


def _ours(file: Path) -> bool:
    """Whether it is a file of the user that this process belongs to."""
    try:
        facts = file.lstat()
    except OSError:
        return False
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()


class Watch:
    """Takes commands on a thread of its own until closed; what waited before is thrown away."""

    def __init__(self, run: Run, obey: Callable[[str], None]) -> None:
        self._run = run
        self._obey = obey
        self._closed = threading.Event()
        with contextlib.suppress(StorageError):  # a full disk: whoever asks first makes it
            _private_folder(run)
        take(run)
        self._thread = threading.Thread(target=self._look, name="remote-commands", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            for command in take(self._run):
                self._obey(command)
