"""The queue: a sweep that runs are added to, moved in and dropped from.

It is worked through as any sweep is, its runs from the first to the last. A run that waits has no
folder yet; one that was begun before goes on from its checkpoint.
"""

import contextlib
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.events import COMPLETE, UNDER_WAY
from engine.runs.archive import runs_root
from engine.runs.folder import Run
from engine.runs.lock import RunBusy, hold
from engine.runs.run_names import automatic_name, safe_name
from engine.runs.sweep import QUEUE, Cell, Sweep, file_of, open_sweep, write_sweep

if TYPE_CHECKING:
    from engine.settings.schema import Settings

Change = Callable[[Sweep], list[Cell]]  # the cells that are left of a queue


def read_queue() -> Sweep:
    """The queue; empty where nothing was ever added.

    Raises:
        UserError: its file is damaged.
    """
    return open_sweep(QUEUE)


def add_settings(settings: "Settings") -> Cell:
    """Add a new run, named after its settings and its place: `starter-q1`.

    Raises:
        UserError: the settings do not serve, or the queue cannot be written.
    """
    from engine.settings.checks import check

    check(settings)
    _refuse_person(settings)
    name = safe_name(settings.run_name) if settings.run_name else automatic_name(settings)

    def change(queue: Sweep) -> list[Cell]:
        taken = {cell.run for cell in queue.cells}
        free = next(
            each
            for each in (f"{name}-q{number}" for number in itertools.count(1))
            if each not in taken and not (runs_root(settings) / each).exists()
        )
        return [*queue.cells, _cell(free, settings)]

    return _edit(change).cells[-1]


def add_run(run: Run) -> Cell:
    """Add a run that was begun and has steps left, to go on with.

    Raises:
        UserError: it has none, or is in the queue already; or the queue cannot be written.
    """
    settings = run.settings()
    _refuse_person(settings)
    if run.state().get("status") in COMPLETE:
        raise UserError(f"the run {run.name!r} has no steps left")
    if run.path.resolve() != (runs_root(settings) / run.name).resolve():
        raise UserError(f"the run {run.name!r} is not where its settings say, in output_root")

    def change(queue: Sweep) -> list[Cell]:
        if any(cell.run == run.name for cell in queue.cells):
            raise UserError(f"the run {run.name!r} is in the queue already")
        return [*queue.cells, _cell(run.name, settings)]

    return _edit(change).cells[-1]


def add_sweep(sweep: Sweep) -> int:
    """Add the runs of a sweep that are not in the queue yet, those that are over too, to look at;
    returns how many.

    Raises:
        UserError: the queue cannot be written.
    """
    added: list[Cell] = []

    def change(queue: Sweep) -> list[Cell]:
        present = {cell.run for cell in queue.cells}
        added.extend(
            replace(cell, sweep=sweep.name) for cell in sweep.cells if cell.run not in present
        )
        return [*queue.cells, *added]

    _edit(change)
    return len(added)


def drop(runs: Collection[str]) -> list[tuple[int, Cell]]:
    """Take runs out of the queue; what was trained of them stays. Returns them with their places,
    for `put_back`.

    Raises:
        UserError: one of them trains now, or the queue cannot be written.
    """

    dropped: list[tuple[int, Cell]] = []

    def change(queue: Sweep) -> list[Cell]:
        dropped.extend(each for each in enumerate(queue.cells) if each[1].run in runs)
        for _, cell in dropped:
            if queue.status_of(cell) in UNDER_WAY:
                raise UserError(f"{cell.run} trains now: stop the queue first")
        return [cell for cell in queue.cells if cell.run not in runs]

    _edit(change)
    return dropped


def move(run: str, by: int) -> None:
    """Let a run that waits change places with the next one that waits (`by` 1) or the one before
    (-1).

    Raises:
        UserError: it does not wait, or there is none to change places with.
    """

    def change(queue: Sweep) -> list[Cell]:
        cells = list(queue.cells)
        left = {cell.run for cell in queue.left() if queue.status_of(cell) not in UNDER_WAY}
        places = [at for at, cell in enumerate(cells) if cell.run in left]
        here = next((place for place, at in enumerate(places) if cells[at].run == run), None)
        if here is None:
            raise UserError(f"{run} does not wait, so that it has no place to change")
        if not 0 <= here + by < len(places):
            raise UserError(f"{run} is {'first' if by < 0 else 'last'} of those that wait")
        one, other = places[here], places[here + by]
        cells[one], cells[other] = cells[other], cells[one]
        return cells

    _edit(change)


def put_back(cells: Sequence[tuple[int, Cell]]) -> None:
    """Put runs that were dropped back, each at the place where it was.

    Raises:
        UserError: the queue cannot be written.
    """

    def change(queue: Sweep) -> list[Cell]:
        all_cells = list(queue.cells)
        present = {cell.run for cell in all_cells}
        for place, cell in sorted(cells, key=lambda each: each[0]):
            if cell.run not in present:
                all_cells.insert(place, cell)
        return all_cells

    _edit(change)


def settle(run: str, error: str = "") -> None:
    """Remember why the last try to train a run failed, if it did, and which runs are over: one that
    is deleted later is not trained again.

    Raises:
        UserError: the queue cannot be written.
    """
    _edit(
        lambda queue: [
            replace(cell, error=error) if cell.run == run else cell for cell in queue.cells
        ]
    )


def _refuse_person(settings: "Settings") -> None:
    if settings.asks_person:
        raise UserError("judge: a person cannot judge in a queue; name a model or a rule")


def _cell(name: str, settings: "Settings") -> Cell:
    from engine.settings.local_paths import anchored

    named = anchored(settings).model_copy(update={"run_name": name})
    return Cell(name, {"run_name": name}, named.model_dump(mode="json"))


def _edit(change: Change) -> Sweep:
    """Replace the queue by what a change makes of it, one process at a time."""
    file = file_of(QUEUE)
    with contextlib.ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(hold(file.with_suffix(".edit-lock"), QUEUE))
        except OSError as error:
            reason = f"the queue cannot be kept in {file.parent}: {error.strerror}"
            raise UserError(reason) from error
        except RunBusy as error:
            raise UserError("another process changes the queue: try again") from error
        queue = read_queue()
        cells = change(queue)
        over = {cell.run for cell in queue.cells if queue.status_of(cell) in COMPLETE}
        cells = [replace(each, over=each.over or each.run in over) for each in cells]
        queue = Sweep(QUEUE, {}, cells)
        write_sweep(queue)
        return queue
