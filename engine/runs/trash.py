"""Runs that were deleted: kept for a while beside the others, then removed for good."""

import contextlib
import itertools
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.runs import storage
from engine.runs.archive import NEW, move_unless_taken, runs_root
from engine.runs.folder import LOCK, Run
from engine.runs.lock import RunBusy, holder

TRASH = ".trash"
KEPT_IN_TRASH = timedelta(days=1)


def delete(folder: Path) -> Path:
    """Move a run, damaged or not, into the trash beside it; return where, for `undelete`.

    Raises:
        RunBusy: the run is in use.
        StorageError: the folder cannot be written.
    """
    if not folder.is_symlink() and (owner := holder(folder / LOCK)):
        raise RunBusy(folder.name, owner, folder / LOCK)
    trash = folder.parent / TRASH
    try:
        trash.mkdir(exist_ok=True, mode=0o700)
        for number in itertools.count():
            place = trash / f"{folder.name}.{number}"
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=storage.PRIVATE_FOLDER)
                return folder.rename(place / folder.name)
    except OSError as error:
        raise storage.StorageError(folder, error) from error
    raise AssertionError("unreachable")


def undelete(trashed: Path) -> Run:
    """Put back what `delete` returned, under a numbered name if its own is taken meanwhile.

    Raises:
        StorageError: it is no longer there, or the folder cannot be written.
    """
    root = trashed.parent.parent.parent
    try:
        for number in itertools.count(1):
            path = root / (trashed.name if number == 1 else f"{trashed.name}-{number}")
            if move_unless_taken(trashed, path):
                trashed.parent.rmdir()
                return Run(path)
    except OSError as error:
        raise storage.StorageError(trashed, error) from error
    raise AssertionError("unreachable")


def empty_trash(root: Path | None = None, older_than: timedelta = KEPT_IN_TRASH) -> int:
    """Remove for good what was deleted longer ago than `older_than`, and what a kill in `create`
    left; return how many folders.

    Never raises: what cannot be removed now is left for the next time.
    """
    root = root or runs_root()
    trash = root / TRASH
    latest = (datetime.now(UTC) - older_than).timestamp()
    removed = 0
    for folder, kind in ((trash, "*"), (root, f"{NEW}*")):
        with contextlib.suppress(OSError):
            if folder == trash and folder.is_symlink():  # leads out of the archive
                continue
            for place in folder.glob(kind):
                with contextlib.suppress(OSError):  # brought back meanwhile
                    if place.lstat().st_mtime <= latest and place.is_dir():
                        shutil.rmtree(place, ignore_errors=True)
                        removed += not place.exists()
    return removed
