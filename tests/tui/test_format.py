"""Numbers, times and metrics as they are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.run.metric_labels import ALL, metric
from tui.text.format import age, count, duration, number

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.4117, "0.412"),
        (1.376, "1.38"),
        (-31.24, "-31.2"),
        (412.6, "413"),
        (12_345.6, "12,346"),
        (1e-5, "1.0e-05"),
        (3e9, "3.0e+09"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (7.34, "7.3 s"),
        (75, "75 s"),
        (100, "2 min"),
        (59 * 60, "59 min"),
        (3 * 3600 + 61, "3 h 01 min"),
        (52 * 3600, "2 d 4 h"),
        (-1, "–"),
        (math.inf, "–"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@given(st.floats())
def test_every_number_is_short(value: float) -> None:
    assert len(number(value)) <= 11
    assert count(value)
    assert duration(value)
    assert all(each.show(value) for each in ALL.values())


@pytest.mark.parametrize(("seconds", "shown"), [(3, "now"), (130, "2 min"), (90_000, "1 d")])
def test_ages(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_metrics_that_nobody_has_heard_of_have_a_name() -> None:
    assert metric("my_own_metric").label == "my own metric"
    assert metric("loss").show(None) == "–"
