"""The rows of the list of runs: columns, order, filter, and how a row is drawn. No widgets."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from engine.events import UNDER_WAY
from engine.json_number import real
from engine.runs.archive import Run
from engine.runs.folder import METRICS
from engine.runs.run_summary import RunSummary
from tui.text.format import age, duration
from tui.text.safe_text import cut, safe_line
from tui.widgets.sparkline import sparkline

MARKS = 4  # cells before the name
LEAST_NAME = 16
# Columns that go first where others have no room; the model and the judge are told below the list.
SPARE = ("tags", "judge", "time", "model", "trend", "pairs", "loss")
LEAST_TREND = 0.01  # of loss, that a trend's height stands for
TAIL = 60  # last lines of metrics that a trend is drawn from


@dataclass(frozen=True, slots=True)
class Glance:
    """What a row shows of a run's metrics: its losses, and the step of its newest win rate."""

    losses: tuple[float, ...] = ()
    measured: float | None = None  # the step of the newest win rate


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `sort` gives what rows are ordered by; None stands last in either direction."""

    title: str
    width: int  # cells; 0 for what is left over
    text: Callable[[RunSummary, Glance], str]
    sort: Callable[[RunSummary], Any]
    right: bool = False
    wide_only: bool = False
    largest_first: bool = False


def _steps(run: RunSummary) -> str:
    return "–" if run.step is None else f"{run.step:,}"


def _win_rate(run: RunSummary, glance: Glance) -> str:
    if run.win_rate is None or (glance.measured == 0 and run.step):
        return "–"
    if run.eval_win_rate is not None:
        return f"{100 * run.win_rate:.0f}·{100 * run.eval_win_rate:.0f} %"
    low, high = run.win_rate_low, run.win_rate_high
    spread = "" if low is None or high is None else f" ±{50 * (high - low):.0f}"
    return f"{100 * run.win_rate:.0f}{spread} %"


def _age(run: RunSummary, glance: Glance) -> str:
    return age(time.time() - run.updated.timestamp()) if run.updated else "–"


def _named(title: str, width: int, text: Callable[[RunSummary], str]) -> Column:
    """A column of words, sorted by them whatever their case; a run without any stands last."""
    return Column(
        title,
        width,
        lambda run, _: text(run),
        lambda run: text(run).lower() or None,
        wide_only=True,
    )


def _trend(run: RunSummary, glance: Glance) -> str:
    return sparkline(glance.losses, 8, least=LEAST_TREND)[0] if glance.losses else ""


COLUMNS = (
    Column("name", 0, lambda run, _: run.name, lambda run: run.name.lower()),
    Column("status", 11, lambda run, _: run.doing, lambda run: run.status),
    _named("model", 22, lambda run: _last(run.model)),
    _named("judge", 18, lambda run: _last(run.judge)),
    Column(
        "steps", 6, lambda run, _: _steps(run), lambda run: run.step, right=True, largest_first=True
    ),
    Column(
        "pairs",
        6,
        lambda run, _: "–" if run.pairs is None else f"{run.pairs:,}",
        lambda run: run.pairs,
        right=True,
        largest_first=True,
    ),
    Column(
        "loss",
        6,
        lambda run, _: "–" if run.loss is None else f"{run.loss:.3f}",
        lambda run: run.loss,
        right=True,
    ),
    Column("win rate", 8, _win_rate, lambda run: run.win_rate, right=True, largest_first=True),
    Column("trend", 8, _trend, lambda run: run.loss),
    Column(
        "age",
        6,
        _age,
        lambda run: run.updated.timestamp() if run.updated else None,
        right=True,
        largest_first=True,
    ),
    Column(
        "time",
        10,
        lambda run, _: "–" if run.seconds is None else duration(run.seconds),
        lambda run: run.seconds,
        right=True,
        wide_only=True,
        largest_first=True,
    ),
    _named("tags", 18, lambda run: ", ".join(run.tags)),
)


@dataclass(frozen=True, slots=True)
class Order:
    """By which column rows are sorted; `flipped` against its natural direction."""

    column: str = "age"
    flipped: bool = False

    def next(self) -> "Order":
        """By the column to the right."""
        titles = [column.title for column in COLUMNS]
        return Order(titles[(titles.index(self.column) + 1) % len(titles)])

    def by(self, column: str) -> "Order":
        """By a column, or turned round where it is that one already."""
        return Order(column, column == self.column and not self.flipped)

    def sort(self, runs: Sequence[RunSummary]) -> list[RunSummary]:
        """The runs in this order; those without a value stand last."""
        column = next(each for each in COLUMNS if each.title == self.column)
        known = [run for run in runs if column.sort(run) is not None]
        known.sort(key=lambda run: run.name.lower())
        known.sort(key=column.sort, reverse=column.largest_first != self.flipped)
        return known + [run for run in runs if column.sort(run) is None]


def columns(width: int) -> list[tuple[Column, int]]:
    """The columns that fit, each with its width."""
    visible = [each for each in COLUMNS if width >= 120 or not each.wide_only]
    for title in SPARE:
        if width - _fixed(visible) < LEAST_NAME:
            visible = [each for each in visible if each.title != title]
    fixed = _fixed(visible)
    return [(each, each.width or max(LEAST_NAME, width - fixed)) for each in visible]


def _fixed(columns: Sequence[Column]) -> int:
    """The cells of a row that are not the name's."""
    return MARKS + sum(each.width + 1 for each in columns)


def header(width: int, order: Order) -> Content:
    """The line of titles; the one that rows are sorted by carries its direction."""
    parts: list[Content] = [Content(" " * MARKS)]
    for column, cells in columns(width):
        sorted_by = column.title == order.column
        arrow = "▲" if column.largest_first == order.flipped else "▼"
        title = f"{column.title}{arrow}" if sorted_by else column.title
        text = title.rjust(cells) if column.right else title.ljust(cells)
        parts.append(Content.styled(text + " ", "$foreground" if sorted_by else "$muted"))
    return Content.assemble(*parts)


def column_at(x: int, width: int) -> str | None:
    """The title of the column at a cell of a row; None left of the first."""
    at = MARKS
    for column, cells in columns(width):
        if at <= x < at + cells + 1:
            return column.title
        at += cells + 1
    return None


def row(run: RunSummary, width: int, glance: Glance, marked: Collection[Path]) -> Content:
    """The line of a run."""
    live = run.status in UNDER_WAY
    parts: list[Content | tuple[str, str]] = [
        (" ●" if live else " !" if run.damaged else "  ", "$accent" if live else "$bad"),
        ("✓ " if run.path in marked else "  ", "$foreground"),
    ]
    for column, cells in columns(width):
        if run.damaged and column.title not in ("name", "status"):
            break
        whole = safe_line(column.text(run, glance), None if column.title == "name" else cells)
        text = middle_out(whole, cells) if column.title == "name" else cut(whole, cells)
        style = _style(run, column)
        line = Content(text)
        pad = " " * (cells - line.cell_length)
        parts.append((f"{pad}{text} " if column.right else f"{text}{pad} ", style))
    if run.damaged:
        parts.append((safe_line(run.damaged, 300), "$muted"))
    return Content.assemble(*parts)


def facts_of(run: RunSummary) -> str:
    """What the columns leave out or cut, in a line."""
    of = f" of {run.total_steps:,}" if run.total_steps else ""
    facts = [
        run.train_type,
        run.model and f"model {run.model}",
        run.judge and f"judge {run.judge}",
        run.step is not None and f"step {run.step:,}{of}",
        run.seconds is not None and f"took {duration(run.seconds)}",
        run.tags and f"tags {', '.join(run.tags)}",
        run.notes and f"notes {run.notes}",
    ]
    words = " · ".join(safe_line(fact, 120) for fact in facts if isinstance(fact, str) and fact)
    return safe_line(words, 400)


def about(run: RunSummary) -> Content:
    """Two lines: the name, and what the columns leave out or what went wrong."""
    reason = run.damaged or run.error
    second = (safe_line(reason, 400), "$bad") if reason else (facts_of(run), "$muted")
    return Content.assemble((safe_line(run.name, 200), "$foreground"), "\n", second)


def glance(run: RunSummary) -> Glance:
    """What the end of a run's metrics says; reads its file."""
    losses: list[float] = []
    measured = None
    for record in Run(run.path).last(METRICS, TAIL):
        if (loss := real(record.get("loss"))) is not None:
            losses.append(loss)
        if real(record.get("win_rate")) is not None:
            measured = real(record.get("step"))
    return Glance(tuple(losses), measured)


def _style(run: RunSummary, column: Column) -> str:
    if column.title == "status":
        bad = run.status in ("failed", "untrained", "damaged", "interrupted")
        return "$bad" if bad else "$accent" if run.status in UNDER_WAY else "$muted"
    if column.title in ("name", "loss", "win rate"):
        return "$foreground"
    return "$muted"


def middle_out(name: str, width: int) -> str:
    """A safe name in `width` cells: its start and its end, which tells runs of one day apart."""
    if cell_len(name) <= width:
        return name
    end = name[len(name) - (width - 1) // 2 :]
    while cell_len(end) > width // 2:
        end = end[1:]
    return cut(name, width - cell_len(end)) + end


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
