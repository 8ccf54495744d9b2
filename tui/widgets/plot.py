"""A chart as text: braille dots over a grid of cells, axes with round numbers, smoothing.

Pure functions over series. The cost of a drawing depends on its width, not on the number of
points, apart from looking once at each visible value; 100,000 points are drawn in well under a
tenth of a second.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tui.state.series import Series

Axis = Literal["step", "time"]
DOTS_ACROSS, DOTS_DOWN = 2, 4  # of a cell
# The bit of each dot of a braille character, by column and row.
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
FLAT = 1e-3  # a span below this share of the values is none: its labels would all be the same
BAND, MARK = -1, -2  # styles that are not a line's
# Where colours do not tell lines apart: the dots of each line that are drawn, over and over, and
# how that looks in a legend.
DASHES = ("############", "########....", "##....##....", "####..#..#..", "#...#...#...")
SAMPLES = ("━━━━", "━━━ ", "━ ━ ", "━━ ╸", "╸ ╸ ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. `band` are the series of a lower and an upper bound, if known."""

    label: str
    series: Series
    band: tuple[Series, Series] | None = None


@dataclass(slots=True)
class Canvas:
    """A grid of braille cells. Each cell has one style: that of what was drawn into it last."""

    width: int  # cells
    height: int
    dashed: bool = False  # whether lines are told apart by dashes
    bits: list[bytearray] = field(init=False)
    styles: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.bits = [bytearray(self.width) for _ in range(self.height)]
        self.styles = [[BAND] * self.width for _ in range(self.height)]

    def dot(self, x: int, y: int, style: int) -> None:
        """Set a dot; x to the right, y down, in dots. What lies outside is left out."""
        if self.dashed and style > 0:
            pattern = DASHES[style % len(DASHES)]
            if pattern[x % len(pattern)] == ".":
                return
        column, row = x // DOTS_ACROSS, y // DOTS_DOWN
        if 0 <= column < self.width and 0 <= row < self.height:
            if style != BAND and self.styles[row][column] == BAND:
                self.bits[row][column] = 0  # a line is not thickened by what lies behind it
            self.bits[row][column] |= _BITS[x % DOTS_ACROSS][y % DOTS_DOWN]
            self.styles[row][column] = style

    def upright(self, x: int, top: int, bottom: int, style: int) -> None:
        """A vertical stroke, both ends included."""
        lowest = self.height * DOTS_DOWN - 1
        for y in range(max(0, min(top, bottom)), min(lowest, max(top, bottom)) + 1):
            self.dot(x, y, style)

    def stroke(self, x0: int, y0: int, x1: int, y1: int, style: int) -> None:
        """A line between two dots, a stroke a column."""
        if x1 <= x0:
            self.upright(x0, y0, y1, style)
            return
        before = y0
        for x in range(x0, x1 + 1):
            y = y0 + round((y1 - y0) * (x - x0) / (x1 - x0))
            self.upright(
                x, y if abs(y - before) <= 1 else before + (1 if y > before else -1), y, style
            )
            before = y

    def char(self, row: int, column: int) -> str:
        """The character of a cell."""
        bits = self.bits[row][column]
        return chr(0x2800 + bits) if bits else " "


@dataclass(frozen=True, slots=True)
class Range:
    """What an axis shows, from `low` to `high`."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """Its length, never 0."""
        return (self.high - self.low) or 1.0

    def place(self, value: float, dots: int) -> int:
        """The dot of a value among `dots` along the axis."""
        share = (value - self.low) / self.span
        return round(min(2.0, max(-1.0, share)) * (dots - 1))


def across(line: Line, axis: Axis) -> Sequence[float]:
    """Where a line's points stand on the x axis."""
    return line.series.times if axis == "time" else line.series.steps


def whole(lines: Sequence[Line], axis: Axis) -> Range:
    """The x range that holds all points."""
    known = [
        points for line in lines if (points := across(line, axis)) and math.isfinite(points[-1])
    ]
    if not known:
        return Range(0.0, 1.0)
    low = min(next((x for x in points if math.isfinite(x)), 0.0) for points in known)
    high = max(points[-1] for points in known)
    return Range(low, high if high > low else low + 1)


def has_times(lines: Sequence[Line]) -> bool:
    """Whether all points know their time, so that a time axis can be drawn."""
    return all(math.isfinite(sum(line.series.times)) for line in lines)


def visible(points: Sequence[float], window: Range) -> tuple[int, int]:
    """The places of the first point in a window and of the first after it."""
    return bisect_left(points, window.low), bisect_right(points, window.high)


def heights(lines: Sequence[Line], axis: Axis, window: Range) -> Range:
    """The y range of the visible finite values, with a little room around them."""
    low, high = math.inf, -math.inf
    for line in lines:
        start, end = visible(across(line, axis), window)
        for series in (line.series, *(line.band or ())):
            finite = list(filter(math.isfinite, series.values[start:end]))
            if finite:
                low, high = min(low, min(finite)), max(high, max(finite))
    if low > high:
        return Range(0.0, 1.0)
    low, high = max(low, -1e300), min(high, 1e300)
    room = (high - low) * 0.05
    if high - low <= FLAT * max(abs(low), abs(high)):
        room = abs(high) * 0.1 or 1.0
    return Range(low - room, high + room)


def draw(
    lines: Sequence[Line],
    axis: Axis,
    window: Range,
    y: Range,
    size: tuple[int, int],
    means: Sequence[Sequence[float]] | None = None,
    *,
    dashed: bool = False,
) -> Canvas:
    """The lines on a canvas of `size` cells (width, height).

    With `means`, the running means of each line's values, those are the lines, and the values
    themselves lie faint behind them. `dashed` lines are told apart without colours.
    """
    canvas = Canvas(*size, dashed)
    for line in lines:
        if line.band:
            _draw_band(canvas, line, line.band, axis, window, y)
        if means:
            _draw_line(canvas, across(line, axis), line.series.values, window, y, BAND)
    for index, line in enumerate(lines):
        values = means[index] if means else line.series.values
        _draw_line(canvas, across(line, axis), values, window, y, index)
    return canvas


def _columns(points: Sequence[float], window: Range, dots: int) -> list[tuple[int, int, int]]:
    """(dot column, first point, point after the last) for each column that has points."""
    start, end = visible(points, window)
    if end - start <= dots:
        places = [window.place(points[index], dots) for index in range(start, end)]
        return [(x, start + offset, start + offset + 1) for offset, x in enumerate(places)]
    edges = [window.low + window.span * (x - 0.5) / (dots - 1) for x in range(dots + 1)]
    cuts = [bisect_left(points, edge, start, end) for edge in edges]
    cuts[0], cuts[-1] = start, end
    return [(x, cuts[x], cuts[x + 1]) for x in range(dots) if cuts[x] < cuts[x + 1]]


def _draw_line(
    canvas: Canvas,
    points: Sequence[float],
    values: Sequence[float],
    window: Range,
    y: Range,
    style: int,
) -> None:
    across_dots, down_dots = canvas.width * DOTS_ACROSS, canvas.height * DOTS_DOWN
    before: tuple[int, int] | None = None
    for x, start, end in _columns(points, window, across_dots):
        finite = list(filter(math.isfinite, values[start:end]))
        if len(finite) < end - start:
            canvas.dot(x, 0, MARK)  # something here was not finite
        if not finite:
            before = None
            continue
        top = down_dots - 1 - y.place(max(finite), down_dots)
        bottom = down_dots - 1 - y.place(min(finite), down_dots)
        if before:
            near = min(max(before[1], top), bottom)
            canvas.stroke(before[0], before[1], x, near, style)
        canvas.upright(x, top, bottom, style)
        before = (x, bottom if finite[-1] < (min(finite) + max(finite)) / 2 else top)


def _draw_band(
    canvas: Canvas,
    line: Line,
    band: tuple[Series, Series],
    axis: Axis,
    window: Range,
    y: Range,
) -> None:
    """A stroke from the lower to the upper bound at each point, as for an interval."""
    down = canvas.height * DOTS_DOWN
    points = across(line, axis)
    for index in range(*visible(points, window)):
        low, high = (series.values[index] for series in band if index < len(series))
        if math.isfinite(low) and math.isfinite(high):
            x = window.place(points[index], canvas.width * DOTS_ACROSS)
            canvas.upright(x, down - 1 - y.place(high, down), down - 1 - y.place(low, down), BAND)


def logged(line: Line) -> Line:
    """The line with the decimal logarithms of its values, less those that are not above 0."""
    band = (_logged(line.band[0]), _logged(line.band[1])) if line.band else None
    return Line(line.label, _logged(line.series), band)


def _logged(series: Series) -> Series:
    result = Series()
    for step, value, at in zip(series.steps, series.values, series.times, strict=True):
        if value > 0 and math.isfinite(value):
            result.add(step, math.log10(value), at)
    return result


def log_ticks(range_: Range, most: int) -> list[float]:
    """Logarithms of round numbers within a range of logarithms: of powers of ten, and of twice and
    five times them where there is room."""
    exponents = range(math.floor(range_.low), math.ceil(range_.high) + 1)
    for factors in ((1, 2, 5), (1,)):
        values = [each + math.log10(factor) for each in exponents for factor in factors]
        values = [each for each in values if range_.low <= each <= range_.high]
        if len(values) <= most:
            return values or [range_.low, range_.high]
    return values[:: -(-len(values) // max(1, most))]


def smoothed(values: Sequence[float], reach: int) -> list[float]:
    """The exponential running mean over about `reach` points, unbiased at the start.

    A value that is not finite leaves the mean as it was.
    """
    keep = 1 - 1 / max(1.0, reach)
    total = weight = 0.0
    means: list[float] = []
    for value in values:
        if math.isfinite(value):
            total = keep * total + value
            weight = keep * weight + 1
        means.append(total / weight if weight else math.nan)
    return means


def ticks(range_: Range, most: int, least: float = 0.0) -> list[float]:
    """Round numbers within a range, at most `most`, in steps of 1, 2 or 5 times a power of ten, and
    of at least `least`."""
    if most < 1:
        return []
    rough = max(range_.span / most, least)
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next(power * by for by in (1, 2, 5, 10, 20) if power * by >= rough * (1 - 1e-9))
    first = math.ceil(range_.low / step - 1e-9)
    count = math.floor(range_.high / step + 1e-9) - first + 1
    return [(first + index) * step for index in range(min(max(0, count), most + 1))]


def tick_label(value: float, step: float) -> str:
    """A tick with as many decimals as its step has."""
    if abs(value) < step / 1e6:
        value = 0.0
    size = max(abs(value), step)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}"
