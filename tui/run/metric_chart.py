"""The chart of the metric under the cursor, beside the cards; it takes no keys."""

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.run.metric_labels import Metric, metric
from tui.state.run_view import RunView
from tui.state.series import Series
from tui.widgets.chart import Chart
from tui.widgets.plot import Line
from tui.widgets.section_title import SectionTitle


class MetricChart(Vertical):
    """A metric of a run, and those that belong with it, under its name and meaning."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = SectionTitle()
        self._chart = Chart()
        self._chart.can_focus = False
        self._key: tuple[object, ...] = ()  # what was drawn

    def compose(self) -> ComposeResult:
        """The title and the chart."""
        yield self._title
        yield self._chart

    def show(self, view: RunView | None, metric: Metric) -> None:
        """Draw a metric of a view; the same points again cost nothing."""
        key = (id(view), metric, view.points(metric.name) if view else 0)
        if key == self._key or not self.display:
            return
        self._key = key
        self._title.show(metric.label, metric.meaning)
        self._chart.show(lines(view, metric) if view else (), percent=metric.form == "percent")


def lines(view: RunView, main: Metric) -> list[Line]:
    """The line of a metric, and of those that its chart shows beside it."""
    series = view.series
    bounds = series.get(f"{main.name}_low"), series.get(f"{main.name}_high")
    band = (bounds[0], bounds[1]) if bounds[0] and bounds[1] else None
    result = [Line(main.label, series.get(main.name, Series()), band)]
    result += [Line(metric(name).label, series[name]) for name in main.also if series.get(name)]
    return result
