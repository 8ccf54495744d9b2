"""A row of the list of runs, read from a folder that may be damaged."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from engine.errors import UserError
from engine.events import UNDER_WAY
from engine.json_number import count, finite
from engine.runs.folder import LOCK, PROGRESS, STATE, read_state, shown_status
from engine.runs.lock import holder

SUMMARIES = 4_096  # summaries that are not read again while their files stay as they are
Stamp = tuple[int, int, int]  # of a file: inode, time of its last change in ns, bytes


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
    win_rate: float | None = None  # None too where it was measured of the start alone
    win_rate_low: float | None = None  # its 95% interval
    win_rate_high: float | None = None
    eval_win_rate: float | None = None  # by an evaluator that is not the judge
    created: datetime | None = None
    updated: datetime | None = None
    seconds: float | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""

    @property
    def doing(self) -> str:
        """The status in a word for people: a new run counts as paused until it has loaded."""
        return "loading" if self.status == "paused" and not self.total_steps else self.status


def read_summary(path: Path, is_link: bool) -> RunSummary:
    """The row of a run's folder. Never raises: what cannot be read is damaged."""
    if is_link:
        return _damaged(path, "it is a link, and links are not followed")
    try:
        summary = _as_of_now(path)
        held = summary.status not in UNDER_WAY or holder(path / LOCK) is not None
        if not held:  # it may have ended between the two looks
            summary = _as_of_now(path)
    except UserError as error:
        return _damaged(path, str(error))
    status = shown_status({"status": summary.status}, lambda: held)
    return summary if status == summary.status else replace(summary, status=status)


def _as_of_now(path: Path) -> RunSummary:
    return _summary(path, _stamp(path / STATE), _stamp(path / PROGRESS))


def _stamp(file: Path) -> Stamp | None:
    """What another file at the same path has not in common with this one; None: there is none."""
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=SUMMARIES)
def _summary(path: Path, state_stamp: Stamp | None, progress_stamp: Stamp | None) -> RunSummary:
    """The row as the files in `path` tell it, with the status that they tell. Both are replaced
    whole when they change, so that by their stamps they are read once.

    Raises:
        UserError: run.json is missing or damaged.
    """
    state = read_state(path)
    tags = state.get("tags")
    step = count(state.get("step"))
    of_start = state.get("win_rate_step") == 0 and step != 0
    return RunSummary(
        name=path.name,
        path=path,
        status=_text(state.get("status")),
        error=_text(state.get("error")) or None,
        model=_text(state.get("model")),
        judge=_text(state.get("judge")),
        train_type=_text(state.get("train_type")),
        step=step,
        total_steps=count(state.get("total_steps")),
        pairs=count(state.get("pairs")),
        loss=finite(state.get("loss")),
        win_rate=None if of_start else finite(state.get("win_rate")),
        win_rate_low=None if of_start else finite(state.get("win_rate_low")),
        win_rate_high=None if of_start else finite(state.get("win_rate_high")),
        eval_win_rate=None if of_start else finite(state.get("eval_win_rate")),
        created=_time(state.get("created")),
        updated=_time(state.get("updated")),
        seconds=finite(state.get("seconds")),
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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    """An aware time; one that names no zone is in UTC."""
    try:
        time = datetime.fromisoformat(_text(value))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
