"""Sparklines and plots survive every series: none, one point, NaN, infinity, 100,000 points."""

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.run.metric_labels import ALL, metric
from tui.state.series import Series
from tui.widgets import plot
from tui.widgets.chart import _x_axis, _y_labels
from tui.widgets.plot import Line, Range
from tui.widgets.sparkline import NOT_FINITE, sparkline

pytestmark = pytest.mark.quick


ANY_FLOATS = st.lists(st.floats(), max_size=60)


def series(values: list[float]) -> Series:
    made = Series()
    for step, value in enumerate(values, 1):
        made.add(step, value, step * 2.0)
    return made


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([3.0], "▄"),
        ([5.0, 5.0, 5.0], "▄▄▄"),
        ([0.0, 7.0], "▁█"),
        ([0.0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([0.0, math.nan, 7.0], f"▁{NOT_FINITE}█"),
        ([math.inf, -math.inf], NOT_FINITE * 2),
        ([-1e308, 1e308], "▁█"),
    ],
)
def test_sparklines(values: list[float], shown: str) -> None:
    assert sparkline(values, 20) == [shown]


def test_a_constant_is_flat_however_its_means_are_rounded() -> None:
    assert set(sparkline(array("d", [1e-5] * 1000), 30)[0]) == {"▄"}


def test_a_change_below_the_least_span_is_not_blown_up() -> None:
    assert sparkline([0.5, 0.5 + 1e-7], 9, least=0.01) == ["▄▄"]
    assert sparkline([0.0, 0.005], 9, least=0.01) != ["▄▄"]
    assert sparkline([0.0, 0.005], 9, least=0.01) != ["▁█"]
    assert sparkline([0.0, 7.0], 9, least=0.01) == ["▁█"]
    assert {each.least_span >= 0 for each in ALL.values()} == {True}
    assert metric("loss").least_span > 0


def axis_labels(values: list[float], *, percent: bool = False) -> tuple[list[str], list[str]]:
    """The labels of the y axis and of the x axis of a chart."""
    line = Line("loss", series(values))
    y = plot.heights([line], "step", plot.whole([line], "step"))
    rows = _y_labels(y, 20, percent=percent)
    _, under = _x_axis(plot.whole([line], "step"), 100, -1, "step")
    return [rows[row] for row in sorted(rows, reverse=True)], under.plain.split()


@pytest.mark.parametrize("value", [0.0, 0.6931, 0.97, 1e-5, -95.0, 1250.0])
@pytest.mark.parametrize("noise", [0.0, 1e-12, 3e-6, 2e-4, 2e-3])
def test_the_labels_of_a_flat_series_differ(value: float, noise: float) -> None:
    labels, _ = axis_labels([value, value * (1 + noise), value])
    assert len(labels) == len(set(labels))


def test_steps_are_whole_and_a_win_rate_is_in_percent() -> None:
    labels, steps = axis_labels([0.2, 0.65], percent=True)
    assert labels == ["20 %", "30 %", "40 %", "50 %", "60 %"]
    assert steps == ["1", "2"]
    assert axis_labels([0.5, 0.4, 0.3])[1] == ["1", "2", "3"]


def test_two_rows_have_twice_the_steps() -> None:
    top, bottom = sparkline([0.0, 8.0, 15.0], 3, height=2)
    assert (top, bottom) == (" ▁█", "▁██")


@given(ANY_FLOATS, st.integers(0, 30), st.integers(1, 3))
def test_any_values_fit(values: list[float], width: int, height: int) -> None:
    rows = sparkline(values, width, height)
    assert len(rows) == height
    assert {len(row) for row in rows} == {min(width, len(values))}


def test_many_points_are_looked_at_in_samples() -> None:
    class Counted(list[float]):
        looked = 0

        def __getitem__(self, place):  # type: ignore[no-untyped-def]
            found = super().__getitem__(place)
            Counted.looked += len(found) if isinstance(found, list) else 1
            return found

    sparkline(Counted([0.0] * 100_000), 40)
    assert Counted.looked < 40 * 20


# -- plots ---------------------------------------------------------------------------------------


def drawn(values: list[float], width: int = 20, height: int = 5, reach: int = 0) -> list[str]:
    lines = [Line("x", series(values))]
    window = plot.whole(lines, "step")
    y = plot.heights(lines, "step", window)
    means = [plot.smoothed(lines[0].series.values, reach)] if reach else None
    canvas = plot.draw(lines, "step", window, y, (width, height), means)
    return ["".join(canvas.char(row, column) for column in range(width)) for row in range(height)]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    rows = drawn([float(n) for n in range(100)])
    assert rows[-1].strip()
    assert not rows[-1].endswith(rows[-1].strip())
    assert rows[0].endswith(rows[0].strip())
    assert all(row.strip() for row in rows)


@given(ANY_FLOATS, st.integers(0, 5))
def test_any_series_is_drawn(values: list[float], reach: int) -> None:
    assert len(drawn(values, reach=reach)) == 5


def test_not_finite_values_are_marked_and_break_the_line() -> None:
    lines = [Line("x", series([1.0, math.nan, 1.0]))]
    canvas = plot.draw(lines, "step", Range(1, 3), Range(0, 2), (20, 5))
    assert plot.MARK in canvas.styles[0]
    middle = [canvas.bits[row][10] for row in range(1, 5)]
    assert not any(middle)


def test_every_extreme_of_many_points_is_seen() -> None:
    values = [0.0] * 100_000
    values[54_321] = 1.0
    rows = drawn(values, width=60, height=10)
    assert rows[0].strip() or rows[1].strip()


def test_smoothing_is_an_unbiased_running_mean() -> None:
    assert plot.smoothed([2.0, 2.0, 2.0], 10) == pytest.approx([2.0, 2.0, 2.0])
    noisy = [random.Random(n).gauss(1, 1) for n in range(500)]
    tail = plot.smoothed(noisy, 50)[200:]
    assert max(tail) - min(tail) < (max(noisy) - min(noisy)) / 3
    assert plot.smoothed([math.nan, 1.0, math.inf, 3.0], 1)[1:] == [1.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0.31, 0.74, 5, [0.4, 0.5, 0.6, 0.7]),
        (-1, 1, 4, [-1, -0.5, 0, 0.5, 1]),
        (0, 1e-5, 2, [0, 5e-6, 1e-5]),
    ],
)
def test_ticks_are_round(low: float, high: float, most: int, expected: list[float]) -> None:
    assert plot.ticks(Range(low, high), most) == pytest.approx(expected)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(1e-9, 1e9), st.integers(1, 12))
def test_ticks_stay_inside_and_are_few(low: float, span: float, most: int) -> None:
    if abs(low) > 1e9:
        return
    range_ = Range(low, low + span)
    found = plot.ticks(range_, most)
    assert len(found) <= most + 1
    rounding = span * 1e-6 + abs(low) * 1e-15
    assert all(low - rounding <= tick <= low + span + rounding for tick in found)


def test_labels_have_the_decimals_of_their_step() -> None:
    assert [plot.tick_label(value, 0.05) for value in (0.25, 0.5)] == ["0.25", "0.50"]
    assert plot.tick_label(1250.0, 50) == "1,250"
    assert plot.tick_label(1e-5, 5e-6) == "1e-05"
    assert plot.tick_label(-1e-18, 0.1) == "0.0"


def test_dashed_lines_are_told_apart_without_colours() -> None:
    level = series([1.0] * 40)
    lines = [Line(str(number), level) for number in range(len(plot.DASHES))]
    drawn = {
        number: plot.draw([*[Line("none", Series())] * number, lines[number]], "step",
                          Range(1, 40), Range(0, 2), (30, 3), dashed=True)
        for number in range(len(lines))
    }  # fmt: skip
    pictures = ["".join(canvas.char(1, x) for x in range(30)) for canvas in drawn.values()]
    assert len(set(pictures)) == len(pictures)
    assert " " not in pictures[0]
    plain = plot.draw([Line("none", Series()), lines[1]], "step", Range(1, 40),
                      Range(0, 2), (30, 3))  # fmt: skip
    assert "".join(plain.char(1, x) for x in range(30)) == pictures[0]
    assert len(set(plot.SAMPLES)) == len(plot.DASHES)
