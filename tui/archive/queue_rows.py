"""The rows of the queue: how each run of it is doing, and how a row is drawn. No widgets."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.content import Content

from engine.events import COMPLETE, UNDER_WAY
from engine.json_number import whole
from engine.runs.folder import METRICS, Run
from engine.runs.run_summary import RunSummary, read_summary
from engine.runs.sweep import Cell, Result, Sweep, result_of
from tui.archive.run_rows import middle_out
from tui.text.format import duration
from tui.text.safe_text import safe_line

MARKS, STATUS, STEPS, RATE, CHANGES = 3, 11, 13, 17, 30  # cells
WIDE = 110  # from which on a column tells what sets a run apart


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A run of the queue; `run` is None where it has no folder, also since it failed before its
    first step."""

    cell: Cell
    run: RunSummary | None = None
    result: Result | None = None

    @property
    def status(self) -> str:
        """That of the list of runs, or `waits`, `loading` or `deleted`."""
        if self.run is None:
            return "deleted" if self.cell.over else "failed" if self.cell.error else "waits"
        return "loading" if self.live and not self.run.total_steps else self.run.status

    @property
    def live(self) -> bool:
        """Whether it trains now."""
        return self.run is not None and self.run.status in UNDER_WAY

    @property
    def done(self) -> bool:
        """Whether nothing is left of it to do."""
        return self.cell.over or self.status in COMPLETE

    @property
    def failed(self) -> bool:
        """Whether the last try failed; the next one is made when the queue is started again."""
        return self.status == "failed"

    @property
    def error(self) -> str:
        """What went wrong; empty where nothing did."""
        return (self.run.damaged or self.run.error or "") if self.run else self.cell.error

    @property
    def step(self) -> int:
        """How many steps it has taken."""
        return (self.run and self.run.step) or 0

    @property
    def seconds(self) -> float:
        """How long these took."""
        return (self.run and self.run.seconds) or 0.0

    @property
    def total_steps(self) -> int:
        """How many steps it is to take; 0 where only its data will tell."""
        by_data = bool(self.cell.settings.get("epochs"))
        known = self.run and self.run.total_steps
        return known or (0 if by_data else whole(self.cell.settings.get("iters")))


class QueueReader:
    """Reads how runs are doing; a win rate is read again only when its file has changed."""

    def __init__(self) -> None:
        self._results: dict[Path, tuple[tuple[int, int], Result | None]] = {}

    def read(self, queue: Sweep) -> list[QueueRow]:
        """A row for each run."""
        return [self._row(cell, queue.run_of(cell)) for cell in queue.cells]

    def _row(self, cell: Cell, run: Run | None) -> QueueRow:
        if run is None:
            return QueueRow(cell)
        return QueueRow(cell, read_summary(run.path, run.path.is_symlink()), self._result(run))

    def _result(self, run: Run) -> Result | None:
        with contextlib.suppress(OSError):
            stat = (run.path / METRICS).stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if run.path not in self._results or self._results[run.path][0] != stamp:
                self._results[run.path] = (stamp, result_of(run))
            return self._results[run.path][1]
        return None


def header(width: int) -> Content:
    """The titles of the columns."""
    titles = [" " * MARKS, f"{'run':<{_name(width)}} "]
    titles += [f"{'what sets it apart':<{CHANGES}} "] if width >= WIDE else []
    titles += [f"{'status':<{STATUS}} ", f"{'steps':>{STEPS}} ", f"{'win rate':>{RATE}}"]
    return Content.styled("".join(titles), "$muted")


def row(each: QueueRow, width: int) -> Content:
    """The line of a run."""
    bad = each.status in ("failed", "damaged", "interrupted", "untrained")
    status = "$accent" if each.live else "$bad" if bad else "$muted"
    parts = [
        (f" {'●' if each.live else '✓' if each.done else ' '} ", status),
        (_padded(middle_out(safe_line(each.cell.run), _name(width)), _name(width)), "$foreground"),
    ]
    if width >= WIDE:
        parts.append((_padded(apart(each.cell), CHANGES), "$muted"))
    parts += [
        (_padded(each.status, STATUS), status),
        (f"{_steps(each):>{STEPS}} ", "$muted"),
        (f"{_rate(each.result):>{RATE}}", "$foreground"),
    ]
    return Content.assemble(*parts)


def apart(cell: Cell) -> str:
    """What sets a run apart from others of its sweep; empty for one that is of none."""
    if not cell.sweep:
        return ""
    return " ".join(f"{key}={value}" for key, value in cell.changes.items())


def about(each: QueueRow) -> Content:
    """Two lines: the whole name, and what went wrong or what the columns leave out."""
    wrong = each.error
    sweep = f"sweep {each.cell.sweep}" if each.cell.sweep else ""
    by = "by the evaluator" if each.result and each.result.by == "evaluator" else ""
    took = f"took {duration(each.seconds)}" if each.seconds else ""
    facts = " · ".join(part for part in (sweep, apart(each.cell), took, by) if part)
    second = (safe_line(wrong or facts, 400), "$bad" if wrong else "$muted")
    return Content.assemble((safe_line(each.cell.run, 200), "$foreground"), "\n", second)


def progress(rows: Sequence[QueueRow]) -> str:
    """`2 of 5 done · 1 trains · 2 wait · about 12 min left`."""
    done, live = sum(each.done for each in rows), sum(each.live for each in rows)
    failed = sum(each.failed for each in rows)
    facts = [f"{done} of {len(rows)} done"]
    facts += [f"{live} trains"] if live else []
    facts += [f"{failed} failed"] if failed else []
    if waiting := len(rows) - done - live - failed:
        facts.append(f"{waiting} wait{'s' * (waiting == 1)}")
    seconds = seconds_left(rows)
    return " · ".join([*facts, *([f"about {duration(seconds)} left"] if seconds else [])])


def seconds_left(rows: Sequence[QueueRow]) -> float | None:
    """As long as the steps that are left take at the pace of those that were trained."""
    paced = [each for each in rows if each.seconds and each.step]
    left = [each for each in rows if not each.done and not each.failed]
    if not paced or not left:
        return None
    pace = sum(each.seconds for each in paced) / sum(each.step for each in paced)
    return pace * sum(max(0, each.total_steps - each.step) for each in left)


def _steps(each: QueueRow) -> str:
    return f"{each.step:,} of {each.total_steps:,}" if each.total_steps else "–"


def _rate(result: Result | None) -> str:
    if result is None:
        return "–"
    return f"{result.rate:.0%}  {result.low:.0%} to {result.high:.0%}"


def _name(width: int) -> int:
    fixed = MARKS + STATUS + STEPS + RATE + 3 + (CHANGES + 1 if width >= WIDE else 0)
    return max(16, width - fixed)


def _padded(text: str, width: int) -> str:
    line = safe_line(text, width)
    return line + " " * (width - Content(line).cell_length + 1)
