"""Metrics: means that start anew at each report, weighted, and of finite values alone."""

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from engine.data.order import PromptOrder
from engine.data.pairs import JudgedPair, Verdict
from engine.train.metrics import COUNTS, MEANS, RATES, Averages, add_judged
from engine.train.reporting import Reporter
from engine.train.state import TrainingState
from engine.train.update import StepResult
from tests.engine.small_models import pair, settings

pytestmark = pytest.mark.quick


def test_means_are_weighted() -> None:
    means = Averages()
    means.add("loss", 1.0, 3)
    means.add("loss", 5.0, 1)
    assert means.mean("loss") == 2.0
    assert means.total("loss") == 8.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_nowhere(value: float) -> None:
    means = Averages()
    means.add("loss", value, 5)
    assert means.mean("loss") is None
    means.add("loss", 2.0)
    means.add("loss", value)
    assert means.mean("loss") == 2.0


def test_nothing_measured_is_none() -> None:
    line = Averages().report()
    assert set(line) == {*MEANS, *RATES, *COUNTS}
    assert all(line[name] is None for name in (*MEANS, *RATES))
    assert all(line[name] == 0 for name in COUNTS)


def test_state_goes_through_json_bit_for_bit() -> None:
    means = Averages()
    for value in (0.1, 1 / 3, 1e-300, 123456.789):
        means.add("loss", value, 0.7)
        means.add("kl", -value)
    again = Averages(json.loads(json.dumps(means.state())))
    for each in (means, again):
        each.add("loss", 0.3)
    assert again.report() == means.report()


def test_rates_are_of_all_the_time() -> None:
    means = Averages()
    for seconds, pairs in ((1.0, 4), (3.0, 4)):
        means.add("step_seconds", seconds)
        means.add("pairs", 1, pairs)
    means.add("sample_seconds", 2.0)
    means.add("sampled_tokens", 300)
    line = means.report()
    assert line["pairs_per_second"] == 2.0
    assert line["sampled_tokens_per_second"] == 150.0
    assert line["step_seconds"] == 2.0  # a step, not the sum


def test_what_a_batch_says() -> None:
    first = pair(0, first="abc", second="de")  # 4 tokens with its end, and 2 cut off
    second = pair(1, first="f", second="ghij")  # 2 with its end, and 4 cut off
    means = Averages()
    add_judged(
        means,
        [
            JudgedPair(first, Verdict("first", 0.9, (0.95, 0.85))),
            JudgedPair(first, Verdict("second", 0.2, (0.3, 0.1))),
            JudgedPair(second, Verdict("tie", 0.5, (0.8, 0.2))),
            JudgedPair(second, Verdict("tie", 0.5, (0.2, 0.8))),
            JudgedPair(second, Verdict("both_bad")),
            JudgedPair(second, Verdict("skip")),
            JudgedPair(second, Verdict("invalid")),
            JudgedPair(second, Verdict("identical")),
            JudgedPair(second, Verdict("empty")),
            JudgedPair(second, Verdict("second")),
        ],
    )
    line = means.report()
    assert line["completion_tokens"] == 3.0
    assert line["eos_rate"] == 0.5
    assert line["tie_rate"] == pytest.approx(0.3)
    assert line["invalid_rate"] == pytest.approx(0.1)
    assert line["identical_rate"] == pytest.approx(0.2)
    assert line["length_gap"] == pytest.approx(
        (2 - 2 + 2) / 3
    )  # chosen less rejected, decided ones
    assert line["judge_q"] == pytest.approx((0.9 + 0.8) / 2)  # of its winner
    assert line["swap_consistency"] == 0.5
    # Shown first and preferred: both orders of the first tie and neither of the second; one of
    # each decided pair's two.
    assert line["first_position_rate"] == pytest.approx((1 + 1 + 2 + 0) / 8)


def test_a_judge_that_finds_no_winner_favours_no_place() -> None:
    means = Averages()
    add_judged(means, [JudgedPair(pair(), Verdict("tie", 0.5, (0.5, 0.5)))])
    assert means.mean("first_position_rate") == 0.5


def test_the_loss_of_a_report_is_the_mean_over_all_pairs() -> None:
    journal: Any = SimpleNamespace(emit=lambda event: None)
    state = TrainingState(PromptOrder(2, 0))
    reporter = Reporter(state=state, total_steps=2, journal=journal, settings=settings())
    seconds = {"learning_rate": 1e-3, "update_seconds": 1.0, "step_seconds": 1.0}
    for own, earlier, loss, margin in ((1, 1, 1.0, 1.0), (1, 3, 2.0, 4.0), (0, 2, 3.0, 1.0)):
        result = StepResult(own, {"loss": loss, "margin": margin}, offline=earlier)
        reporter.add_step([], result, **seconds)
    assert state.averages.mean("loss") == pytest.approx((2 * 1 + 4 * 2 + 2 * 3) / 8)
    assert state.averages.mean("margin") == pytest.approx((1 + 4 + 2 * 1) / 4)


def test_rates_stay_rates_over_many_batches() -> None:
    means = Averages()
    for _ in range(50):
        add_judged(means, [JudgedPair(pair(), Verdict("first", 0.9, (0.9, 0.9)))] * 3)
        means.add("accuracy", 1.0, 3)
    line = means.report()
    for name in ("accuracy", "swap_consistency", "eos_rate", "first_position_rate", "judge_q"):
        value = line[name]
        assert value is not None
        assert 0 <= value <= 1
