"""The health line: what is found in which metrics, and that a calm run is steady."""

import math

import pytest

from engine.events import StepDone
from tests.tui.live import START, a_run, evaluated, steps
from tui.health import CHECKS, findings
from tui.run_view import RunView


def view_of(metric: str, values: list[float]) -> RunView:
    view = RunView()
    view.fold(steps(metric, values))
    return view


def ramp(start: float, end: float, count: int = 60) -> list[float]:
    return [start + (end - start) * n / (count - 1) for n in range(count)]


def test_a_calm_run_is_steady() -> None:
    view = RunView()
    view.fold(a_run(steps=90))
    assert findings(view) == []


def test_nothing_is_said_of_a_run_without_points() -> None:
    assert findings(RunView()) == []


@pytest.mark.parametrize(
    ("metric", "values", "words"),
    [
        ("kl", ramp(0, 60), "kl is"),
        ("chosen_logp", ramp(-90, -160), "less likely"),
        ("completion_tokens", ramp(100, 300), "longer"),
        ("completion_tokens", ramp(300, 40), "shorter"),
        ("eos_rate", [0.2] * 20, "end by themselves"),
        ("swap_consistency", [0.3] * 20, "contradicts itself"),
        ("first_position_rate", [0.9] * 20, "favours the first place"),
        ("first_position_rate", [0.1] * 20, "favours the second place"),
        ("judge_q", [0.55] * 20, "hardly sure"),
        ("tie_rate", [0.5] * 20, "ties"),
        ("identical_rate", [0.5] * 20, "equal or empty"),
        ("invalid_rate", [0.5] * 20, "no valid verdict"),
        ("dropped_steps", [0.0] * 10 + [1.0], "1 step dropped"),
        ("loss", [0.5] * 10 + [math.nan] * 4, "4 steps dropped"),
    ],
)
def test_what_is_found(metric: str, values: list[float], words: str) -> None:
    found = findings(view_of(metric, values))
    assert [words in each.text for each in found] == [True]
    assert found[0].means
    assert found[0].advice
    assert found[0].metric in (metric, "grad_norm")


def test_a_judge_at_a_loss_is_not_blamed_when_the_policy_has_won() -> None:
    view = view_of("swap_consistency", [0.3] * 20)
    view.fold([evaluated(20, 0.97, START)])
    assert ["hardly tells answers apart" in each.text for each in findings(view)] == [True]


@pytest.mark.parametrize("metric", ["swap_consistency", "tie_rate", "judge_q", "eos_rate"])
def test_a_few_points_are_no_trend(metric: str) -> None:
    assert findings(view_of(metric, [0.45] * 5)) == []


def test_the_worst_comes_first() -> None:
    view = view_of("tie_rate", [0.5] * 20)
    view.fold(
        [
            StepDone(step=21 + n, total_steps=60, metrics={"swap_consistency": 0.1})
            for n in range(20)
        ]
    )
    assert [each.level for each in findings(view)] == ["bad", "warning"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308])
def test_no_value_breaks_a_check(value: float) -> None:
    for metric in ("kl", "loss", "chosen_logp", "completion_tokens", "tie_rate", "judge_q"):
        findings(view_of(metric, [value] * 50))
    assert len(CHECKS) == 11
