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
from engine.runs.json_lines import to_json
from engine.runs.sweep import Cell, Sweep, ranking, result_of, settings_of
from tui.terminal.exit_status import BAD_INPUT, DONE, FAILED, STOPPED_BY
from tui.text.format import duration
from tui.text.safe_text import safe_line


def sweep(plan: Sweep, *, json: bool) -> int:
    """Train the runs of a sweep that are not over, and print the ranking; returns the exit status.

    A run that fails or cannot go on is told of, and the next one is taken.
    """
    if all(settings_of(cell).on_hangup == "continue" for cell in plan.cells):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # between two runs too
    try:
        return _train_all(plan, json=json)
    except KeyboardInterrupt:  # between two runs
        return _stopped(plan, STOPPED_BY + signal.SIGINT, json=json)


def _train_all(plan: Sweep, *, json: bool) -> int:
    failed: list[str] = []
    left = plan.left()
    seconds: list[float] = []
    for number, cell in enumerate(left, 1 + len(plan.cells) - len(left)):
        _say(_heading(plan, cell, number, seconds), json=json)
        began = time.monotonic()
        try:
            status = _train(plan, cell, json=json)
        except (UserError, RunError) as error:
            _warn(f"{cell.run}: {error}")
            status = BAD_INPUT if isinstance(error, UserError) else FAILED
        if status > STOPPED_BY:
            return _stopped(plan, status, json=json)
        seconds.append(time.monotonic() - began)
        if plan.status_of(cell) not in COMPLETE:
            failed.append(cell.run)
    _print(results(plan, json=json))
    if failed:
        runs = f"{len(failed)} run{'s' * (len(failed) > 1)}"
        _warn(f"{runs} did not finish: {', '.join(failed)}; the same command tries again")
        return FAILED
    return DONE


def _stopped(plan: Sweep, status: int, *, json: bool) -> int:
    _say(f"stopped; `lora-studio sweep {plan.name}` goes on with it", json=json)
    return status


def _train(plan: Sweep, cell: Cell, *, json: bool) -> int:
    from tui.cli.training import train

    run, streams = plan.run_of(cell), (sys.stdout, sys.stderr)
    try:
        return train(run.settings() if run else settings_of(cell), run, json=json)
    finally:  # a display whose terminal is gone leaves streams of its own
        sys.stdout, sys.stderr = streams


def _heading(plan: Sweep, cell: Cell, number: int, seconds: list[float]) -> str:
    """Which run comes now, and about how long the rest will take."""
    changes = ", ".join(f"{key} {value}" for key, value in cell.changes.items())
    text = f"sweep {plan.name}: run {number} of {len(plan.cells)}, {changes}"
    if not seconds:
        return text
    left = sum(seconds) / len(seconds) * (len(plan.cells) - number + 1)
    return f"{text} · about {duration(left)} left"


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
    places = ranking(plan)
    seeds = len(plan.axes.get("seed", ()))
    by = next((place.result.by for place in places if place.result), "judge")
    yield ""
    yield f"sweep {plan.name}: win rate by the {by}, with its 95% interval"
    if seeds:
        yield f"mean of {seeds} seeds; the interval is of the prompts alone"
    names = [
        " ".join(f"{key}={value}" for key, value in each.changes.items()) or "all seeds"
        for each in places
    ]
    width = max(len(name) for name in names)
    for at, (name, place) in enumerate(zip(names, places, strict=True), 1):
        rate = place.result
        told = f"{rate.rate:6.1%}  {rate.low:.1%} to {rate.high:.1%}" if rate else "     –"
        yield f"{at:>3}  {safe_line(name):<{width}}  {told}".rstrip()
    yield ""
    width = max(len(cell.run) for cell in plan.cells)
    for cell in plan.cells:
        run = plan.run_of(cell)
        result = result_of(run) if run else None
        rate = f"  {result.rate:.1%}" if result else ""
        status = plan.status_of(cell) or "not begun"
        yield f"     {safe_line(cell.run):<{width}}  {status}{rate}"
    if left := len(plan.left()):
        yield f"{left} of {len(plan.cells)} runs left: `lora-studio sweep {plan.name}` goes on"


def _say(text: str, *, json: bool) -> None:
    _print([to_json({"event": "sweep", "text": text})] if json else [text])


def _print(lines: list[str]) -> None:
    """Lines at once. A terminal, or the reader of a pipe, may be gone; the sweep is not."""
    with contextlib.suppress(OSError, ValueError):
        for line in lines:
            sys.stdout.buffer.write(f"{line}\n".encode(sys.stdout.encoding, errors="replace"))
        sys.stdout.flush()


def _warn(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"lora-studio: {safe_line(text, 1_000)}", file=sys.stderr, flush=True)


def is_sweep(source: str) -> bool:
    """Whether a word names a sweep that is there, and no config."""
    from engine.runs.sweep import names

    return source in names() and not Path(source).exists()
