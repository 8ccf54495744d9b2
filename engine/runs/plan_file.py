"""What a change of several of a run's files is to be, in a file of its own from before it begins
until it is done, so that a kill in the middle leaves something to finish from."""

import contextlib

from engine.runs import durable, json_lines, storage
from engine.runs.folder import Run
from engine.runs.json_lines import Record
from engine.runs.storage import StorageError


def write(run: Run, name: str, plan: Record) -> None:
    """Write a plan down, synced to the disk.

    Raises:
        StorageError: it is not.
    """
    durable.write_file(run.path / name, json_lines.to_json(plan) + "\n")


def read(run: Run, name: str, limit: int) -> Record:
    """The plan, read from at most `limit` bytes; empty where there is none, or a damaged one.

    Raises:
        StorageError: it cannot be read.
    """
    file = run.path / name
    try:
        return json_lines.from_line(durable.read_file(file, limit)) or {}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(file, error) from error


def remove(run: Run, name: str) -> None:
    """Remove the plan of what is done, or was not begun. Never raises."""
    with contextlib.suppress(OSError):
        (run.path / name).unlink(missing_ok=True)
        storage.sync_folder(run.path)
