"""A metric as a full chart, of the live run or of one from its files."""

from collections.abc import Iterable, Sequence

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.events import Event
from tui.run.chart_file import write_chart
from tui.run.metric_chart import lines
from tui.run.metric_labels import ALL, metric
from tui.shell.base import StudioScreen
from tui.state.run_view import RunView
from tui.text.safe_text import safe_line
from tui.widgets.chart import Chart, reading
from tui.widgets.plot import Line


class ChartScreen(StudioScreen):
    """One metric, and those that belong with it, over the steps of a run."""

    TITLE = "chart"
    LOOKS_BACK = True
    CSS = """
    ChartScreen #head { height: 2; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ChartScreen Chart { padding: 0 1; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("n", "next(1)", "next metric", id="chart.next"),
        Binding("N", "next(-1)", "metric before", show=False, id="chart.previous"),
        Binding("w", "write", "write a file", id="chart.write"),
        Binding("escape,c", "app.back", "back", id="chart.back"),
    ]

    def __init__(self, view: RunView, name: str) -> None:
        super().__init__()
        self.view = view
        self.metric = metric(name)
        self._points = 0  # of the metric, when it was last drawn

    def body(self) -> Iterable[Widget]:
        """What the cursor stands on, above the chart."""
        yield Static(id="head", markup=False)
        yield Chart()

    def on_mount(self) -> None:
        """The chart has the keys."""
        self.query_one(Chart).focus()
        self._show_lines()

    def _show_lines(self) -> None:
        percent = self.metric.form == "percent"
        self.query_one(Chart).show(lines(self.view, self.metric), percent=percent)
        self._draw_head()

    def run_changed(self, events: Sequence[Event]) -> None:
        """Draw new points, where they are of this run."""
        points = self.view.points(self.metric.name)
        if self.view is self.studio.view and points != self._points:
            self._points = points
            self._show_lines()

    def guide_topic(self) -> str | None:
        """The metric that is drawn, not the setting of its name."""
        return self.metric.label

    def action_next(self, by: int) -> None:
        """Go through all metrics that have points."""
        names = [name for name in ALL if self.view.series.get(name)]
        bounds = ("_low", "_high")
        others = (each for each in self.view.series if each not in ALL)
        names += [each for each in others if not each.endswith(bounds)]
        if not names:
            self.say("there are no points yet")
            return
        place = names.index(self.metric.name) + by if self.metric.name in names else 0
        self.metric = metric(names[place % len(names)])
        self._show_lines()

    @work
    async def action_write(self) -> None:
        """Write the chart as SVG, or its points as CSV."""
        chart = self.query_one(Chart)
        title = f"{safe_line(self.view.name, 60)} · {self.metric.label}"
        await write_chart(self, chart, title, f"{self.view.name}-{self.metric.name}")

    @on(Chart.Refused)
    def _refused(self, event: Chart.Refused) -> None:
        self.say(event.reason)

    @on(Chart.Read)
    def _draw_head(self) -> None:
        chart = self.query_one(Chart)
        parts: list[Content] = [
            Content.styled(f"{self.metric.label}  ", "$foreground bold"),
            Content.styled(f"{reading(chart)}  ", "$muted"),
        ]
        for index, line in enumerate(chart.lines):
            sample = f"{chart.sample(index)} " if chart.dashed and len(chart.lines) > 1 else ""
            parts.append(
                Content.styled(f"  {sample}{value_at(chart, line)}", f"$series-{index + 1}")
            )
        about = " · ".join(filter(None, (self.metric.meaning, safe_line(self.view.name, 60))))
        if chart.smoothing != "off":
            about = f"{chart.smoothing} smoothing · {about}"
        head = Content("\n").join([Content("").join(parts), Content.styled(about, "$muted")])
        self.query_one("#head", Static).update(head)


def value_at(chart: Chart, line: Line) -> str:
    """`judge q 0.88 (0.86 smoothed)`: the value of a line under the cursor."""
    place = chart.nearest(line)
    if place is None:
        return f"{line.label} –"
    known = next((each for each in ALL.values() if each.label == line.label), metric(line.label))
    text = f"{line.label} {known.show(line.series.values[place])} {known.unit}".rstrip()
    if means := chart.means(line):
        text += f" ({known.show(means[place])} smoothed)"
    return text
