"""One run's folder: its settings, state, metrics, pairs, log and checkpoints.

    config.yaml      every setting of the run, loadable as it is
    run.json         name, status, times, versions, device, last metrics; replaced in one step
    progress.json    steps, pairs and seconds so far, which go before those in run.json
    metrics.jsonl    a line per report
    pairs.jsonl      a line per pair with a winner: prompt, chosen, rejected, judgement
    undecided.jsonl  a line per other verdict: a tie, both bad, skipped, identical, invalid
    sampled.jsonl    batches that a person was asked about and that are not in a checkpoint yet
    chat.jsonl       a line per answer, or two answers, of the models in a chat
    chat_pairs.jsonl a line per pair of answers of which a person picked one there
    card_pairs.jsonl a line per pair that a person labelled to try the judge before the run
    retracted.jsonl  a line per label that a person took back, which counts nowhere
    log.txt
    adapters/        as mlx-lm reads them
    warm_start.jsonl the pairs that were there before the run and are learned from first
    start/           the adapters that it started from, where there were any: its reference
    fused/           the trained model on its own, where the settings ask for it
    checkpoints/     one per step: the newest three, the best, and two from before the text broke
    lock             who trains it now
    mailbox/         commands from other processes to the one that trains
    waiting.json     how many pairs wait for a person, where a model judges the others

One process at a time writes a run (`Run.lock`); any number may read it meanwhile.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UserError
from engine.events import STATUSES, UNDER_WAY, Level
from engine.json_number import finite, real
from engine.runs import durable, json_lines, record_files
from engine.runs import lock as run_lock
from engine.runs.checkpoints import (
    CHECKPOINT_NAME,
    Best,
    best_as_of,
    checkpoint_damage,
    to_prune,
    write_manifest,
)
from engine.runs.json_lines import Record
from engine.runs.record_files import Follower
from engine.runs.storage import StorageError

if TYPE_CHECKING:
    from engine.settings.schema import Settings

CONFIG, STATE, PROGRESS, METRICS, PAIRS, UNDECIDED, SAMPLED, LOG = (
    "config.yaml",
    "run.json",
    "progress.json",
    "metrics.jsonl",
    "pairs.jsonl",
    "undecided.jsonl",
    "sampled.jsonl",
    "log.txt",
)
CHAT, CHAT_PAIRS, CARD_PAIRS = "chat.jsonl", "chat_pairs.jsonl", "card_pairs.jsonl"
WARM_START, RETRACTED = "warm_start.jsonl", "retracted.jsonl"
ADAPTERS, FUSED, CHECKPOINTS, START = "adapters", "fused", "checkpoints", "start"
LOCK, COMMANDS_FOLDER, WAITING = "lock", "mailbox", "waiting.json"

# Of runs that are made now, in run.json. From 2 on, the reference of a run that starts from
# adapters has them too; from 3 on, a token is drawn by its own key; from 4 on, a judge reads its
# rubric beside the question.
FORMAT = 4

STATE_LIMIT = 1 << 20  # bytes; a longer run.json is not one of ours
TEXT_LIMIT = 10_000  # characters of one text in it, which may be a prompt of any length


class Run:
    """A run on disk. Making one reads nothing: `engine.runs.archive` creates and opens them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repaired: set[str] = set()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The name by which the commands know the run: its folder's."""
        return self.path.name

    # -- settings and state

    def settings(self) -> "Settings":
        """The settings of the run.

        Raises:
            UserError: config.yaml is missing or damaged.
        """
        from engine.settings.files import load

        return load(self.path / CONFIG)

    def known_settings(self) -> "tuple[Settings, list[str]]":
        """The settings of the run as far as this version knows them, to show and to export it; and
        a sentence on each key of a newer version, which only `settings` refuses.

        Raises:
            UserError: config.yaml is missing or damaged.
        """
        from engine.settings.files import load_known

        return load_known(self.path / CONFIG)

    def state(self) -> Record:
        """What run.json says, with the steps, pairs and seconds of this moment.

        Raises:
            UserError: it is missing or damaged.
        """
        return read_state(self.path)

    @property
    def format(self) -> int:
        """The `FORMAT` that the run was made in; 1 for runs that do not tell."""
        number = self.state().get("format")
        return number if isinstance(number, int) else 1

    def update(self, **fields: Any) -> Record:
        """Change fields of run.json, in one step, and set `updated`; return the new state.

        Fields of any process are kept: what another wrote meanwhile is read first.

        Raises:
            StorageError: run.json is as it was.
        """
        return self._change({**fields, "updated": timestamp()})

    def annotate(self, **fields: Any) -> Record:
        """Change fields that say nothing of how the run goes, such as its name and tags, as
        `update` does, with `updated` as it was."""
        return self._change(fields)

    def _change(self, fields: Record) -> Record:
        with _exclusive(self.path):
            try:
                known = self.state()
            except UserError as error:
                if isinstance(error.__cause__, OSError):  # gone for a while, as a disk may be
                    raise StorageError(self.path / STATE, error.__cause__) from error
                raise
            state = {**known, **fields}
            write_state(self.path, state)
        return state

    def advance(self, *, step: int, pairs: int, seconds: float) -> None:
        """Say how far the run is: `step` steps taken, `pairs` pairs in its files, in `seconds`.

        Said after every step and label, and so not synced, which may take as long as a step;
        `update` puts it into run.json.

        Raises:
            StorageError: what was said last stands.
        """
        line = json_lines.to_json({"step": step, "pairs": pairs, "seconds": seconds})
        durable.write_file(self.path / PROGRESS, line + "\n", sync=False)

    # -- files of records

    def append(
        self, file: str, records: Iterable[Mapping[str, Any] | str], *, sync: bool = False
    ) -> None:
        """Add whole lines to a file; with `sync`, return only when the disk has them.

        Raises:
            StorageError: nothing was added and nothing is damaged; the call can be repeated.
        """
        if file not in self._repaired:
            self._repair_file(file)
        record_files.append_lines(self.path / file, records, sync=sync)

    def log(self, level: Level, text: str) -> None:
        """Add a line to log.txt, with the time."""
        self.append(LOG, [f"{timestamp()} {level:<7} {text}"])

    def read(self, file: str) -> Iterator[Record]:
        """The records of a file, in order; damaged lines and an unfinished last are left out."""
        return record_files.read_records(self.path / file)

    def last(self, file: str, count: int) -> list[Record]:
        """The last `count` records of a file, oldest first, without reading the rest."""
        return record_files.last_records(self.path / file, count)

    def follow(self, file: str) -> Follower:
        """A reader of what is added to a file from now on, what is there included."""
        return Follower(self.path / file)

    def rewrite(self, file: str, change: Callable[[Record], Record | None]) -> int:
        """Replace the records of a file in one step; `change` returns None to drop one.

        Returns how many lines were changed or dropped.
        """
        return record_files.rewrite_records(self.path / file, change)

    def keep_until(self, file: str, step: int) -> int:
        """Drop the records of later steps, which a resumed run writes again; return how many.

        Records marked `"keep": true` stay: a person's labels are never asked for twice.
        """

        def unless_later(record: Record) -> Record | None:
            at = real(record.get("step"))
            later = at is not None and at > step
            return None if later and record.get("keep") is not True else record

        return self.rewrite(file, unless_later)

    # -- one writer

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the run for writing.

        Raises:
            RunBusy: someone else holds it; says who.
        """
        return run_lock.hold(self.path / LOCK, self.name)

    def holder(self) -> run_lock.Holder | None:
        """The process that is training this run now."""
        return run_lock.holder(self.path / LOCK)

    def repair(self) -> list[str]:
        """Tidy up after a kill, with the lock held; return what was done, a sentence each."""
        repairs = [
            text
            for file in (METRICS, PAIRS, UNDECIDED, SAMPLED, RETRACTED, LOG)
            if (text := self._repair_file(file))
        ]
        for part in ("", ADAPTERS, START, CHECKPOINTS, COMMANDS_FOLDER):
            repairs += durable.tidy(self.path / part)
        with contextlib.suppress(StorageError):  # the kill may have come after a checkpoint
            self.prune_checkpoints()
        return repairs

    def _repair_file(self, file: str) -> str | None:
        cut = record_files.repair_last_line(self.path / file)
        self._repaired.add(file)
        if not cut:
            return None
        text = f"{file} ended in an unfinished line, which was removed ({cut} bytes)"
        with contextlib.suppress(StorageError):
            self.log("warning", text)
        return text

    # -- checkpoints

    @contextlib.contextmanager
    def checkpoint_folder(
        self, step: int, best: Best | None = None, sound: Sequence[int] = (), *, extra: bool = False
    ) -> Iterator[Path]:
        """A folder to write a checkpoint into; complete on disk under its name, or not there.

        A checkpoint that the run has of this step already is replaced. Arguments are as of
        `write_manifest`.

        Raises:
            StorageError: it could not be written; older checkpoints are as they were.
        """
        with durable.new_folder(self.path / CHECKPOINTS / f"{step:07d}") as folder:
            yield folder
            write_manifest(folder, best, sound, extra=extra)

    def checkpoints(self) -> list[Path]:
        """The folders of the checkpoints, oldest first; a folder's name is its step."""
        folder = self.path / CHECKPOINTS
        names = os.listdir(folder) if folder.is_dir() else []
        folders = [folder / name for name in names if CHECKPOINT_NAME.fullmatch(name)]
        return sorted(folders, key=lambda path: int(path.name))

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint that is complete and undamaged; `int(path.name)` is its step."""
        newest_first = reversed(self.checkpoints())
        return next((each for each in newest_first if not checkpoint_damage(each)), None)

    def best(self) -> Best | None:
        """The best step so far, by the newest checkpoint; None: nothing was measured since the
        start."""
        for each in reversed(self.checkpoints()):
            if not checkpoint_damage(each, contents=False):
                best = best_as_of(each)
                # Older checkpoints name the start before anything else was measured.
                unmeasured = best and best.is_start and self.state().get("win_rate_step") == 0
                return None if unmeasured else best
        return None

    def prune_checkpoints(self, keep: int = 3) -> None:
        """Remove the checkpoints that `to_prune` names."""
        for old in to_prune(self.checkpoints(), keep):
            durable.remove_folder(old)

    def size(self) -> int:
        """Bytes of all files in the folder."""
        return sum(path.lstat().st_size for path in self.path.rglob("*") if path.is_file())


def timestamp() -> str:
    """Now, in UTC and ISO form, to the millisecond. For showing; durations are measured apart."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_state(folder: Path) -> Record:
    """What the run.json in `folder` says, with what progress.json says since.

    Raises:
        UserError: it is missing or damaged.
    """
    file = folder / STATE
    try:
        data = durable.read_file(file, STATE_LIMIT + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(data) > STATE_LIMIT:
        raise UserError(f"{file} is longer than {STATE_LIMIT} bytes")
    state = json_lines.from_line(data)
    if state is None:
        raise UserError(f"{file} holds no JSON object")
    return state | _progress(folder)


def _progress(folder: Path) -> Record:
    """The numbers in progress.json: none where it is not there, or a power cut left it damaged."""
    try:
        progress = json_lines.from_line(durable.read_file(folder / PROGRESS, STATE_LIMIT)) or {}
    except OSError:
        return {}
    numbers = ("step", "pairs", "seconds")
    return {key: progress[key] for key in numbers if finite(progress.get(key)) is not None}


def shown_status(state: Record, has_holder: Callable[[], bool]) -> str:
    """The status in a run.json; `interrupted` where it says that the run is under way and no
    process holds it, `unknown` where it is none of `STATUSES`."""
    status = state.get("status")
    if status in UNDER_WAY and not has_holder():
        return "interrupted"
    return status if isinstance(status, str) and status in STATUSES else "unknown"


def seconds_taken(line: Record) -> float | None:
    """What the run had taken at a line of metrics.jsonl, in seconds; those of older runs tell the
    training alone. None: the line does not tell."""
    return finite(line.get("elapsed_seconds")) or finite(line.get("seconds"))


def write_state(folder: Path, state: Record) -> None:
    """Replace the run.json in `folder`; texts that are too long for it are cut.

    Raises:
        StorageError: it is as it was.
    """
    durable.write_file(folder / STATE, json_lines.to_json(_with_short_texts(state)) + "\n")


def _with_short_texts(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= TEXT_LIMIT else f"{value[:TEXT_LIMIT]}…"
    if isinstance(value, Mapping):
        return {key: _with_short_texts(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_short_texts(each) for each in value]
    return value


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep other threads and processes from changing run.json between a read and a write."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(folder / STATE, error) from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
