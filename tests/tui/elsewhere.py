"""A run that another process trains, played by the test."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import asdict

from engine.runs import remote
from engine.runs.folder import LOCK, Run
from engine.runs.lock import Holder

PID = 4_194_305  # above what any system gives to a process


@contextlib.contextmanager
def trained_elsewhere(run: Run) -> Iterator[None]:
    """While the context lasts, the run's lock is held, and names another process of this host."""
    with run.lock():
        named = Holder(PID, socket.gethostname(), "2026-09-01T10:00:00+00:00")
        (run.path / LOCK).write_text(json.dumps(asdict(named)))
        yield


def waiting(run: Run) -> list[str]:
    """The commands that wait to be taken."""
    folder = run.path / remote.COMMANDS_FOLDER
    return sorted(each.suffix[1:] for each in folder.iterdir()) if folder.is_dir() else []
