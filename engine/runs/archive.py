"""The archive: one folder a run under the user's data folder, or where settings say.

A name never leaves the archive's folder: it is one component, and no link is followed by name.
A damaged run is a row with its reason and harms nothing else.
"""

import contextlib
import difflib
import errno
import importlib.metadata
import itertools
import math
import os
import platform
import re
import shutil
import tempfile
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.data_folder import data_folder
from engine.errors import UserError
from engine.machine.backend import backend
from engine.machine.device import device
from engine.runs import durable
from engine.runs.folder import (
    ADAPTERS,
    CONFIG,
    FORMAT,
    LOCK,
    Run,
    read_state,
    shown_status,
    timestamp,
    write_state,
)
from engine.runs.lock import RunBusy, holder

if TYPE_CHECKING:
    from engine.settings.schema import Settings

__all__ = [
    "Run",
    "RunBusy",
    "RunSummary",
    "create",
    "delete",
    "discard",
    "empty_trash",
    "list_runs",
    "open_run",
    "rename",
    "runs_root",
    "safe_name",
    "undelete",
]

NAME_LIMIT = 120  # bytes; leaves room for suffixes under the 255 of file systems
TRASH = ".trash"
NEW = ".new-"  # begins the name of a folder that is not a run yet
KEPT_IN_TRASH = timedelta(days=1)
VERSIONED = ("lora-studio", "mlx", "mlx-lm", "transformers", "datasets")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A row of the list of runs. All text is untrusted; unknown values are None or empty.

    `status` is that of `RunStatus`, or `interrupted` for a run that says it is under way while no
    process holds it, or `damaged`, with the reason in `damaged`, or `unknown`.
    """

    name: str
    path: Path
    status: str
    damaged: str | None = None
    error: str | None = None
    model: str = ""
    judge: str = ""
    train_type: str = ""
    step: int | None = None
    total_steps: int | None = None
    pairs: int | None = None
    loss: float | None = None
    win_rate: float | None = None
    created: datetime | None = None
    updated: datetime | None = None
    seconds: float | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""


# -- where runs are ------------------------------------------------------------------------------


def runs_root(settings: "Settings | None" = None) -> Path:
    """The folder whose folders are runs: `runs` in `output_root`, or else in `data_folder()`."""
    chosen = settings.output_root if settings else None
    return (Path(chosen).expanduser().absolute() if chosen else data_folder()) / "runs"


def safe_name(text: str) -> str:
    """`text` as one component of a path on any system: no separators, controls or hidden start.

    Letters and digits of every script, `.`, `_`, `+`, `=`, `@` and `-` stay; all else is `-`.
    """
    text = unicodedata.normalize("NFC", text)
    kept = (c if unicodedata.category(c)[0] in "LNM" or c in "._+=@-" else "-" for c in text)
    name = re.sub("-{2,}", "-", re.sub(r"\.{2,}", ".", "".join(kept)))
    name = name.encode()[:NAME_LIMIT].decode(errors="ignore").strip("-.")
    if not name or unicodedata.category(name[0]) in ("Mn", "Mc", "Me"):
        name = f"run{name}"
    return f"{name}-run" if _RESERVED.fullmatch(name) else name


# -- making and finding --------------------------------------------------------------------------


def create(settings: "Settings", now: datetime | None = None) -> Run:
    """A new run with its settings and its first run.json; a name that is taken gets -2, -3, ...

    `now` (aware; by default the local time) is written into an automatic name.

    Raises:
        UserError: the folder cannot be written.
    """
    from engine.settings.files import to_yaml

    name = safe_name(settings.run_name) if settings.run_name else _automatic_name(settings, now)
    root = runs_root(settings)
    state = {
        "format": FORMAT,
        "name": name,
        "status": "paused",
        "model": settings.model,
        "judge": settings.judge,
        "train_type": settings.train_type,
        "step": 0,
        "pairs": 0,
        "created": timestamp(),
        "updated": timestamp(),
        "device": f"{backend()}, {device().name}",
        "versions": _versions(),
        "tags": [],
        "notes": "",
    }
    making: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        making = Path(tempfile.mkdtemp(prefix=NEW, dir=root))  # for the owner alone
        (making / ADAPTERS).mkdir(mode=durable.PRIVATE_FOLDER)
        durable.write_file(making / CONFIG, to_yaml(settings))
        for number in itertools.count(1):
            free = name if number == 1 else f"{name}-{number}"
            write_state(making, {**state, "name": free})
            if _moved(making, root / free):
                return Run(root / free)
    except (OSError, durable.StorageError) as error:
        if making:
            shutil.rmtree(making, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else error.__cause__
        raise UserError(
            f"a run cannot be kept in {root}: {reason}; "
            "set output_root or LORA_STUDIO_HOME to a folder that can be written"
        ) from error
    raise AssertionError("unreachable")


def open_run(name_or_path: str | Path, root: Path | None = None) -> Run:
    """The run of that name, or the one in the folder at that path (with a separator in it).

    Raises:
        UserError: there is none, with the nearest names; or it is damaged, with the reason.
    """
    text = os.fspath(name_or_path)
    root = root or runs_root()
    by_path = isinstance(name_or_path, Path) or os.sep in text or text.startswith("~")
    path = Path(text).expanduser().absolute() if by_path else root / text
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
    summaries = [_summary(Path(entry.path), entry.is_symlink()) for entry in folders]
    epoch = datetime.fromtimestamp(0, UTC)
    return sorted(summaries, key=lambda run: (run.created or epoch, run.name), reverse=True)


# -- changing the archive ------------------------------------------------------------------------


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
            if not _moved(run.path, new):
                raise UserError(f"there is a run named {new.name!r} already: choose another name")
        except OSError as error:
            raise durable.StorageError(new, error) from error
        renamed = Run(new)
        renamed.update(name=new.name)
    return renamed


def delete(folder: Path) -> Path:
    """Move a run, damaged or not, into the trash beside it; return where, for `undelete`.

    Raises:
        RunBusy: the run is in use.
        StorageError: the folder cannot be written.
    """
    if not folder.is_symlink() and (held := holder(folder / LOCK)):
        raise RunBusy(folder.name, held, folder / LOCK)
    trash = folder.parent / TRASH
    try:
        trash.mkdir(exist_ok=True, mode=0o700)
        for number in itertools.count():
            place = trash / f"{folder.name}.{number}"
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=durable.PRIVATE_FOLDER)
                return folder.rename(place / folder.name)
    except OSError as error:
        raise durable.StorageError(folder, error) from error
    raise AssertionError("unreachable")


def discard(run: Run) -> None:
    """Remove for good a run in which nothing was trained; its folder is whole, or no run's."""
    root = run.path.parent
    with contextlib.suppress(OSError):
        gone = Path(tempfile.mkdtemp(prefix=NEW, dir=root))
        run.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def undelete(trashed: Path) -> Run:
    """Put back what `delete` returned, under a numbered name if its own is taken meanwhile.

    Raises:
        StorageError: it is no longer there, or the folder cannot be written.
    """
    root = trashed.parent.parent.parent
    try:
        for number in itertools.count(1):
            path = root / (trashed.name if number == 1 else f"{trashed.name}-{number}")
            if _moved(trashed, path):
                trashed.parent.rmdir()
                return Run(path)
    except OSError as error:
        raise durable.StorageError(trashed, error) from error
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
        if folder == trash and folder.is_symlink():  # leads out of the archive
            continue
        with contextlib.suppress(OSError):
            for place in folder.glob(kind):
                with contextlib.suppress(OSError):  # brought back meanwhile
                    if place.lstat().st_mtime <= latest and place.is_dir():
                        shutil.rmtree(place, ignore_errors=True)
                        removed += not place.exists()
    return removed


def _moved(folder: Path, to: Path) -> bool:
    """Rename a folder unless something is there already; no moment lies between look and move."""
    try:
        if to.is_symlink() or to.exists():  # an empty folder, which `rename` would replace
            return False
        folder.rename(to)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
            return False
        raise
    durable.sync_folder(to.parent)
    return True


# -- reading what may be damaged -----------------------------------------------------------------


def _summary(path: Path, is_link: bool) -> RunSummary:
    if is_link:
        return _damaged(path, "it is a link, and links are not followed")
    try:
        state = read_state(path)
    except UserError as error:
        return _damaged(path, str(error))
    tags = state.get("tags")
    return RunSummary(
        name=path.name,
        path=path,
        status=shown_status(state, lambda: holder(path / LOCK) is not None),
        error=_text(state.get("error")) or None,
        model=_text(state.get("model")),
        judge=_text(state.get("judge")),
        train_type=_text(state.get("train_type")),
        step=_count(state.get("step")),
        total_steps=_count(state.get("total_steps")),
        pairs=_count(state.get("pairs")),
        loss=_number(state.get("loss")),
        win_rate=_number(state.get("win_rate")),
        created=_time(state.get("created")),
        updated=_time(state.get("updated")),
        seconds=_number(state.get("seconds")),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        notes=_text(state.get("notes")),
    )


def _damaged(path: Path, reason: str) -> RunSummary:
    try:
        changed = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    except (OSError, OverflowError, ValueError):
        changed = None
    return RunSummary(
        name=path.name,
        path=path,
        status="damaged",
        damaged=reason,
        created=changed,
        updated=changed,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _time(value: Any) -> datetime | None:
    """An aware time; one that names no zone is in UTC."""
    try:
        time = datetime.fromisoformat(_text(value))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


# -- facts for a new run -------------------------------------------------------------------------


def _automatic_name(settings: "Settings", now: datetime | None) -> str:
    """<model>-<train_type>-online-dpo-<date>-<time>"""
    now = now or datetime.now().astimezone()
    model = Path(settings.model).name or "model"
    ending = f"-{settings.train_type}-online-dpo-{now:%Y%m%d-%H%M%S}"
    start = safe_name(model).encode()[: NAME_LIMIT - len(ending)].decode(errors="ignore")
    return safe_name(start + ending)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in VERSIONED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _nearest(text: str, root: Path) -> str:
    names = [run.name for run in list_runs(root)]
    near = difflib.get_close_matches(text[:200], names, n=3, cutoff=0.5)
    if near:
        return "; the nearest names are " + ", ".join(map(repr, near))
    return f" in {root}" + ("" if names else ", which holds no runs yet")
