"""A price on length: what the judge prefers, and what is trained on."""

import math
from dataclasses import replace
from typing import Any

import pytest

from engine.data.pairs import JudgedPair, Verdict
from engine.judges.contest import CONTRARY
from engine.train.length import with_length_penalty
from engine.train.metrics import Averages, add_judged
from tests.engine.small_models import pair, settings

pytestmark = pytest.mark.quick

LONG, SHORT = "x" * 149, "y" * 49  # with the end of turn 150 and 50 tokens


def judged(choice: Any, q: float | None, orders: tuple[float, float] | None = None) -> JudgedPair:
    each = pair(first=LONG, second=SHORT, first_finished=True, second_finished=True)
    return JudgedPair(each, Verdict(choice, q, orders))


def against_the_others() -> JudgedPair:
    each = judged("tie", 0.8)
    return replace(each, verdict=replace(each.verdict, note=CONTRARY))


@pytest.mark.parametrize("penalty", [0.5, 1.0, 3.0])
def test_the_preference_falls_by_the_penalty_for_each_100_tokens(penalty: float) -> None:
    before = judged("first", 0.8, (0.9, 0.7))
    after = with_length_penalty(before, settings(length_penalty=penalty))
    logit = math.log(0.8 / 0.2) - penalty * (150 - 50) / 100
    assert after.verdict.q == pytest.approx(1 / (1 + math.exp(-logit)))
    assert after.verdict.choice == ("first" if logit > 0 else "second")
    assert after.confidence == pytest.approx(max(after.verdict.q or 0, 1 - (after.verdict.q or 0)))
    assert before.verdict.q == 0.8  # what is stored


def test_the_other_way_round_is_the_mirror() -> None:
    chosen = settings(length_penalty=2.0)
    one = judged("first", 0.7)
    other = JudgedPair(
        pair(first=SHORT, second=LONG, first_finished=True, second_finished=True),
        Verdict("second", 0.3),
    )
    first, second = with_length_penalty(one, chosen), with_length_penalty(other, chosen)
    assert first.verdict.q == pytest.approx(1 - (second.verdict.q or 0))
    assert first.chosen_ids == second.chosen_ids


@pytest.mark.parametrize(
    "each",
    [
        judged("first", None),  # a person
        judged("invalid", None),
        judged("tie", 0.5, (0.9, 0.1)),  # two orders that disagree
        against_the_others(),
    ],
)
def test_what_has_no_probability_stays_as_it_is(each: JudgedPair) -> None:
    assert with_length_penalty(each, settings(length_penalty=5.0, judge_ties="orders")) == each


def test_without_a_penalty_nothing_changes() -> None:
    each = judged("first", 0.6)
    assert with_length_penalty(each, settings(length_penalty=0.0)) is each


def test_within_the_margin_it_is_a_tie_and_a_tie_of_the_margin_may_be_decided() -> None:
    chosen = settings(length_penalty=1.0, judge_margin=0.1, judge_ties="margin")
    q = 1 / (1 + math.exp(-1.0))
    assert with_length_penalty(judged("first", q), chosen).verdict.choice == "tie"
    assert with_length_penalty(judged("tie", 0.5), chosen).verdict.choice == "second"


def test_a_judge_that_is_wholly_sure_is_taken_to_be_nearly_so() -> None:
    for q, choice in ((1.0, "first"), (0.0, "second")):
        after = with_length_penalty(judged(choice, q), settings(length_penalty=1.0))
        assert after.verdict.choice == choice
        assert 0 < (after.verdict.q or 0) < 1


def test_pairs_lost_by_a_cut_are_counted_apart() -> None:
    cut = replace(pair(first_finished=True, second_finished=False), cut_loses=True)
    choice = cut.automatic_choice()
    assert choice == "first"
    means = Averages()
    add_judged(means, [JudgedPair(cut, Verdict(choice)), judged("first", 0.9)])
    assert means.report()["cut_losses"] == 1
