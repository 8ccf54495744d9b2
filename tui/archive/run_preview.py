"""The run under the cursor of the list, beside it: its course, settings and newest pair."""

from dataclasses import dataclass, field
from typing import Any

from textual import work
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from engine.errors import UserError
from engine.events import PairJudged
from engine.json_number import real
from engine.runs.folder import METRICS, PAIRS, Run
from engine.runs.run_summary import RunSummary
from engine.settings.schema import changed
from tui.archive.run_rows import facts_of
from tui.run.metric_labels import CARDS
from tui.state.run_from_files import to_pair
from tui.text.choice import outcome
from tui.text.prompt_text import prompt_line
from tui.text.safe_text import cut, safe_line, wrap
from tui.text.setting_value import show
from tui.widgets.from_thread import show_from_thread
from tui.widgets.sparkline import sparkline

PAUSE = 0.15  # seconds that the cursor stays before its run is read
TAIL = 400  # last lines of metrics that are read
METRICS_SHOWN = 7  # cards of a run that are drawn
LABEL = 12  # cells
ANSWER_LINES = 4


@dataclass(frozen=True, slots=True)
class Preview:
    """What the files of a run tell at a glance."""

    series: dict[str, list[float]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # that are not at their default
    pair: PairJudged | None = None


class RunPreview(Static):
    """Reads the files of a run on a thread, once the cursor has stayed."""

    DEFAULT_CSS = """
    RunPreview { width: 72; height: 1fr; padding: 0 1; border-left: solid $faint; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._run: RunSummary | None = None
        self._timer: Timer | None = None

    def show_run(self, run: RunSummary | None) -> None:
        """Show a run; the same again costs nothing."""
        if run == self._run or not self.display:
            return
        same = run is not None and self._run is not None and run.path == self._run.path
        self._run = run
        if self._timer:
            self._timer.stop()
        if not same:
            self.update(head(run) if run else "")
        if run and not run.damaged:
            self._timer = self.set_timer(PAUSE, self._read)

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        if run := self._run:
            show_from_thread(self, self._take, run, read(run))

    def _take(self, run: RunSummary, preview: Preview) -> None:
        if run == self._run:
            width = max(20, self.content_size.width)
            self.update(Content("\n").join([head(run), *body(preview, width)]))


def read(run: RunSummary) -> Preview:
    """What the files of a run tell. Never raises for what they hold."""
    files = Run(run.path)
    series: dict[str, list[float]] = {}
    for record in files.last(METRICS, TAIL):
        for metric in CARDS[:METRICS_SHOWN]:
            if (value := real(record.get(metric.name))) is not None:
                series.setdefault(metric.name, []).append(value)
    if run.win_rate is None:  # the points of the start alone
        series.pop("win_rate", None)
    try:
        settings = {key: now for key, (now, _) in changed(files.known_settings()[0]).items()}
    except UserError:
        settings = {}
    pairs = files.last(PAIRS, 1)
    return Preview(series, settings, to_pair(pairs[-1]) if pairs else None)


def head(run: RunSummary) -> Content:
    """Name and facts of a run, and what went wrong with it."""
    parts: list[Content | tuple[str, str]] = [(safe_line(run.name, 200), "bold")]
    parts.append((f"\n{run.doing} · {facts_of(run)}", "$muted"))
    if reason := run.damaged or run.error:
        parts.append((f"\n{safe_line(reason, 400)}", "$bad"))
    return Content.assemble(*parts, "\n")


def body(preview: Preview, width: int) -> list[Content]:
    """The course of its metrics, its newest pair and its settings."""
    lines = []
    for metric in CARDS[:METRICS_SHOWN]:
        if values := preview.series.get(metric.name):
            number = f"{f'{metric.show(values[-1])} {metric.unit}':<{LABEL - 1}} "
            spark = sparkline(values, width - LABEL - len(number), least=metric.least_span)[0]
            label = (f"{metric.label:<{LABEL}}", "$muted")
            lines.append(Content.assemble(label, number, (spark, "$muted")))
    if pair := preview.pair:
        said = outcome(pair.choice, pair.judge)
        lines += [Content(""), title(f"newest pair · step {pair.step:,} · {said}")]
        lines.append(Content(cut(f"> {prompt_line(pair.prompt, pair.messages)}", width)))
        for number, text, choice in (("1", pair.first, "first"), ("2", pair.second, "second")):
            rows = wrap(safe_line(text, 2_000), width - 4)
            if len(rows) > ANSWER_LINES:
                rows = [*rows[: ANSWER_LINES - 1], f"{rows[ANSWER_LINES - 1]} …"]
            won = "✓" if pair.choice == choice else " "
            marks = [f"{number} {won} ", *["    "] * len(rows)]
            lines += [
                Content.assemble((mark, "$muted"), row)
                for mark, row in zip(marks, rows, strict=False)
            ]
    if preview.settings:
        lines += [Content(""), title("settings that are not at their default")]
        lines += [
            Content.assemble((f"{key:<28} ", "$muted"), cut(safe_line(show(now)), width - 29))
            for key, now in preview.settings.items()
        ]
    return lines


def title(text: str) -> Content:
    """A line above a part."""
    return Content.styled(text, "$accent")
