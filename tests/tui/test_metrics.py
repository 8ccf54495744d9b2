"""How values of metrics are written."""

import pytest

from tui.run.metric_labels import metric

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("win_rate", 0.8375, "83.8"),
        ("win_rate", None, "–"),
        ("accuracy", 0.5, "0.50"),
        ("completion_tokens", 184.4, "184"),
        ("peak_memory_gb", 3.14, "3.1"),
    ],
)
def test_a_value_is_shown_in_its_metrics_form(name: str, value: float | None, shown: str) -> None:
    assert metric(name).show(value) == shown


def test_an_unknown_metric_is_shown_under_its_name() -> None:
    assert metric("new_thing").label == "new thing"
