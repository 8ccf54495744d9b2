"""A model and a person as one judge: who is asked what, what counts, and how well they agree."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from engine.control import Control
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.recorded_pairs import RecordedPair
from engine.events import PairSampled
from engine.judges import JudgeAway
from engine.judges.card import cohen_kappa, kappa_interval
from engine.judges.hybrid import HybridJudge
from engine.runs import archive
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.settings.checks import problems
from engine.settings.judge_roles import evaluator, training_judge
from engine.settings.schema import Settings, no_effect
from engine.train.journal import Journal
from engine.train.metrics import Averages, add_judged
from engine.train.run_labels import RunLabels
from engine.train.watch.judge_watch import JudgeWatch
from tests.engine.small_models import pair

pytestmark = pytest.mark.quick


class Model:
    """Says of each pair what its prompt says: `q 0.9`, or `q none`."""

    name = "a model"

    def __init__(self) -> None:
        self.read: list[str] = []
        self.away = False

    def judge(self, texts: Sequence[Any], names: Sequence[str] = ()) -> list[Verdict]:
        if self.away:
            raise JudgeAway("the judge is away")
        self.read += names
        return [verdict_for(prompt.text) for prompt, _, _ in texts]


def verdict_for(prompt: str) -> Verdict:
    word = prompt.partition("q ")[2]
    if word == "none":
        return Verdict("invalid")
    q = float(word)
    return Verdict("tie" if q == 0.5 else "first" if q > 0.5 else "second", q, (q, q))


def batch(step: int, *qs: float | None) -> list[Pair]:
    words = ("none" if q is None else str(q) for q in qs)
    return [
        pair(index, step=step, prompt=f"{step} {index} q {word}", first="one", second="two")
        for index, word in enumerate(words)
    ]


class Desk:
    """A hybrid judge over a real folder, and the person before it."""

    def __init__(self, run: Run | None = None, last_step: int = 10**6, **values: Any) -> None:
        chosen = {"audit_rate": 0.0, "undo_seconds": 0.0, "lookahead": 2, "self_check_every": 0}
        settings = Settings(judge="hybrid", hybrid_model="starter", **{**chosen, **values})
        self.run = run or archive.create(settings)
        self.journal = Journal(self.run, lambda event: None, Control())
        self.model = Model()
        self.shown: list[PairSampled] = []
        self.judge = HybridJudge(
            self.model,
            settings,
            last_step=last_step,
            labels=RunLabels(self.run, self.journal),
            show=self.shown.append,
        )
        lines = [line for file in (PAIRS, UNDECIDED) for line in self.run.read(file)]
        self.judge.restore(lines)
        self.journal.labelled = {str(line["pair_id"]) for line in lines}

    def waiting(self) -> list[str]:
        return [each.pair_id for each in self.judge.person.waiting()]

    def give(self, pair_id: str, text: str) -> bool:
        """Press the side on which `text` is shown, or a verdict that is no side."""
        shown = next(each for each in self.judge.person.waiting() if each.pair_id == pair_id)
        side: Any = {shown.left: "left", shown.right: "right"}.get(text, text)
        return self.judge.person.answer(pair_id, side)

    def learn(self, judged: list[JudgedPair] | None) -> list[JudgedPair]:
        assert judged is not None
        self.journal.record_verdicts(judged, self.judge.name)
        return judged

    def lines(self) -> dict[str, dict[str, Any]]:
        every = [line for file in (PAIRS, UNDECIDED) for line in self.run.read(file)]
        assert len({line["pair_id"] for line in every}) == len(every)
        return {line["pair_id"]: line for line in every}


def ids(step: int, *indices: int) -> list[str]:
    return [f"{step:07d}-{index:03d}" for index in indices]


def one(step: int, index: int) -> str:
    return ids(step, index)[0]


# -- who is asked ---------------------------------------------------------------------------------


def test_the_person_gets_what_the_model_is_not_sure_of() -> None:
    desk = Desk(hybrid_margin=0.2)
    desk.judge.submit(batch(1, 0.9, 0.6, 0.5, None, 0.1, 0.29, 0.71, 0.31))
    assert desk.judge.settles_in() == 0.0  # the model has it to read
    assert desk.judge.collect() is None
    assert desk.waiting() == ids(1, 1, 2, 3, 7)
    assert math.isinf(desk.judge.settles_in())
    assert [each.pair_id for each in desk.shown] == desk.waiting()


def test_a_batch_that_the_model_is_sure_of_asks_nobody() -> None:
    desk = Desk()
    desk.judge.submit(batch(1, 0.9, 0.1))
    judged = desk.learn(desk.judge.collect())
    assert [each.verdict.choice for each in judged] == ["first", "second"]
    assert {each.verdict.judge for each in judged} == {"a model"}
    assert [line["judge"] for line in desk.lines().values()] == ["a model"] * 2
    assert all("model" not in line for line in desk.lines().values())


def test_equal_answers_are_for_nobody() -> None:
    desk = Desk()
    desk.judge.submit([pair(0, prompt="q 0.5", first="same", second="same")])
    (judged,) = desk.learn(desk.judge.collect())
    assert judged.verdict.choice == "identical"
    assert desk.model.read == []
    assert desk.lines()[judged.pair.pair_id]["judge"] == "hybrid"


def audited(seed: int, rate: float, steps: int = 60) -> list[str]:
    desk = Desk(audit_rate=rate, seed=seed, lookahead=64)
    for step in range(1, steps + 1):
        desk.judge.submit(batch(step, 0.9, 0.05, 0.99, 0.8))
    desk.judge.collect()
    return desk.waiting()


def test_a_share_of_the_sure_pairs_is_audited_by_a_keyed_draw() -> None:
    chosen = audited(0, 0.25)
    assert 35 <= len(chosen) <= 85  # of 240; 60 +- 3.7 standard deviations
    assert audited(0, 0.25) == chosen
    assert audited(1, 0.25) != chosen
    assert set(chosen) < set(audited(0, 0.6))  # the same draw, held against another rate
    assert audited(0, 0.0) == []
    assert len(audited(0, 1.0, steps=3)) == 12
    alone = Desk(audit_rate=0.25, lookahead=64)  # batches, and what came before, change nothing
    alone.judge.submit(batch(7, 0.9, 0.05, 0.99, 0.8))
    alone.judge.collect()
    assert alone.waiting() == [each for each in chosen if each.startswith("0000007")]


# -- what counts ----------------------------------------------------------------------------------


def test_the_person_s_verdict_wins_and_says_what_the_model_said() -> None:
    desk = Desk(audit_rate=1.0)
    desk.judge.submit(batch(1, 0.9, 0.45))
    desk.judge.collect()
    assert desk.give(one(1, 0), "two")
    assert desk.judge.collect() is None
    assert desk.give(one(1, 1), "tie")
    before = desk.lines()  # on the disk before anything is learned
    sure, unsure = desk.learn(desk.judge.collect())
    assert (sure.verdict.choice, sure.verdict.judge, sure.verdict.q) == ("second", "human", None)
    assert sure.confidence == 1.0
    assert (unsure.verdict.choice, unsure.decided) == ("tie", False)
    assert desk.lines() == before
    sure_line, unsure_line = (before[each] for each in ids(1, 0, 1))
    assert (sure_line["judge"], sure_line["choice"], sure_line["q"], sure_line["keep"]) == (
        "human",
        "second",
        None,
        True,
    )
    model = {"judge": "a model", "choice": "first", "q": 0.9, "q_orders": [0.9, 0.9], "audit": True}
    assert sure_line["model"] == model
    assert (unsure_line["model"]["audit"], unsure_line["model"]["q"]) == (False, 0.45)
    assert RecordedPair.from_record(sure_line).verdict.model == sure.verdict.model


def test_what_is_not_answered_in_time_is_left_out() -> None:
    desk = Desk(lookahead=1)
    desk.judge.submit(batch(1, 0.5, 0.9, 0.5))
    assert desk.judge.collect() is None
    desk.give(one(1, 0), "one")
    desk.judge.submit(batch(2, 0.5))
    judged = desk.learn(desk.judge.collect())  # it would have to wait now
    choices = [(each.verdict.choice, each.verdict.judge) for each in judged]
    assert choices == [("first", "human"), ("first", "a model"), ("unanswered", "hybrid")]
    assert not judged[2].decided
    line = desk.lines()[ids(1, 2)[0]]
    assert (line["choice"], line["keep"], line["model"]["q"]) == ("unanswered", True, 0.5)
    assert desk.waiting() == ids(2, 0)  # which has its time still
    assert desk.judge.collect() is None
    assert not desk.judge.person.answer(one(1, 2), "left")
    assert desk.judge.person.undo(one(1, 0)) == "learned"


def test_after_the_last_batch_nobody_is_waited_for() -> None:
    desk = Desk(lookahead=5, last_step=2)
    desk.judge.submit(batch(1, 0.5))
    assert desk.judge.collect() is None
    desk.judge.submit(batch(2, 0.5))
    assert desk.judge.settles_in() == 0.0
    for step in (1, 2):
        (judged,) = desk.learn(desk.judge.collect())
        assert (judged.pair.step, judged.verdict.choice) == (step, "unanswered")
    assert desk.judge.collect() is None


def test_undo_skip_and_another_label_are_as_with_a_person_alone() -> None:
    desk = Desk()
    desk.judge.submit(batch(1, 0.5, 0.5))
    desk.judge.collect()
    first, second = ids(1, 0, 1)
    desk.give(first, "one")
    assert desk.judge.both.agreement(1)["both_judged"] == 1
    assert desk.judge.person.undo(first) == "undone"
    assert desk.lines() == {}
    assert desk.judge.both.agreement(1)["both_judged"] == 0
    assert desk.waiting() == [first, second]
    desk.give(first, "two")
    desk.give(second, "skip")
    desk.learn(desk.judge.collect())
    assert desk.judge.both.agreement(1)["both_judged"] == 1  # a skipped pair is no label
    label = desk.judge.person.given(second)
    assert label
    assert label.shown == "skip"
    assert desk.judge.person.relabel(second, "left")
    assert desk.judge.both.agreement(1)["both_judged"] == 2
    assert desk.lines()[second]["model"]["choice"] == "tie"


def test_a_model_that_is_away_keeps_its_batch() -> None:
    desk = Desk()
    desk.model.away = True
    desk.judge.submit(batch(1, 0.5))
    desk.judge.submit(batch(2, 0.9))
    with pytest.raises(JudgeAway):
        desk.judge.collect()
    assert [each[0].step for each in desk.judge.pending()] == [1, 2]
    desk.model.away = False
    assert desk.judge.collect() is None
    assert desk.waiting() == ids(1, 0)
    assert [each[0].step for each in desk.judge.pending()] == [1, 2]


def test_after_a_restart_nothing_is_asked_twice_and_nothing_guessed() -> None:
    """Killed after step 1, with a checkpoint of the start: all of it is done again."""
    batches = [batch(1, 0.5, 0.9, 0.5), batch(2, 0.5, 0.5)]
    desk = Desk(lookahead=1)
    desk.judge.submit(batches[0])
    desk.judge.collect()
    desk.give(one(1, 0), "two")
    desk.judge.submit(batches[1])
    before = desk.learn(desk.judge.collect())
    desk.give(one(2, 1), "one")
    agreement = desk.judge.both.agreement(2)
    for file in (PAIRS, UNDECIDED):
        desk.run.keep_until(file, 0)
    assert set(desk.lines()) == {*ids(1, 0, 2), *ids(2, 1)}  # the model's label is made again
    again = Desk(desk.run, lookahead=1)
    for each in batches:
        again.judge.submit(each)
    assert again.learn(again.judge.collect()) == [
        each if index != 2 else again_unanswered(each) for index, each in enumerate(before)
    ]
    assert again.waiting() == ids(2, 0)
    assert again.judge.both.agreement(2) == agreement
    assert again.judge.both.agreement(1)["both_judged"] == 1
    assert len(again.lines()) == 4


def again_unanswered(judged: JudgedPair) -> JudgedPair:
    assert judged.verdict.choice == "unanswered"
    return judged


# -- how well they agree --------------------------------------------------------------------------


def test_kappa_is_the_card_s() -> None:
    desk = Desk(audit_rate=1.0, lookahead=64, seed=3)
    qs = (0.9, 0.2, 0.8, 0.1, 0.5, 0.7, 0.6, None)
    desk.judge.submit(batch(1, *qs))
    desk.judge.collect()
    person = ("one", "two", "one", "one", "two", "one", "both_bad", "one")
    for index, text in enumerate(person):
        desk.give(one(1, index), text)
    choices = {"one": "first", "two": "second"}
    labels: list[tuple[str | None, str]] = [
        (choices[text], verdict_for(f"q {'none' if q is None else q}").choice)
        for text, q in zip(person, qs, strict=True)
        if text in choices
    ]
    told = desk.judge.both.agreement(1)
    kappa, (low, high) = cohen_kappa(labels), kappa_interval(labels, seed=3)
    assert told == {"both_judged": 7, "kappa": kappa, "kappa_low": low, "kappa_high": high}
    assert 0 < told["kappa"] < 1
    assert desk.judge.both.agreement(0) == {"both_judged": 0}


def test_metrics_and_the_watch_read_the_model() -> None:
    desk = Desk(lookahead=1, audit_rate=0.0)
    desk.judge.submit(batch(1, 0.9, 0.55, 0.45))
    desk.judge.collect()
    desk.give(one(1, 1), "two")
    desk.judge.submit(batch(2, 0.9))
    judged = desk.learn(desk.judge.collect())
    means = Averages()
    add_judged(means, judged)
    report = means.report()
    assert report["asked_rate"] == pytest.approx(2 / 3)
    assert report["unanswered_rate"] == pytest.approx(1 / 3)
    assert report["judge_q"] == pytest.approx((0.9 + 0.55 + 0.55) / 3)
    assert report["swap_consistency"] == 1.0
    watch = JudgeWatch()
    watch.add(judged)
    state = watch.state()
    assert (state["valid"], state["usable"], len(state["orders"])) == (3, 3, 3)


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "key", "words"),
    [
        ({}, "hybrid_model", "name one"),
        ({"hybrid_model": "human"}, "hybrid_model", "the person is there already"),
        ({"hybrid_model": "starter, hybrid"}, "hybrid_model", "the person is there already"),
        ({"hybrid_model": "rule:none"}, "hybrid_model", "there is no rule:none"),
        ({"hybrid_model": "starter", "eval_judge": "hybrid"}, "eval_judge", "a person is never"),
        ({"judge": "hybrid, starter"}, "judge", "cannot be one of several"),
    ],
)
def test_bad_settings_are_a_sentence(values: dict[str, Any], key: str, words: str) -> None:
    (found,) = problems(Settings(**{"judge": "hybrid", **values}))
    assert found.key == key
    assert words in found.message


def test_settings_of_a_hybrid_run() -> None:
    chosen = Settings(judge="hybrid", hybrid_model="starter, rule:length", judge_weights=[2.0, 1.0])
    assert problems(chosen) == []
    assert chosen.asks_person
    assert not chosen.human_judge
    assert chosen.lookahead_batches == 4
    assert chosen.judge_names("model") == {"starter": "hybrid_model"}
    model = training_judge(chosen)
    assert model
    assert (model.judge, model.judges) == ("starter, rule:length", ("starter", "rule:length"))
    assert evaluator(chosen) is None
    off = no_effect(chosen)
    for key in ("undo_seconds", "judge_watch", "eval_prompts", "hybrid_margin", "judge_margin"):
        assert key not in off
    assert "audit_rate" in no_effect(Settings())
