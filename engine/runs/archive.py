"""The archive: one folder a run under the user's data folder, or where settings say.

A name never leaves the archive's folder: it is one component, and no link is followed by name.
A damaged run is a row with its reason and harms nothing else.
"""

import contextlib
import difflib
import errno
import importlib.metadata
import itertools
import os
import platform
import shlex
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data_folder import at_home, data_folder
from engine.errors import UserError
from engine.machine.backend import backend
from engine.machine.device import device
from engine.runs import durable, storage
from engine.runs.folder import (
    ADAPTERS,
    CONFIG,
    FORMAT,
    Run,
    read_state,
    timestamp,
    write_state,
)
from engine.runs.run_names import automatic_name, safe_name
from engine.runs.run_summary import RunSummary, read_summary

if TYPE_CHECKING:
    from engine.settings.schema import Settings

NEW = ".new-"  # begins the name of a folder that is not a run yet
VERSIONED = ("lora-studio", "mlx", "mlx-lm", "numpy", "transformers", "datasets")


def runs_root(settings: "Settings | None" = None) -> Path:
    """The folder whose folders are runs: `runs` in `output_root`, or else in `data_folder()`."""
    return runs_in(settings.output_root if settings else None)


def runs_in(output_root: str | None) -> Path:
    """The same, of an `output_root` alone."""
    root = at_home(output_root).absolute() if output_root else data_folder()
    return root / "runs"


def create(settings: "Settings") -> Run:
    """A new run with its settings and its first run.json; a name that is taken gets -2, -3, ...

    Raises:
        UserError: the folder cannot be written.
    """
    from engine.settings.files import to_yaml

    name = safe_name(settings.run_name) if settings.run_name else automatic_name(settings)
    root = runs_root(settings)
    state = {
        "format": FORMAT,
        "name": name,
        "status": "paused",
        "model": settings.model,
        "judge": settings.judge,
        **({"eval_judge": settings.eval_judge} if settings.eval_judge else {}),
        "train_type": settings.train_type,
        "step": 0,
        "pairs": 0,
        "created": timestamp(),
        "updated": timestamp(),
        "device": f"{backend()}, {device().name}",
        "versions": versions(),
        "tags": [],
        "notes": "",
    }
    making: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        making = Path(tempfile.mkdtemp(prefix=NEW, dir=root))  # for the owner alone
        (making / ADAPTERS).mkdir(mode=storage.PRIVATE_FOLDER)
        durable.write_file(making / CONFIG, to_yaml(settings))
        for number in itertools.count(1):
            free = name if number == 1 else f"{name}-{number}"
            write_state(making, {**state, "name": free})
            if move_unless_taken(making, root / free):
                return Run(root / free)
    except (OSError, storage.StorageError) as error:
        if making:
            shutil.rmtree(making, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else error.__cause__
        raise UserError(
            f"a run cannot be kept in {root}: {reason}; "
            "set output_root or LORA_STUDIO_HOME to a folder that can be written"
        ) from error
    raise AssertionError("unreachable")


def name_to_open(run: Path) -> str:
    """What `open_run` finds the run in a folder by, as a shell takes it: its name, or its path
    where it is not among the runs of the default folder."""
    return shlex.quote(run.name if run.parent == runs_root() else str(run.absolute()))


def open_run(name_or_path: str | Path, root: Path | None = None) -> Run:
    """The run of that name, or the one in the folder at that path (with a separator in it).

    Raises:
        UserError: there is none, with the nearest names; or it is damaged, with the reason.
    """
    text = os.fspath(name_or_path)
    root = root or runs_root()
    by_path = isinstance(name_or_path, Path) or os.sep in text or text.startswith("~")
    path = at_home(text).absolute() if by_path else root / text
    try:
        missing = text in ("", ".", "..") or not path.is_dir()
    except (OSError, ValueError):  # longer than a name may be, or with a NUL
        missing = True
    if missing:
        raise UserError(f"there is no run {text!r}{_nearest(text, root)}")
    if not by_path and path.is_symlink():
        raise UserError(f"the run {text!r} is a link out of {root}: give the path it leads to")
    read_state(path)
    return Run(path)


def list_runs(root: Path | None = None) -> list[RunSummary]:
    """All runs in a folder, the newest first. Never raises: what cannot be read is damaged."""
    root = root or runs_root()
    try:
        with os.scandir(root) as entries:
            folders = [
                entry
                for entry in entries
                if not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir())
            ]
    except OSError:
        return []
    summaries = [read_summary(Path(entry.path), entry.is_symlink()) for entry in folders]
    epoch = datetime.fromtimestamp(0, UTC)
    return sorted(summaries, key=lambda run: (run.created or epoch, run.name), reverse=True)


def rename(run: Run, name: str) -> Run:
    """The run under another name, made safe.

    Raises:
        UserError: the name is taken, or the run is in use (RunBusy).
        StorageError: the folder cannot be written.
    """
    new = run.path.with_name(safe_name(name))
    if new == run.path:
        return run
    with run.lock():
        try:
            if not move_unless_taken(run.path, new):
                raise UserError(f"there is a run named {new.name!r} already: choose another name")
        except OSError as error:
            raise storage.StorageError(new, error) from error
        renamed = Run(new)
        renamed.annotate(name=new.name)
    return renamed


def discard(run: Run) -> None:
    """Remove for good a run in which nothing was trained; its folder is whole, or no run's."""
    root = run.path.parent
    with contextlib.suppress(OSError):
        gone = Path(tempfile.mkdtemp(prefix=NEW, dir=root))
        run.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def move_unless_taken(folder: Path, to: Path) -> bool:
    """Rename a folder unless something is there already; no moment lies between look and move."""
    try:
        if to.is_symlink() or to.exists():  # an empty folder, which `rename` would replace
            return False
        folder.rename(to)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
            return False
        raise
    storage.sync_folder(to.parent)
    return True


def versions() -> dict[str, str]:
    """What this program and what it computes with are here, by package."""
    numbers = {"python": platform.python_version()}
    for package in VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            numbers[package] = importlib.metadata.version(package)
    return numbers


def _nearest(text: str, root: Path) -> str:
    names = [run.name for run in list_runs(root)]
    near = difflib.get_close_matches(text[:200], names, n=3, cutoff=0.5)
    if near:
        which = "name is" if len(near) == 1 else "names are"
        return f"; the nearest {which} " + ", ".join(map(repr, near))
    return f" in {root}" + ("" if names else ", which holds no runs yet")
