"""What a person may name where preference pairs are wanted: a file, a folder, a dataset, a run."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from engine.data import files as data_files
from engine.data.preferences import PlacedPreference, read_preferences
from engine.data.sources import Split, SplitName, read_splits
from engine.data_folder import at_home
from engine.errors import UserError
from engine.file_kinds import exists
from engine.runs.archive import open_run, runs_root
from engine.runs.folder import STATE, Run
from engine.runs.labels import labels


def splits_of(source: str) -> dict[SplitName, Split] | None:
    """The splits of a file or a folder; None where the source is neither, or is a run.

    Raises:
        UserError: there is no such file, or nothing in it can be read.
    """
    path = _path(source)
    if path.is_file() or (path.is_dir() and not _is_run(source)):
        return read_splits(str(path))
    if data_files.kind(path) and not _is_run(source):
        raise UserError(f"there is no file {source}")
    return None


def run_of(source: str) -> Run:
    """The run of a name, or in a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = _path(source)
    return open_run(path if (path / STATE).is_file() else source)


def preferences_of(source: str) -> Iterator[PlacedPreference]:
    """All pairs of a file or a folder of them, or of a run: those with a winner, and its ties.

    Raises:
        UserError: it is not there, or holds no pairs.
    """
    if splits := splits_of(source):
        return itertools.chain.from_iterable(map(read_preferences, splits.values()))
    decided = (label for label in labels(run_of(source)) if label.choice != "both_bad")
    return ((f"pair {label.pair_id}", label.preference) for label in decided)


def _is_run(source: str) -> bool:
    named = os.sep not in source and (runs_root() / source).is_dir()
    return named or (at_home(source) / STATE).is_file()


def _path(source: str) -> Path:
    """The path that a source may be.

    Raises:
        UserError: it may not be looked at, or is longer than a path may be.
    """
    path = at_home(source)
    try:
        exists(path)
    except OSError as error:
        raise UserError(f"{source[:200]} cannot be read: {error.strerror}") from error
    return path
