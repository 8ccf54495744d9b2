"""More than two answers to a prompt: which two become the pair, against brute force."""

import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.completion import Answer
from engine.data.pairs import JudgedPair, Pair, Verdict, prompt_id, verdict_of
from engine.judges import PairJudge, Score
from engine.judges.contest import (
    CONTRARY,
    Choosing,
    Contest,
    judgements,
    judgements_at_once,
)
from engine.judges.queued import judge_batch
from engine.settings.sections.preference import Rejected
from tests.engine.small_models import pair

pytestmark = pytest.mark.quick

# Far enough apart that rounding tells no two of them alike.
TRUTHS = st.lists(st.integers(-64, 64).map(lambda n: n / 16), min_size=3, max_size=8, unique=True)


def prompt_of(count: int, index: int = 0, step: int = 1, **changes: Any) -> Pair:
    """A prompt with so many answers, `0`, `1` and so on, or texts of `changes`."""
    texts: Sequence[str] = changes.get("texts", [str(at) for at in range(count)])
    finished: Sequence[bool] = changes.get("finished", [True] * count)
    one = pair(
        index,
        step=step,
        prompt=f"{step} {index}?",
        first=texts[0],
        second=texts[1],
        first_finished=finished[0],
        second_finished=finished[1],
    )
    others = (
        Answer(text, (*map(ord, text), *([0] if ended else [])), ended)
        for text, ended in list(zip(texts, finished, strict=True))[2:]
    )
    lose = changes.get("cut_loses", False)
    return Pair(
        **{name: getattr(one, name) for name in one.__slots__}
        | {"others": tuple(others), "cut_loses": lose}
    )


class ByTable:
    """A judge that compares, by log-odds that one answer is better than another."""

    name = "table"

    def __init__(self, lead: Callable[[int, int], float], margin: float = 0.0) -> None:
        self.lead, self.margin = lead, margin
        self.asked: list[tuple[str, str]] = []

    def judge(self, texts: Sequence[Any], names: Sequence[str] = ()) -> list[Verdict]:
        self.asked += [(first, second) for _, first, second in texts]
        leads = [self.lead(int(first), int(second)) for _, first, second in texts]
        return [verdict_of(each, -each, margin=self.margin, ties="margin") for each in leads]


class ByScores(ByTable):
    """A judge that scores, each answer by its text."""

    gives_scores = True

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__(lambda one, other: scores[one] - scores[other])
        self.scores = scores
        self.scored: list[str] = []

    def score(self, answers: Sequence[Any], names: Sequence[str] = ()) -> list[Score]:
        self.scored += [text for _, text in answers]
        return [Score(self.scores[int(text)]) for _, text in answers]

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        lead = first.value - second.value
        return verdict_of(lead, -lead, margin=0.0, ties="margin")


def by_truth(truth: Sequence[float]) -> ByTable:
    return ByTable(lambda one, other: truth[one] - truth[other])


def one(judge: PairJudge, asked: Pair, rejected: Rejected = "worst", seed: int = 0) -> JudgedPair:
    (judged,) = judge_batch(judge, [asked], Choosing(rejected, seed))
    return judged


def chosen_and_rejected(judged: JudgedPair) -> tuple[int, int]:
    assert judged.decided
    two = int(judged.pair.first), int(judged.pair.second)
    return two if judged.verdict.choice == "first" else (two[1], two[0])


def low_of(scores: Sequence[float]) -> int:
    """The answer whose score is nearest to the mean less one standard deviation, by definition;
    never the best."""
    best = max(range(len(scores)), key=lambda at: scores[at])
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    others = [at for at in range(len(scores)) if at != best]
    return min(others, key=lambda at: abs(scores[at] - (mean - deviation)))


def test_scores_whose_sum_is_no_float_have_a_low_one() -> None:
    """As a function gives them that answers with the least float to what may never win."""
    least = -sys.float_info.max
    judged = one(ByScores([1.0, least, least, 2.0]), prompt_of(4), "low")
    assert chosen_and_rejected(judged) == (3, 1)


# -- by comparison -------------------------------------------------------------------------------


@given(st.lists(st.floats(-3, 3), min_size=12, max_size=12), st.integers(3, 4))
@settings(max_examples=60, deadline=None)
def test_up_to_four_all_meet_and_the_mean_of_log_odds_is_the_score(
    leads: list[float], count: int
) -> None:
    """Whatever the judge says, consistent or not: brute force over the table of its verdicts."""
    table = {(i, j): leads[3 * i + j - (j > i)] for i in range(4) for j in range(4) if i < j}
    judge = ByTable(lambda i, j: table[i, j])
    judged = one(judge, prompt_of(count))
    assert len(judge.asked) == judgements(count) == len(judged.judgements)
    assert sorted(judge.asked) == [(str(i), str(j)) for i, j in combinations(range(count), 2)]

    def log_odds(i: int, j: int) -> float:
        lead = table[i, j] if i < j else -table[j, i]
        q = 1 / (1 + math.exp(-lead))
        return math.log(q / (1 - q))

    means = [statistics.fmean(log_odds(i, j) for j in range(count) if j != i) for i in range(count)]
    ordered = sorted(means)
    if ordered[-1] - ordered[-2] < 1e-6 or ordered[1] - ordered[0] < 1e-6:
        return  # rounding decides
    best, worst = means.index(ordered[-1]), means.index(ordered[0])
    if 0 < abs(log_odds(best, worst)) < 1e-6:
        return
    if log_odds(best, worst) <= 0:
        assert judged.verdict.choice == "tie"
        assert judged.verdict.note == (CONTRARY if log_odds(best, worst) < 0 else "")
    else:
        assert chosen_and_rejected(judged) == (best, worst)


@given(TRUTHS)
@settings(max_examples=80, deadline=None)
def test_the_best_by_a_consistent_judge_wins_and_costs_what_is_said(truth: list[float]) -> None:
    judge = by_truth(truth)
    judged = one(judge, prompt_of(len(truth)))
    best, rejected = chosen_and_rejected(judged)
    assert truth[best] == max(truth)
    assert len(judge.asked) == judgements(len(truth))
    assert len({frozenset(each) for each in judge.asked}) == len(judge.asked)  # none twice
    met = {int(each) for two in judge.asked if str(best) in two for each in two} - {best}
    assert rejected in met
    assert truth[rejected] == min(truth[each] for each in met)
    if len(truth) <= 4:
        assert truth[rejected] == min(truth)


@pytest.mark.parametrize(("count", "at_once"), [(2, 1), (3, 3), (4, 6), (5, 2), (7, 3), (8, 4)])
def test_what_is_asked_at_once(count: int, at_once: int) -> None:
    contest = Contest(prompt_of(count) if count > 2 else pair(), Choosing())
    assert len(contest.matches) == judgements_at_once(count) == at_once


def test_prompts_of_a_batch_are_asked_together() -> None:
    calls: list[int] = []

    class Counted(ByTable):
        def judge(self, texts: Sequence[Any], names: Sequence[str] = ()) -> list[Verdict]:
            calls.append(len(texts))
            assert names[0].startswith("pair 0000001-000-")
            return super().judge(texts, names)

    judge = Counted(lambda i, j: j - i)
    judged = judge_batch(judge, [prompt_of(8), prompt_of(8, 1), prompt_of(5, 2)], Choosing())
    assert calls == [4 + 4 + 2, 2 + 2 + 1, 1 + 1 + 1]
    assert [each.pair.pair_id[:11] for each in judged] == [f"0000001-{at:03d}" for at in range(3)]
    assert [prompt_id(each.pair.pair_id) for each in judged] == [
        f"0000001-{at:03d}" for at in range(3)
    ]
    assert all(chosen_and_rejected(each)[0] == 0 for each in judged)


def test_the_low_one_of_a_knock_out_is_among_those_that_the_winner_beat() -> None:
    truth = [0.0, 5.0, -3.0, 1.0, 4.0, -1.0, 2.0, -2.0]
    judge = by_truth(truth)
    judged = one(judge, prompt_of(8), "low")
    best, low = chosen_and_rejected(judged)
    assert best == 1
    # 1 beats 0, then 3, then 4, which has won the other half.
    beside = [0.0, truth[0] - 5, truth[3] - 5, truth[4] - 5]
    aim = statistics.fmean(beside) - statistics.pstdev(beside)
    assert low == min((0, 3, 4), key=lambda at: abs(truth[at] - 5 - aim))


def test_a_tie_of_the_judge_ends_no_knock_out() -> None:
    judged = one(ByTable(lambda i, j: 0.0), prompt_of(8))
    assert judged.verdict.choice == "tie"
    assert len(judged.judgements) == 7


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_a_judge_without_a_valid_verdict_gives_an_invalid_pair(count: int) -> None:
    judged = one(ByTable(lambda i, j: math.nan), prompt_of(count))
    assert judged.verdict.choice == "invalid"


def test_an_answer_that_is_never_judged_is_in_no_pair() -> None:
    judged = one(ByTable(lambda i, j: math.nan if 0 in (i, j) else i - j), prompt_of(4))
    assert chosen_and_rejected(judged) == (3, 1)


# -- by scores -----------------------------------------------------------------------------------


@given(st.lists(st.integers(-50, 50), min_size=4, max_size=8, unique=True))
@settings(max_examples=150, deadline=None)
def test_the_low_one_by_definition(scores: list[int]) -> None:
    judge = ByScores(scores)
    judged = one(judge, prompt_of(len(scores)), "low")
    assert judge.scored == [str(at) for at in range(len(scores))]  # each once
    assert judge.asked == []
    best, low = chosen_and_rejected(judged)
    assert scores[best] == max(scores)
    aim = statistics.fmean(scores) - statistics.pstdev(scores)
    assert abs(scores[low] - aim) == pytest.approx(abs(scores[low_of(scores)] - aim))


def test_scores_far_apart_keep_their_order() -> None:
    """Probabilities of such differences are 1, all alike."""
    judge = ByScores([-1e6, 3e5, 1e6, 0.0, 9e5])
    assert chosen_and_rejected(one(judge, prompt_of(5))) == (2, 0)


def test_the_worst_and_one_at_random() -> None:
    judge = ByScores([3.0, -1.0, 7.0, 0.5, -2.0, 6.0])
    assert chosen_and_rejected(one(judge, prompt_of(6))) == (2, 4)
    drawn = [
        chosen_and_rejected(one(judge, prompt_of(6, step=step), "random", seed))
        for seed in (0, 1)
        for step in range(1, 41)
    ]
    assert {best for best, _ in drawn} == {2}
    assert {other for _, other in drawn} == {0, 1, 3, 4, 5}
    assert drawn[:40] != drawn[40:]
    again = chosen_and_rejected(one(judge, prompt_of(6, step=7), "random", 0))
    assert again == drawn[6]


def test_scores_that_are_no_numbers_are_left_out() -> None:
    judge = ByScores([math.nan, 1.0, math.inf, 2.0])
    assert chosen_and_rejected(one(judge, prompt_of(4))) == (3, 1)
    assert one(ByScores([math.nan, 1.0, math.nan]), prompt_of(3)).verdict.choice == "invalid"


# -- what nobody has to judge --------------------------------------------------------------------


def test_equal_answers_are_judged_once() -> None:
    judge = by_truth([0.0, 1.0, 2.0, 3.0])
    judged = one(judge, prompt_of(4, texts=["2", "1", "2", "1"]))
    assert judge.asked == [("2", "1")]
    assert chosen_and_rejected(judged) == (2, 1)
    same = one(judge, prompt_of(4, texts=["5"] * 4))
    assert same.verdict.choice == "identical"
    assert one(judge, prompt_of(3, texts=["", " ", "\n"])).verdict.choice == "empty"
    assert len(judge.asked) == 1


def test_equal_answers_count_in_the_spread_of_scores() -> None:
    texts = ["0", "1", "2", "3", "3", "3"]
    scores = [10.0, 4.0, 1.0, -2.0]
    judged = one(ByScores(scores), prompt_of(6, texts=texts), "low")
    all_scores = [10.0, 4.0, 1.0, -2.0, -2.0, -2.0]
    assert chosen_and_rejected(judged) == (0, int(texts[low_of(all_scores)]))


@pytest.mark.parametrize("make", [by_truth, ByScores])
def test_a_cut_answer_loses_unasked(make: Callable[[Sequence[float]], Any]) -> None:
    truth = [3.0, 9.0, 1.0, 2.0]
    asked = prompt_of(4, finished=[True, False, True, True], cut_loses=True)
    judge = make(truth)
    judged = one(judge, asked)
    assert chosen_and_rejected(judged) == (0, 1)
    assert judged.by_cut
    assert "1" not in [each for two in judge.asked for each in two]
    alone = one(make(truth), prompt_of(3, finished=[False, True, False], cut_loses=True))
    assert chosen_and_rejected(alone) == (1, 0)
    assert alone.by_cut
    none = one(make(truth), prompt_of(3, finished=[False] * 3, cut_loses=True))
    assert none.verdict.choice == "tie"


# -- what is told of it --------------------------------------------------------------------------


def test_a_pair_of_many_names_its_answers_and_goes_through_json() -> None:
    whole = prompt_of(8)
    assert Pair.from_json(whole.to_json()) == whole
    judged = one(by_truth(range(8)), whole)
    assert judged.pair.pair_id == f"{whole.pair_id}-{judged.pair.first}{judged.pair.second}"
    assert judged.pair.others == ()
    assert len(judged.answers) == 8
    assert judged.readings == judged.judgements


def test_two_answers_are_judged_as_ever() -> None:
    judge = ByTable(lambda i, j: 1.0)
    two = pair(first="1", second="0")
    same = pair(1, first="x", second="x", second_finished=True)
    judged = judge_batch(judge, [same, two], Choosing())
    assert [each.pair for each in judged] == [same, two]
    assert [each.verdict.choice for each in judged] == ["identical", "first"]
    assert judged[1].readings == (judged[1].verdict,)


def test_the_judge_at_chance_is_seen_through_in_spite_of_the_choice() -> None:
    """Of many readings the extremes are chosen, whose orders agree; the watch sees them all."""
    from engine.train.watch.judge_watch import WATCHED, JudgeWatch

    chance = random.Random(3)

    class AtChance(ByTable):
        def judge(self, texts: Sequence[Any], names: Sequence[str] = ()) -> list[Verdict]:
            readings = [(chance.gauss(0, 2), chance.gauss(0, 2)) for _ in texts]
            return [verdict_of(*each, margin=0.0, ties="margin") for each in readings]

    watch = JudgeWatch()
    judge = AtChance(lambda i, j: 0.0)
    watch.add(judge_batch(judge, [prompt_of(4, at) for at in range(12)], Choosing()))
    assert watch.state()["valid"] == WATCHED
    # The same of the chosen pairs alone would be sure of itself.
    judged = judge_batch(judge, [prompt_of(4, at) for at in range(600)], Choosing())
    orders = [each.verdict.q_orders for each in judged if each.verdict.q_orders]
    agree = sum((one > 0.5) == (other > 0.5) for one, other in orders) / len(orders)
    every = [v.q_orders for each in judged for v in each.readings if v.q_orders]
    agree_all = sum((one > 0.5) == (other > 0.5) for one, other in every) / len(every)
    assert agree > 0.55
    assert agree_all == pytest.approx(0.5, abs=0.03)
