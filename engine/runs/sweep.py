"""A sweep: a grid of runs, one after the other.

A sweep's file is written once, when it is made, and says which runs it consists of and with which
settings. How far it is, is what the folders of these runs say, so that a kill loses nothing. The
queue (`queue.py`) is a sweep too, whose file changes.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.data_folder import data_folder
from engine.errors import UserError
from engine.events import COMPLETE, EVAL_WIN_RATE, WIN_RATE
from engine.json_number import finite
from engine.runs import durable, json_lines, storage
from engine.runs.archive import runs_in, runs_root
from engine.runs.folder import METRICS, STATE, Run, shown_status
from engine.runs.lock import Holder, RunBusy, hold, holder
from engine.runs.run_names import automatic_name, safe_name

if TYPE_CHECKING:
    from engine.settings.schema import Settings

MOST_RUNS = 500
FILE_LIMIT = 1 << 26  # bytes; a longer file is not one of ours
QUEUE = "queue"  # the name of the sweep that runs are added to
BRACKETS = {"[": "]", "{": "}", "(": ")"}
SPLITS = ("test", "kept", "valid")  # the surest first

Who = Literal["judge", "evaluator"]
_RATES: tuple[tuple[Who, tuple[str, str, str]], ...] = (
    ("judge", WIN_RATE),
    ("evaluator", EVAL_WIN_RATE),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep: its name, what sets it apart, and all its settings. In the queue also
    the sweep that it is of, if any, whether it is over for good, its run deleted or not, and why
    the last try to train it failed."""

    run: str
    changes: dict[str, str]
    settings: dict[str, Any]
    sweep: str = ""
    over: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A grid of runs."""

    name: str
    axes: dict[str, list[str]]
    cells: list[Cell]

    def run_of(self, cell: Cell) -> Run | None:
        """The run of a cell; None where it has not begun."""
        run = Run(runs_in(cell.settings.get("output_root")) / cell.run)
        return run if (run.path / STATE).is_file() else None

    def status_of(self, cell: Cell) -> str:
        """How a cell's run is doing, as the list of runs says it; empty where it has not begun."""
        run = self.run_of(cell)
        if run is None:
            return ""
        held = run.holder() is not None  # before the state, which a run that ends tells last
        try:
            return shown_status(run.state(), lambda: held)
        except UserError:
            return "damaged"

    def left(self) -> list[Cell]:
        """The cells whose runs have steps to take."""
        return [
            cell for cell in self.cells if not cell.over and self.status_of(cell) not in COMPLETE
        ]


def settings_of(cell: Cell) -> "Settings":
    """The settings of a cell's run.

    Raises:
        UserError: another version wrote them, which knows other settings.
    """
    from engine.settings.files import from_mapping

    return from_mapping(cell.settings, f"the sweep's run {cell.run}")


# -- the grid ------------------------------------------------------------------------------------


def axes_of(words: Sequence[str]) -> dict[str, list[str]]:
    """The values of each setting of `key=value,value` words.

    Raises:
        UserError: a word is none, or names a setting or a value twice.
    """
    axes: dict[str, list[str]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"--set {word}: write it as key=value,value")
        values = split_values(text)
        if not all(values) and len(values) > 1:
            raise UserError(f"--set {word}: a value between two commas is missing")
        if key in axes:
            raise UserError(f"--set {key} is there twice: write its values with commas between")
        if len(set(values)) < len(values):
            raise UserError(f"--set {word}: a value is there twice")
        axes[key] = values
    return axes


def split_values(text: str) -> list[str]:
    """The parts of a text between its commas, but for those in brackets and quotes."""
    parts, closing, quote = [""], [], ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in BRACKETS:
            closing.append(BRACKETS[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character == "," and not closing:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]


def plan_sweep(
    data: Mapping[str, Any], source: str, words: Sequence[str], name: str | None
) -> Sweep:
    """The sweep of a config over a grid; nothing is written.

    Args:
        data: the config, as it was read.
        source: what errors name it by.
        words: `key=value,value` for each setting; one value alone holds for all runs.

    Raises:
        UserError: the grid or the settings of one of its runs do not serve.
    """
    from engine.settings.checks import check
    from engine.settings.files import apply_overrides, from_mapping
    from engine.settings.local_paths import anchored

    axes = axes_of(words)
    count = math.prod(map(len, axes.values()))
    if count > MOST_RUNS:
        raise UserError(f"the grid has {count:,} runs, and at most {MOST_RUNS} are taken")
    varied = {key: values for key, values in axes.items() if len(values) > 1}
    if not varied:
        raise UserError("a sweep needs a setting with several values, as --set beta=0.05,0.1,0.3")
    if "run_name" in axes:
        raise UserError("run_name: a sweep names its runs itself; --name gives its own")
    cells: list[Cell] = []
    chosen = ""
    for values in itertools.product(*axes.values()):
        changes = dict(zip(axes, values, strict=True))
        overrides = [f"{key}={value}" for key, value in changes.items()]
        settings = from_mapping(apply_overrides(data, overrides), source)
        chosen = chosen or _free_name(name, settings)
        own = {key: value for key, value in changes.items() if key in varied}
        settings = settings.model_copy(update={"run_name": _run_name(chosen, len(cells) + 1, own)})
        check(settings)
        if settings.asks_person:
            raise UserError("judge: a person cannot judge a sweep; name a model or a rule")
        cells.append(Cell(settings.run_name or "", own, anchored(settings).model_dump(mode="json")))
    return Sweep(chosen, varied, cells)


def _free_name(name: str | None, settings: "Settings") -> str:
    """The name of a new sweep.

    Raises:
        UserError: the name that was wanted is taken.
    """
    if name is not None:
        if safe_name(name) == QUEUE:
            raise UserError(f"--name {name}: that is the queue of the app; take another name")
        if file_of(safe_name(name)).exists() or _has_runs(safe_name(name), settings):
            raise UserError(f"--name {name}: there is a sweep, or a run, of that name already")
        return safe_name(name)
    begin = f"{automatic_name(settings)}-sweep"
    names = (begin if number == 1 else f"{begin}-{number}" for number in itertools.count(1))
    return next(
        each for each in names if not file_of(each).exists() and not _has_runs(each, settings)
    )


def _has_runs(name: str, settings: "Settings") -> bool:
    """Whether runs are there that are named as those of a sweep would be."""
    return any(runs_root(settings).glob(f"{name}-[0-9]*"))


def _run_name(sweep: str, number: int, changes: Mapping[str, str]) -> str:
    values = "-".join(f"{key.rpartition('.')[2]}={value}" for key, value in changes.items())
    return safe_name(f"{sweep}-{number:02d}-{values}")


# -- its file ------------------------------------------------------------------------------------


def file_of(name: str) -> Path:
    """Where the sweep of that name is, or would be."""
    return data_folder() / "sweeps" / f"{name}.json"


def names() -> list[str]:
    """The names of all sweeps, the queue among them."""
    return sorted(path.stem for path in file_of("any").parent.glob("*.json"))


def write_sweep(sweep: Sweep) -> None:
    """Keep a new sweep.

    Raises:
        UserError: the folder cannot be written.
    """
    file = file_of(sweep.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write_file(file, json_lines.to_json(asdict(sweep)) + "\n")
    except OSError as error:
        raise UserError(f"a sweep cannot be kept in {file.parent}: {error.strerror}") from error
    except storage.StorageError as error:
        raise UserError(f"a sweep cannot be kept: {error}") from error


def open_sweep(name: str) -> Sweep:
    """The sweep of that name; the queue is there, if empty, before anything was added.

    Raises:
        UserError: there is none, or its file is damaged or cannot be read.
    """
    file = file_of(name)
    if name == QUEUE and not file.is_file():
        return Sweep(QUEUE, {}, [])
    if safe_name(name) != name or not file.is_file():
        raise UserError(f"there is no sweep {name!r}; there are {', '.join(names()) or 'none'}")
    try:
        data = json_lines.from_line(durable.read_file(file, FILE_LIMIT)) or {}
    except OSError as error:
        raise UserError(f"the sweep {name!r} cannot be read: {error}") from error
    try:
        cells = [Cell(**each) for each in data["cells"]]
        return Sweep(data["name"], data["axes"], cells)
    except (KeyError, TypeError) as error:
        raise UserError(f"the sweep {name!r} is damaged: {file}") from error


def sweep_of(run: str) -> Sweep | None:
    """The sweep that a run is of, whose name begins the run's; None where it is of none."""
    for name in names():
        if name != QUEUE and run.startswith(f"{name}-"):
            sweep = open_sweep(name)
            if any(cell.run == run for cell in sweep.cells):
                return sweep
    return None


# -- who works on it -----------------------------------------------------------------------------


@contextlib.contextmanager
def working_on(name: str) -> Iterator[None]:
    """Be the one process that trains the runs of a sweep, for as long as the context lasts.

    Raises:
        UserError: another one does.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(_lock_of(name), name))
        except RunBusy as error:
            who = f"process {error.holder.pid}" if error.holder else "another process"
            raise UserError(f"{who} trains the runs of the sweep {name!r} already") from error
        yield


def worker_of(name: str) -> Holder | None:
    """The process that trains the runs of a sweep; None where none does."""
    return holder(_lock_of(name))


def _lock_of(name: str) -> Path:
    return file_of(name).with_suffix(".lock")


# -- what came of it -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """A win rate with its 95% interval, of the policy that a run keeps where that was measured."""

    rate: float
    low: float
    high: float
    by: Who = "judge"


@dataclass(frozen=True, slots=True)
class Place:
    """Runs that differ in their seed alone, and their mean win rate with its interval; None where
    none of them was measured."""

    changes: dict[str, str]
    runs: list[str]
    result: Result | None


def result_of(run: Run) -> Result | None:
    """The win rate of a run: on the test split, else of what it keeps with answers drawn anew, else
    the newest; the evaluator's where there is one. The start's, against itself, is none."""
    results: dict[str, Result] = {}
    for line in run.read(METRICS):
        if line.get("step") == 0:
            continue
        for by, names in _RATES:
            rate, low, high = (finite(line.get(name)) for name in names)
            if rate is not None and low is not None and high is not None:
                results[str(line.get("split"))] = Result(rate, low, high, by)
    return next((results[split] for split in SPLITS if split in results), None)


def ranking(sweep: Sweep) -> list[Place]:
    """The grid's places by win rate, the best first; seeds of one place are taken together."""
    groups: dict[tuple[tuple[str, str], ...], list[Cell]] = {}
    for cell in sweep.cells:
        own = [(name, value) for name, value in cell.changes.items() if name != "seed"]
        key = (*([("sweep", cell.sweep)] if cell.sweep else []), *own)
        groups.setdefault(key, []).append(cell)
    places = [
        Place(dict(key), [cell.run for cell in cells], _mean(list(_results(sweep, cells))))
        for key, cells in groups.items()
    ]
    return sorted(places, key=lambda place: -(place.result.rate if place.result else -1.0))


def _results(sweep: Sweep, cells: Sequence[Cell]) -> Iterator[Result]:
    for cell in cells:
        run = sweep.run_of(cell)
        if run and (result := result_of(run)) and sweep.status_of(cell) in COMPLETE:
            yield result


def _mean(results: Sequence[Result]) -> Result | None:
    """The mean of independent win rates; its interval is of the prompts alone, and knows nothing of
    what else differs between seeds."""
    if not results:
        return None
    count = len(results)
    if count == 1:
        return results[0]
    rate = math.fsum(each.rate for each in results) / count
    half = math.hypot(*((each.high - each.low) / 2 for each in results)) / count
    return Result(rate, max(0.0, rate - half), min(1.0, rate + half), results[0].by)
