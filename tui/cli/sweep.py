"""What `lora-studio sweep` does and prints: a grid of runs one after the other, and their ranking.

The runs are trained in this process, each as `lora-studio train` does it: a lost terminal does not
end them, a signal stops with a checkpoint, and the same sweep goes on from there.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from engine.errors import RunError, UserError
from engine.events import COMPLETE
from engine.runs import queue
from engine.runs.json_lines import to_json
from engine.runs.sweep import (
    QUEUE,
    Cell,
    Sweep,
    names,
    open_sweep,
    ranking,
    result_of,
    settings_of,
    working_on,
)
from tui.cli.arguments import print_lines
from tui.state.live_elsewhere import live_elsewhere
from tui.terminal.exit_status import BAD_INPUT, DONE, FAILED, STOPPED_BY
from tui.text.format import duration
from tui.text.safe_text import safe_line

POLL_SECONDS = 2.0  # between two looks at whether another run is over


def sweep(plan: Sweep, *, json: bool) -> int:
    """Train the runs of a sweep that are not over, and print the ranking; returns the exit status.

    A run that fails or cannot go on is told of, and the next one is taken. The file is read again
    before each run, since the queue's changes meanwhile.

    Raises:
        UserError: another process trains the runs of this sweep.
    """
    if not plan.cells:  # of a queue whose folder may not be there
        _print(results(plan, json=json))
        return DONE
    # Their settings as they are written: another version may have, which knows other ones.
    if all(cell.settings.get("on_hangup") != "stop" for cell in plan.cells):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # between two runs too
    with working_on(plan.name):
        try:
            return _train_all(plan.name, json=json)
        except KeyboardInterrupt:  # between two runs
            return _stopped(plan.name, STOPPED_BY + signal.SIGINT, json=json)


def _train_all(name: str, *, json: bool) -> int:
    tried: set[str] = set()
    failed: list[str] = []
    seconds: list[float] = []
    while left := [cell for cell in open_sweep(name).left() if cell.run not in tried]:
        if name == QUEUE and _waited_for_another(json=json):
            continue  # what comes first may be another one by now
        plan, cell = open_sweep(name), left[0]
        tried.add(cell.run)
        _say(_heading(plan, cell, len(left), seconds), json=json)
        began = time.monotonic()
        failures: list[str] = []
        try:
            status = _train(plan, cell, failures, json=json)
        except (UserError, RunError) as error:
            _warn(f"{cell.run}: {error}")
            failures.append(str(error))
            status = BAD_INPUT if isinstance(error, UserError) else FAILED
        if status > STOPPED_BY:
            return _stopped(name, status, json=json)
        seconds.append(time.monotonic() - began)
        if plan.status_of(cell) not in COMPLETE:
            failed.append(cell.run)
        if name == QUEUE:
            queue.settle(cell.run, failures[-1] if failures else "")
    _print(results(open_sweep(name), json=json))
    if failed:
        runs = f"{len(failed)} run{'s' * (len(failed) > 1)}"
        _warn(f"{runs} did not finish: {', '.join(failed)}; the same command tries again")
        return FAILED
    return DONE


def _waited_for_another(*, json: bool) -> bool:
    """Wait until no other process of this user trains a run; whether one did."""
    waited = ""
    while another := live_elsewhere():
        if another.name != waited:
            waited = another.name
            _say(f"waits until {safe_line(waited, 120)} is over", json=json)
        time.sleep(POLL_SECONDS)
    return bool(waited)


def _stopped(name: str, status: int, *, json: bool) -> int:
    _say(f"stopped; `lora-studio sweep {name}` goes on with it", json=json)
    return status


def _train(plan: Sweep, cell: Cell, failures: list[str], *, json: bool) -> int:
    from tui.cli.training import train

    run = plan.run_of(cell)
    return train(run.settings() if run else settings_of(cell), run, json=json, failures=failures)


def _heading(plan: Sweep, cell: Cell, left: int, seconds: list[float]) -> str:
    """Which run comes now, of how many that are left, and about how long these will take."""
    changes = ", ".join(f"{key} {value}" for key, value in cell.changes.items())
    number = 1 + [each.run for each in plan.cells].index(cell.run)
    text = f"sweep {plan.name}: run {number} of {len(plan.cells)}, {changes}"
    if not seconds:
        return text
    return f"{text} · about {duration(sum(seconds) / len(seconds) * left)} left"


def results(plan: Sweep, *, json: bool = False) -> list[str]:
    """The ranking, and how each run ended."""
    places = ranking(plan)
    if json:
        objects = [
            {"event": "place", "place": at, **asdict(place)} for at, place in enumerate(places, 1)
        ]
        return [to_json(each) for each in objects]
    return list(_lines(plan))


def _lines(plan: Sweep) -> Iterator[str]:
    if not plan.cells:
        yield f"nothing is in the {plan.name}"
        return
    places = ranking(plan)
    seeds = len(plan.axes.get("seed", ()))
    by = next((place.result.by for place in places if place.result), "judge")
    yield ""
    yield f"sweep {plan.name}: win rate by the {by}, with its 95% interval"
    if seeds:
        yield f"mean of {seeds} seeds; the interval is of the prompts alone"
    changes = [
        " ".join(f"{key}={value}" for key, value in each.changes.items()) or "all seeds"
        for each in places
    ]
    width = max(len(name) for name in changes)
    for at, (name, place) in enumerate(zip(changes, places, strict=True), 1):
        rate = place.result  # without one it has no place yet
        figures = f"{rate.rate:6.1%}  {rate.low:.1%} to {rate.high:.1%}" if rate else "     –"
        yield f"{at if rate else '–':>3}  {safe_line(name):<{width}}  {figures}".rstrip()
    yield ""
    width = max(len(cell.run) for cell in plan.cells)
    for cell in plan.cells:
        run = plan.run_of(cell)
        result = result_of(run) if run else None
        rate = f"  {result.rate:.1%}" if result else ""
        status = plan.status_of(cell) or "not begun"
        yield f"     {safe_line(cell.run):<{width}}  {status}{rate}"
    if plan.name not in names():
        yield f"{len(plan.cells)} runs, none begun: the same without --show begins"
    elif left := len(plan.left()):
        yield f"{left} of {len(plan.cells)} runs left: `lora-studio sweep {plan.name}` goes on"


def _say(text: str, *, json: bool) -> None:
    _print([to_json({"event": "sweep", "text": text})] if json else [text])


def _print(lines: list[str]) -> None:
    """Lines at once. A terminal, or the reader of a pipe, may be gone; the sweep is not."""
    with contextlib.suppress(OSError, ValueError):
        print_lines(lines)


def _warn(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"lora-studio: {safe_line(text, 1_000)}", file=sys.stderr, flush=True)


def is_sweep(source: str) -> bool:
    """Whether a word names a sweep that is there, and no config."""
    return source in names() and not Path(source).exists()
