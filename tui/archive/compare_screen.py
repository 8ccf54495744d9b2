"""Compare: the metrics of several runs over one another, and the settings that differ."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import UserError
from engine.runs.archive import Run
from engine.settings.schema import Settings
from tui.archive.compare_rows import NAME, Row, differences, last_rows, settings_of, suite_rows
from tui.archive.run_rows import middle_out
from tui.run.chart_file import write_chart
from tui.run.metric_labels import ALL, Metric, metric
from tui.shell.base import ERROR_SECONDS, StudioScreen
from tui.state.run_from_files import RunFromFiles
from tui.state.run_view import RunView
from tui.state.series import Series
from tui.text.format import several
from tui.text.safe_text import cut, safe_line
from tui.text.unreadable import unreadable
from tui.widgets.chart import Chart, reading
from tui.widgets.from_thread import is_reading, show_from_thread
from tui.widgets.plot import Line
from tui.widgets.row_list import RowList
from tui.widgets.section_title import SectionTitle

SECONDS = 2.0  # between two looks at runs that still go on
COLORS = 6
FEW = 3  # runs whose values have room in a part of the screen, beside the chart
LEAST = 5  # cells of a value
SEVERAL = ("loss", "win_rate", "margin", "kl")  # metrics that are shown together


class SmallChart(Vertical):
    """One of several charts, under the name of its metric, which is marked while the chart has the
    keys."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric
        self.chart = Chart()
        self._title = SectionTitle(metric.label, metric.unit)

    def compose(self) -> ComposeResult:
        """Title and chart."""
        yield self._title
        yield self.chart

    def mark(self, *, keys: bool) -> None:
        """Mark the title where the chart has the keys."""
        self._title.show(self.metric.label, self.metric.unit, accented=keys)


class CompareScreen(StudioScreen):
    """Two or more runs side by side."""

    TITLE = "compare"
    DEFAULT_CSS = """
    CompareScreen {
        & > * { padding: 0 1; }
        & #head { height: auto; max-height: 9; }
        & #body { height: 1fr; margin: 1 0 0 0; }
        & #body > Chart { height: 3fr; }
        & #different { height: 2fr; margin: 1 0 0 0; }
        &.-wide.-few #body { layout: horizontal; }
        &.-wide.-few #body > Chart { width: 3fr; height: 1fr; }
        &.-wide.-few #different { width: 2fr; height: 1fr; margin: 0 0 0 3; }
        &.-large #different { display: none; }
        & #several { display: none; layout: grid; grid-size: 2 2; grid-gutter: 0 2; height: 3fr; }
        &.-several #several { display: block; }
        &.-several #body > Chart { display: none; }
        &.-wide.-few #several { width: 3fr; height: 1fr; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("n", "next(1)", "next metric", id="compare.next"),
        Binding("N", "next(-1)", "metric before", show=False, id="compare.previous"),
        Binding("enter", "large", "chart alone", id="compare.large"),
        Binding("v", "several", "several", id="compare.several"),
        Binding("w", "write", "write a file", id="compare.write"),
        Binding("tab", "other_part", "settings", id="compare.other_part"),
        Binding("escape", "app.back", "back", id="compare.back"),
    ]

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self.set_class(len(runs) <= FEW, "-few")
        self._runs = runs
        self._sources: list[RunFromFiles] = []
        self._settings: list[Settings | None] = [None] * len(runs)  # that are known
        self._lost: dict[Path, str] = {}  # runs that are not there any more, and why
        self._place = 0  # of the chart that has the keys, among several
        self.metric = metric("loss")  # of the chart that stands alone

    @property
    def views(self) -> list[RunView]:
        """What is known of each run."""
        return [each.view for each in self._sources]

    @property
    def _several(self) -> list[SmallChart]:
        """The charts of several metrics; none of them while they are not shown."""
        return list(self.query(SmallChart)) if self.has_class("-several") else []

    @property
    def chart(self) -> Chart:
        """The chart that has the keys, or had them last: of those that are shown."""
        several = self._several
        return several[self._place].chart if several else self.query_one("#body > Chart", Chart)

    @property
    def _chart_metric(self) -> Metric:
        """What the chart with the keys shows."""
        several = self._several
        return several[self._place].metric if several else self.metric

    def body(self) -> Iterable[Widget]:
        """Who is compared, the chart, and the settings."""
        yield Static("reading the runs …", id="head", markup=False)
        with Container(id="body"):
            yield Chart()
            with Container(id="several"):
                for name in SEVERAL:
                    yield SmallChart(metric(name))
            with Container(id="different"):
                yield SectionTitle("settings that differ, guard, last numbers")
                yield RowList(self._difference_line, empty="none", id="settings")

    def on_mount(self) -> None:
        """Read the files."""
        self.chart.focus()
        self._read()
        self.set_interval(SECONDS, self._read_again)

    def on_screen_resume(self) -> None:
        """What was written while another screen was in front shows at once."""
        if self._sources and not is_reading(self, "read"):
            self._read()

    def _read_again(self) -> None:
        live = any(view.live for view in self.views)
        if live and self.is_current and not is_reading(self, "read"):
            self._read()

    @work(thread=True, group="read")
    def _read(self) -> None:
        try:
            read = self._sources or [RunFromFiles(run) for run in self._runs]
        except UserError as error:
            show_from_thread(self, self._show_fault, error)
            return
        except OSError as error:
            show_from_thread(self, self._show_fault, unreadable(error))
            return
        lost = read_again(self._sources)
        settings, why_not = settings_of(self._runs)
        self._settings = [new or old for new, old in zip(settings, self._settings, strict=True)]
        show_from_thread(self, self._show_runs, read, differences(self._settings), why_not, lost)

    def _show_fault(self, error: UserError) -> None:
        self.query_one("#head", Static).update("these runs cannot be compared")
        self.say_error(error)

    def _show_runs(
        self,
        read: list[RunFromFiles],
        different: list[Row],
        why_not: str,
        lost: dict[Path, str],
    ) -> None:
        if why_not and not self._sources:
            self.say(why_not, 15)
        if news := [why for path, why in lost.items() if path not in self._lost]:
            self.say(safe_line(news[0], 400), ERROR_SECONDS)
        self._sources, self._lost = read, lost
        for each in read:
            each.take()
        rows = [*suite_rows(self.views), *different, *last_rows(self.views)]
        self.query_one("#settings", RowList).show(rows)
        self._draw()

    # -- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> None:
        several = self._several
        for number, small in enumerate(several):
            self._show_metric(small.chart, small.metric)
            small.mark(keys=number == self._place)
        if not several:
            self._show_metric(self.chart, self.metric)
        self._draw_head()

    def _show_metric(self, chart: Chart, metric: Metric) -> None:
        lines = [Line(view.name, view.series.get(metric.name, Series())) for view in self.views]
        chart.show(lines, percent=metric.form == "percent")

    @on(Chart.Read)
    def _draw_head(self) -> None:
        if not self._sources:
            return
        chart, metric = self.chart, self._chart_metric
        at = " · ".join(part for part in (reading(chart), _smoothing(chart)) if part)
        rows = [
            Content.assemble(
                (f"{metric.label}  ", "$foreground bold"),
                (at, "$muted"),
                (f"  {metric.meaning}" if self.size.width >= 100 else "", "$faint"),
            )
        ]
        places = [chart.nearest(line) for line in chart.lines]
        values = [
            None if place is None else line.series.values[place]
            for place, line in zip(places, chart.lines, strict=True)
        ]
        figures = [f"{metric.show(value)} {metric.unit}".strip() for value in values]
        width = max(map(len, figures), default=0)
        for number, (view, figure) in enumerate(zip(self.views, figures, strict=False)):
            sample = f"{chart.sample(number)}  {figure:>{width}}"
            status = "cannot be read now" if Path(view.folder) in self._lost else view.status
            facts = f"  {status}, {several(view.step, 'step')}"
            room = self.size.width - 4 - len(sample) - len(facts)  # a line for each run
            name = middle_out(safe_line(view.name), min(60, max(NAME, room)))
            rows.append(
                Content.assemble(
                    (sample, _color(number)), (f"  {name}", "$foreground"), (facts, "$muted")
                )
            )
        self.query_one("#head", Static).update(Content("\n").join(rows))

    def _difference_line(self, row: Row, width: int) -> Content:
        """The setting, and its value in each run in the colour of that run."""
        key, values, _ = row
        most = width - 2 - len(values) * (LEAST + 2)
        name = max(12, min(28, width // 3, most))
        room = max(LEAST, (width - name - 2) // len(values) - 2)
        parts: list[tuple[str, str]] = [(f"{cut(key, name):<{name}}  ", "$muted")]
        for number, text in enumerate(values):
            value = safe_line(text or "empty", room)
            pad = " " * (room - Content(value).cell_length + 2)
            parts.append((value + pad, _color(number)))
        return Content.assemble(*parts)

    @on(RowList.Chosen, "#settings")
    def _whole_difference(self) -> None:
        row = self.query_one("#settings", RowList).current
        if row:
            values = row.whole or row.values
            words = " · ".join(
                f"{middle_out(safe_line(view.name), NAME)}: {text or 'empty'}"
                for view, text in zip(self.views, values, strict=False)
            )
            self.say(safe_line(f"{row.key}  {words}", 600), 15)

    def on_resize(self, event: Resize) -> None:
        """There may be room for more words."""
        self.call_after_refresh(self._draw_head)

    # -- keys ------------------------------------------------------------------------------------

    def action_next(self, by: int) -> None:
        """Go through the metrics that any of the runs has, or through the charts of several."""
        if several := self._several:
            several[(self._place + by) % len(several)].chart.focus()
            return
        names = [name for name in ALL if any(view.series.get(name) for view in self.views)]
        if not names:
            self.say("no run has any metrics yet")
            return
        place = names.index(self.metric.name) + by if self.metric.name in names else 0
        self.metric = metric(names[place % len(names)])
        self._draw()

    @work
    async def action_write(self) -> None:
        """Write the chart as SVG, or its points as CSV."""
        names = "-".join(view.name for view in self.views)[:60]
        metric = self._chart_metric
        title = f"{metric.label} of {len(self.views)} runs"
        await write_chart(self, self.chart, title, f"{names}-{metric.name}")

    def action_several(self) -> None:
        """Show the charts of several metrics, or that of one again."""
        keys_on_chart = isinstance(self.focused, Chart)
        self.toggle_class("-several")
        if self.metric.name in SEVERAL:
            self._place = SEVERAL.index(self.metric.name)
        self._draw()
        if keys_on_chart:
            self.call_after_refresh(self.chart.focus)  # once it has its place

    def on_descendant_focus(self) -> None:
        """The chart that has the keys is the one that is read and written."""
        super().on_descendant_focus()
        for number, small in enumerate(self._several):
            if small.chart.has_focus and number != self._place:
                self._place = number
                self._draw()

    @on(Chart.Refused)
    def _refused(self, event: Chart.Refused) -> None:
        self.say(event.reason)

    def action_large(self) -> None:
        """Give the chart all the room, or take it back."""
        self.toggle_class("-large")
        self.chart.focus()

    def action_other_part(self) -> None:
        """From the chart to the settings and back."""
        chart, settings = self.chart, self.query_one("#settings", RowList)
        if self.has_class("-large"):
            self.remove_class("-large")
        (settings if chart.has_focus else chart).focus()


def read_again(sources: Sequence[RunFromFiles]) -> dict[Path, str]:
    """Read what was added to each run, and say of those that cannot be read any more why not: the
    others go on."""
    lost: dict[Path, str] = {}
    for each in sources:
        try:
            each.read()
        except UserError as error:
            lost[each.run.path] = str(error)
        except OSError as error:
            lost[each.run.path] = str(unreadable(error))
    return lost


def _color(number: int) -> str:
    return f"$series-{number % COLORS + 1}"


def _smoothing(chart: Chart) -> str:
    return "" if chart.smoothing == "off" else f"{chart.smoothing} smoothing"
