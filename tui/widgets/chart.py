"""A chart with axes, a cursor, zoom and smoothing, all by keyboard."""

import math
from bisect import bisect_left
from collections.abc import Sequence

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.text.format import duration
from tui.widgets import plot
from tui.widgets.plot import Axis, Line, Range

LABELS = 9  # cells left of the plot
SMOOTHING = ("off", "light", "strong")
_REACH = {"light": 40, "strong": 8}  # the visible points are divided by this
LEAST_POINTS = 4  # that a window is zoomed in to


class Chart(Widget, can_focus=True):
    """Lines over steps or time. Follows the newest point until the cursor is moved."""

    DEFAULT_CSS = "Chart { height: 1fr; }"
    BINDINGS = [  # noqa: RUF012
        Binding("left", "cursor(-1)", "cursor", key_display="←→", id="chart.left"),
        Binding("right", "cursor(1)", "cursor to the right", show=False, id="chart.right"),
        Binding("shift+left", "cursor(-10)", "ten to the left", show=False, id="chart.far_left"),
        Binding("shift+right", "cursor(10)", "ten to the right", show=False, id="chart.far_right"),
        Binding("home", "ends(0)", "to the first point", show=False, id="chart.first"),
        Binding("end", "ends(1)", "to the newest point", show=False, id="chart.last"),
        Binding("plus,up", "zoom(0.5)", "zoom", key_display="+-", id="chart.zoom_in"),
        Binding("minus,down", "zoom(2.0)", "zoom out", show=False, id="chart.zoom_out"),
        Binding("z", "whole", "whole", show=False, id="chart.whole"),
        Binding("S", "smooth", "smooth", id="chart.smooth"),
        Binding("x", "axis", "step or time", show=False, id="chart.axis"),
        Binding("X", "scale", "log scale", id="chart.scale"),
    ]

    smoothing: reactive[str] = reactive("off")
    axis: reactive[Axis] = reactive("step")
    log_scale: reactive[bool] = reactive(False)

    class Read(Message):
        """The cursor stands on another point, or what is shown has changed."""

    class Refused(Message):
        """A key could do nothing, for a reason."""

        def __init__(self, reason: str) -> None:
            super().__init__()
            self.reason = reason

    def __init__(self, lines: Sequence[Line] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: Sequence[Line] = lines
        self.percent = False
        self._window: Range | None = None  # None: all of it
        self._cursor: float | None = None  # a place on the x axis; None: the newest
        self._means: dict[tuple[int, int, int], list[float]] = {}

    def show(self, lines: Sequence[Line], *, percent: bool = False) -> None:
        """Draw other lines, over the same stretch where they have points there; over steps where
        not all of their points know their time. With `percent`, they are shares that are read as
        percentages."""
        self.lines, self.percent = lines, percent
        if self.axis == "time" and not plot.has_times(lines):
            self.axis, self._window, self._cursor = "step", None, None
        self.refresh()

    # -- what is shown ---------------------------------------------------------------------------

    @property
    def window(self) -> Range:
        """The stretch of the x axis in sight."""
        return self._window or plot.whole(self.lines, self.axis)

    @property
    def cursor_x(self) -> float:
        """Where the cursor stands on the x axis."""
        everything = plot.whole(self.lines, self.axis)
        return everything.high if self._cursor is None else self._cursor

    @property
    def dashed(self) -> bool:
        """Whether colours do not tell the lines apart."""
        colours = {self.app.theme_variables.get(f"series-{number}") for number in range(1, 7)}
        return self.app.no_color or len(colours) == 1

    def sample(self, number: int) -> str:
        """How a line looks, for a legend."""
        return plot.SAMPLES[number % len(plot.SAMPLES)] if self.dashed else "━━"

    def nearest(self, line: Line) -> int | None:
        """The place of the line's point nearest to the cursor."""
        points = plot.across(line, self.axis)
        if not points:
            return None
        after = min(bisect_left(points, self.cursor_x), len(points) - 1)
        before = max(0, after - 1)
        return min((before, after), key=lambda place: abs(points[place] - self.cursor_x))

    def reach(self) -> int:
        """Points that smoothing reaches back over; 0: none."""
        if self.smoothing == "off" or not self.lines:
            return 0
        start, end = plot.visible(plot.across(self.lines[0], self.axis), self.window)
        return max(2, (end - start) // _REACH[self.smoothing])

    def means(self, line: Line) -> list[float] | None:
        """The running means of a line's values, worked out once for as many points."""
        if not (reach := self.reach()):
            return None
        values = line.series.values
        if self.log_scale:  # the line was made for this drawing
            return plot.smoothed(values, reach)
        key = (id(values), len(values), reach)
        if key not in self._means:
            if len(self._means) > 2 * len(self.lines):
                self._means.clear()
            self._means[key] = plot.smoothed(values, reach)
        return self._means[key]

    def render(self) -> Content:
        """Plot, y axis to the left, x axis below."""
        width, height = self.size.width - LABELS, self.size.height - 2
        if width < 8 or height < 2:
            return Content("no room for a chart")
        if not any(len(line.series) for line in self.lines):
            return Content.styled("no points yet", "$muted")
        window = self.window
        lines = [plot.logged(line) for line in self.lines] if self.log_scale else self.lines
        y = plot.heights(lines, self.axis, window)
        means = [each for line in lines if (each := self.means(line)) is not None]
        canvas = plot.draw(lines, self.axis, window, y, (width, height), means, dashed=self.dashed)
        cursor = window.place(self.cursor_x, width) if self._cursor is not None else -1
        label = _log_labels if self.log_scale else _y_labels
        labels = label(y, height, percent=self.percent)
        rows = [
            Content.assemble((f"{labels.get(row, ''):>{LABELS - 2}} ", "$muted"), ("│", "$faint"))
            + _row(canvas, row, cursor)
            for row in range(height)
        ]
        return Content("\n").join([*rows, *_x_axis(window, width, cursor, self.axis)])

    # -- keys ------------------------------------------------------------------------------------

    def action_cursor(self, by: int) -> None:
        """Move the cursor by points of the first line, and the window with it."""
        if not self.lines or (place := self.nearest(self.lines[0])) is None:
            return
        points = plot.across(self.lines[0], self.axis)
        start, end = plot.visible(points, self.window)
        stride = max(1, (end - start) // max(1, self.size.width - LABELS))
        before, place = place, min(max(0, place + by * stride), len(points) - 1)
        if place == before:
            self._at_end(by > 0)
            return
        self._cursor = None if place == len(points) - 1 else points[place]
        self._keep_in_sight()
        self._changed()

    def action_ends(self, end: int) -> None:
        """To the first or the newest point."""
        before = self.cursor_x
        self._cursor = None if end else plot.whole(self.lines, self.axis).low
        if self.cursor_x == before:
            self._at_end(bool(end))
        self._keep_in_sight()
        self._changed()

    def action_zoom(self, factor: float) -> None:
        """Show a shorter or a longer stretch around the cursor."""
        everything, window = plot.whole(self.lines, self.axis), self.window
        points = plot.across(self.lines[0], self.axis) if self.lines else ()
        start, end = plot.visible(points, window)
        if factor < 1 and end - start <= LEAST_POINTS:
            self.post_message(self.Refused("there are too few points to zoom in further"))
            return
        span = window.span * factor
        if span >= everything.span:
            if self._window is None:
                self.post_message(self.Refused("all points are in sight"))
            self._window = None
        else:
            low = self.cursor_x - (self.cursor_x - window.low) * factor
            low = min(max(low, everything.low), everything.high - span)
            self._window = Range(low, low + span)
        self._changed()

    def action_whole(self) -> None:
        """Show everything, with the cursor on the newest point."""
        if self._window is self._cursor is None:
            self.post_message(self.Refused("all points are in sight"))
        self._window = self._cursor = None
        self._changed()

    def action_smooth(self) -> None:
        """More smoothing, then none again."""
        self.smoothing = SMOOTHING[(SMOOTHING.index(self.smoothing) + 1) % len(SMOOTHING)]
        self._changed()

    def action_axis(self) -> None:
        """Steps or hours along the x axis."""
        if self.axis == "step" and not plot.has_times(self.lines):
            self.post_message(self.Refused("not all points of this run know their time"))
            return
        self.axis = "time" if self.axis == "step" else "step"
        self._window = self._cursor = None
        self._changed()

    def action_scale(self) -> None:
        """Powers of ten along the y axis, or even steps."""
        if not self.log_scale and not any(
            value > 0 for each in self.lines for value in each.series.values
        ):
            self.post_message(self.Refused("a log scale needs values above 0"))
            return
        self.log_scale = not self.log_scale
        self._changed()

    def _at_end(self, newest: bool) -> None:
        which = "newest" if newest else "first"
        self.post_message(self.Refused(f"the cursor is on the {which} point"))

    def _keep_in_sight(self) -> None:
        window = self._window
        if window and not window.low <= self.cursor_x <= window.high:
            low = self.cursor_x - window.span / 2
            everything = plot.whole(self.lines, self.axis)
            low = min(max(low, everything.low), everything.high - window.span)
            self._window = Range(low, low + window.span)

    def _changed(self) -> None:
        self.refresh()
        self.post_message(self.Read())


def _row(canvas: plot.Canvas, row: int, cursor: int) -> Content:
    """A row of the canvas, in stretches of one style."""
    parts: list[tuple[str, str]] = []
    for column in range(canvas.width):
        char, style = canvas.char(row, column), _style(canvas.styles[row][column])
        if column == cursor and char == " ":
            char, style = "│", "$accent"
        if parts and parts[-1][1] == style:
            parts[-1] = (parts[-1][0] + char, style)
        else:
            parts.append((char, style))
    return Content.assemble(*parts)


def _style(style: int) -> str:
    if style == plot.BAND:
        return "$faint"
    return "$bad" if style == plot.MARK else f"$series-{style % 6 + 1}"


def _y_labels(y: Range, height: int, *, percent: bool) -> dict[int, str]:
    """Row -> label; `percent`: the values are shares, to be read as percentages."""
    scale, unit = (100, " %") if percent else (1, "")
    values = plot.ticks(Range(scale * y.low, scale * y.high), max(2, height // 3))
    step = values[1] - values[0] if len(values) > 1 else scale * y.span
    places: dict[str, int] = {}  # two that are cut to the same label would mislead
    for value in values:
        label = f"{plot.tick_label(value, step)}{unit}"[: LABELS - 2]
        places.setdefault(label, height - 1 - y.place(value / scale, height))
    return {row: label for label, row in places.items()}


def _log_labels(y: Range, height: int, *, percent: bool) -> dict[int, str]:
    """Row -> label of the values whose logarithms `y` has."""
    labels: dict[int, str] = {}
    for value in plot.log_ticks(y, max(2, height // 3)):
        text = f"{100 * 10**value:.3g} %" if percent else f"{10**value:.3g}"
        labels.setdefault(height - 1 - y.place(value, height), text[: LABELS - 2])
    return labels


def _x_axis(window: Range, width: int, cursor: int, axis: Axis) -> list[Content]:
    """The axis with its ticks, and the labels under it."""
    values = plot.ticks(window, max(2, width // 14), least=1.0 if axis == "step" else 0.0)
    step = values[1] - values[0] if len(values) > 1 else window.span
    line, labels = ["─"] * width, " " * (width + LABELS)
    for value in values:
        place = window.place(value, width)
        if not 0 <= place < width:
            continue
        line[place] = "┬"
        text = duration(value) if axis == "time" else plot.tick_label(value, step)
        start = min(max(0, place + LABELS - len(text) // 2), width + LABELS - len(text))
        if not labels[max(0, start - 1) : start + len(text) + 1].strip():
            labels = labels[:start] + text + labels[start + len(text) :]
    if 0 <= cursor < width:
        line[cursor] = "┷"
    rule = " " * (LABELS - 1) + "╰" + "".join(line)
    return [Content.styled(rule, "$faint"), Content.styled(labels, "$muted")]


def reading(chart: Chart) -> str:
    """What the cursor stands on: `step 120 · 12 min`, without the values; of the line that has a
    point nearest to it."""
    points = [(line, place) for line in chart.lines if (place := chart.nearest(line)) is not None]
    if not points:
        return ""
    line, place = min(points, key=lambda each: abs(_at(chart, *each) - chart.cursor_x))
    series = line.series
    at = f"step {series.steps[place]:,.0f}"
    return f"{at} · {duration(series.times[place])}" if math.isfinite(series.times[place]) else at


def _at(chart: Chart, line: Line, place: int) -> float:
    return plot.across(line, chart.axis)[place]
