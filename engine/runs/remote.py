"""Commands to a run that another process trains, left as files in the run's folder; and how many
pairs wait for a person there, which it tells in another.

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

from engine.json_number import whole
from engine.runs import json_lines
from engine.runs.durable import read_file, tidy, write_file
from engine.runs.folder import COMMANDS_FOLDER, WAITING, Run
from engine.runs.storage import StorageError

Command = Literal["pause", "unpause", "stop", "evaluate", "save"]
COMMANDS: tuple[str, ...] = get_args(Command)
POLL_SECONDS = 0.25
CLOSE_SECONDS = 2.0  # that a look gets to end, on storage that may be away
WAITING_LIMIT = 1 << 10  # bytes of its file

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


def waiting(run: Run) -> int:
    """How many pairs of a run that goes on wait for a person, as its process last told."""
    try:
        line = json_lines.from_line(read_file(run.path / WAITING, WAITING_LIMIT)) or {}
    except OSError:
        return 0
    return max(0, whole(line.get("pairs")))


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
    """Takes commands on a thread of its own until closed; what waited before is thrown away. Where
    `waiting` counts pairs that wait for a person, it tells of them meanwhile."""

    def __init__(
        self, run: Run, obey: Callable[[str], None], waiting: Callable[[], int] | None = None
    ) -> None:
        self._run = run
        self._obey = obey
        self._waiting = waiting
        self._newest_count: int | None = None
        self._closed = threading.Event()
        with contextlib.suppress(StorageError):  # a full disk: whoever asks first makes it
            _private_folder(run)
        take(run)
        self._thread = threading.Thread(target=self._look, name="remote-commands", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more, and tell of no more pairs."""
        self._closed.set()
        if self._waiting and threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_SECONDS)  # else it might write what is removed now
        with contextlib.suppress(OSError):
            (self._run.path / WAITING).unlink(missing_ok=True)

    def _look(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            for command in take(self._run):
                self._obey(command)
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        if self._waiting is None or (count := self._waiting()) == self._newest_count:
            return
        with contextlib.suppress(StorageError):  # it is told at the next look
            line = json_lines.to_json({"pairs": count})
            write_file(self._run.path / WAITING, f"{line}\n", sync=False)
            self._newest_count = count
