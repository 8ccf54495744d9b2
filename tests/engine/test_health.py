"""The health of a run: what is found in which metrics, when it is news, and what is remembered."""

import json
import math
import random

import pytest

from engine.train.watch.findings import CHECKS, ENOUGH_PAIRS, findings_of, nothing_learned, sentence
from engine.train.watch.health import RECENT, Health

pytestmark = pytest.mark.quick


def health_of(metric: str, values: list[float]) -> Health:
    health = Health()
    for value in values:
        health.add({metric: value})
    return health


def ramp(start: float, end: float, count: int = 60) -> list[float]:
    return [start + (end - start) * n / (count - 1) for n in range(count)]


def texts(health: Health) -> list[str]:
    return [finding.text for finding in findings_of(health)]


def test_a_calm_run_is_steady() -> None:
    chance, health = random.Random(1), Health()
    for step in range(90):
        health.verdicts.update(["first", "second", "tie"])
        health.add(
            {
                "kl": 3 * step / 90 + abs(chance.gauss(0, 0.1)),
                "completion_tokens": chance.gauss(150, 5),
                "chosen_logp": chance.gauss(-90, 1),
                "swap_consistency": 0.93,
                "first_position_rate": 0.5,
                "judge_q": 0.85,
                "eos_rate": 0.97,
                "tie_rate": 0.1,
                "trained_pairs": 2,
                "dropped_steps": 0,
            }
        )
    assert findings_of(health) == ()


def test_nothing_is_said_of_a_run_without_steps() -> None:
    assert findings_of(Health()) == ()


FOUND = [
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
    ("dropped_steps", [0.0] * 10 + [1.0] * 4, "4 steps dropped"),
]


@pytest.mark.parametrize(("metric", "values", "words"), FOUND)
def test_what_is_found(metric: str, values: list[float], words: str) -> None:
    found = findings_of(health_of(metric, values))
    assert [words in each.text for each in found] == [True]
    assert found[0].means
    assert found[0].advice
    assert found[0].metric in (metric, "grad_norm")
    assert words in sentence(found[0])


@pytest.mark.parametrize(("metric", "values", "words"), FOUND)
def test_a_restart_in_between_changes_nothing(metric: str, values: list[float], words: str) -> None:
    half = len(values) // 2
    begun = health_of(metric, values[:half])
    begun.verdicts.update(["tie"])
    gone_on = Health(json.loads(json.dumps(begun.state())))
    assert gone_on.verdicts == begun.verdicts
    for value in values[half:]:
        gone_on.add({metric: value})
    assert findings_of(gone_on) == findings_of(health_of(metric, values))


def test_a_judge_at_a_loss_is_not_blamed_when_the_policy_has_won() -> None:
    health = health_of("swap_consistency", [0.3] * 20)
    health.add({"win_rate": 0.97})
    assert ["hardly tells answers apart" in text for text in texts(health)] == [True]


def test_the_advice_on_ties_holds_where_the_margin_is_0() -> None:
    (finding,) = findings_of(health_of("tie_rate", [0.6] * 20))
    assert "orders disagree" in finding.means
    assert "when answers are swapped" in finding.advice
    assert "lower judge_margin if it is above 0" in finding.advice


@pytest.mark.parametrize("metric", ["swap_consistency", "tie_rate", "judge_q", "eos_rate"])
def test_a_few_steps_are_no_trend(metric: str) -> None:
    assert texts(health_of(metric, [0.45] * 5)) == []


def test_the_worst_comes_first() -> None:
    health = health_of("tie_rate", [0.5] * 20)
    for _ in range(20):
        health.add({"swap_consistency": 0.1})
    assert [each.level for each in findings_of(health)] == ["bad", "warning"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308])
def test_no_value_breaks_a_check(value: float) -> None:
    for metric in (
        "kl",
        "chosen_logp",
        "completion_tokens",
        "tie_rate",
        "judge_q",
        "win_rate",
        "eval_win_rate",
    ):
        findings_of(health_of(metric, [value] * 50))
    assert len(CHECKS) == 15


@pytest.mark.parametrize(
    ("choice", "words", "advice"),
    [
        ("tie", "tied", "rubric"),
        ("both_bad", "judged both bad", "winner"),
        ("skip", "skipped", "winner"),
        ("identical", "with two equal answers", "temperature"),
        ("empty", "with two empty answers", "prompts"),
        ("invalid", "without a valid verdict", "follows instructions"),
        ("first", "in steps that were dropped", "learning_rate"),
    ],
)
def test_that_nothing_was_learned_is_said_with_the_reason(
    choice: str, words: str, advice: str
) -> None:
    health = Health()
    health.verdicts.update([choice] * (ENOUGH_PAIRS - 1))
    assert findings_of(health) == ()  # a few say nothing yet
    health.verdicts.update([choice])
    (found,) = findings_of(health)
    assert found.level == "bad"
    assert found.text == f"none of 16 pairs could be learned from: 16 {words}" + (
        ", not finite" if choice == "first" else ""
    )
    assert advice in found.advice
    health.add({"trained_pairs": 1})
    assert findings_of(health) == ()
    assert nothing_learned(health) is None


def test_the_commonest_reason_comes_first_and_gives_the_advice() -> None:
    health = Health()
    health.verdicts.update(["tie"] * 3 + ["invalid"] * 9)
    found = nothing_learned(health)
    assert found
    assert found.text.endswith(": 9 without a valid verdict, 3 tied")
    assert "follows instructions" in found.advice


def test_what_holds_is_news_once_and_again_when_worse_or_back() -> None:
    health = Health()

    def news(step: int, agreement: float) -> list[str]:
        health.add({"swap_consistency": agreement})
        return [each.level for each in health.news(step, findings_of(health))]

    told = {step: said for step in range(1, 61) if (said := news(step, 0.5))}
    assert told == {8: ["warning"]}
    told = {step: said for step in range(61, 121) if (said := news(step, 0.1))}
    assert list(told.values()) == [["bad"]]
    # Around the threshold a finding comes and goes, and is not said each time.
    told = {step: said for step in range(121, 181) if (said := news(step, 0.6 + step % 2 * 0.01))}
    assert told == {}
    for step in range(181, 181 + 2 * RECENT):
        assert news(step, 1.0) == []
    again = range(181 + 2 * RECENT, 181 + 4 * RECENT)
    assert list(filter(None, (news(step, 0.5) for step in again))) == [["warning"]]
