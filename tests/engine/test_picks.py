"""A person who picks the best of more than two answers, and a model beside one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.control import Control
from engine.data.pairs import JudgedPair, Pair, Verdict, prompt_id
from engine.events import PairSampled, Pick
from engine.judges.human import HumanJudge
from engine.judges.hybrid import HybridJudge
from engine.judges.picks import Picking
from engine.model.files import Shape
from engine.plan import step_memory
from engine.plan.judging import judging_cost
from engine.runs import archive, go_back
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.relabel import find
from engine.settings.checks import problems
from engine.settings.schema import Settings
from engine.settings.sections.preference import Rejected
from engine.train.earlier_labels import EarlierLabels
from engine.train.journal import Journal
from engine.train.run_labels import RunLabels
from tests.engine.test_contest import ByTable, prompt_of

pytestmark = pytest.mark.quick


class Desk:
    """A person's judge over a real folder."""

    def __init__(
        self, run: Run | None = None, rejected: Rejected = "worst", all_pairs: bool = False
    ) -> None:
        self.run = run or archive.create(Settings(judge="human", run_name="desk"))
        self.journal = Journal(self.run, lambda event: None, Control())
        self.journal.earlier = EarlierLabels(self.run, "text")
        self.shown: list[PairSampled] = []
        self.judge = HumanJudge(
            seed=3,
            undo_seconds=0,
            self_check_every=0,
            labels=RunLabels(self.run, self.journal),
            show=self.shown.append,
            picking=Picking(rejected, all_pairs, seed=3),
        )

    def lines(self) -> dict[str, dict[str, Any]]:
        every = [line for file in (PAIRS, UNDECIDED) for line in self.run.read(file)]
        assert len({line["pair_id"] for line in every}) == len(every)
        return {line["pair_id"]: line for line in every}

    def restore(self) -> None:
        choices = {key: Verdict(line["choice"]) for key, line in self.lines().items()}
        self.judge.restore(choices)

    def pick(self, pair_id: str, best: str, worst: str | None = None) -> bool:
        """Press the numbers under which these texts are shown."""
        (each,) = [each for each in self.judge.waiting() if each.pair_id == pair_id]
        texts = [answer.text for answer in each.answers]
        pick = Pick(texts.index(best), None if worst is None else texts.index(worst))
        return self.judge.answer(pair_id, pick, note="why", flagged=True)


@pytest.fixture
def desk(studio_home: object) -> Callable[..., Desk]:
    return Desk


Make = Callable[..., Desk]


def test_the_best_and_the_worst_are_a_pair(desk: Make) -> None:
    table = desk()
    asked = prompt_of(8)
    table.judge.submit([asked])
    (shown,) = table.judge.waiting()
    assert shown.asks_worst
    assert sorted(each.text for each in shown.answers) == [str(at) for at in range(8)]
    assert shown == replace(table.judge.waiting()[0], time=shown.time)  # the order stays
    assert table.pick(asked.pair_id, "6", "1")
    assert not table.judge.answer(asked.pair_id, Pick(0, 1))  # a second press
    (line,) = table.lines().values()
    assert (line["chosen"], line["rejected"], line["choice"]) == ("6", "1", "second")
    assert (line["note"], line["flagged"], line["judge"]) == ("why", True, "human")
    (judged,) = table.judge.collect() or []
    assert judged.pair == asked.between(1, 6)
    assert judged.answers == asked.answers


def test_the_hidden_order_is_another_for_each_prompt(desk: Make) -> None:
    table = desk()
    table.judge.submit([prompt_of(4, step=step) for step in range(1, 60)])
    orders = {tuple(each.text for each in one.answers) for one in table.judge.waiting()}
    assert len(orders) > 15  # of 24


@pytest.mark.parametrize(
    "pick", [Pick(8, 0), Pick(0), Pick(2, 2), Pick(0, 9), Pick(-1, 0)], ids=repr
)
def test_a_pick_that_makes_no_pair_is_none(desk: Make, pick: Pick) -> None:
    table = desk()
    table.judge.submit([prompt_of(8)])
    with pytest.raises(ValueError, match="pair 0000001-000"):
        table.judge.answer("0000001-000", pick)
    assert table.lines() == {}
    assert len(table.judge.waiting()) == 1


def test_a_rejected_one_at_random(desk: Make) -> None:
    table = desk(rejected="random")
    prompts = [prompt_of(5, step=step) for step in range(1, 41)]
    table.judge.submit(prompts)
    for each in prompts:
        assert not table.judge.waiting()[0].asks_worst
        table.pick(each.pair_id, "2")
    rejected = [line["rejected"] for line in table.lines().values()]
    assert {*rejected} == {"0", "1", "3", "4"}
    again = desk(archive.create(Settings(judge="human", run_name="again")), rejected="random")
    again.judge.submit(prompts)
    for each in prompts:
        again.pick(each.pair_id, "2")
    assert [line["rejected"] for line in again.lines().values()] == rejected


def test_a_pair_with_each_other_is_stored_and_taken_back_at_once(desk: Make) -> None:
    table = desk(all_pairs=True)
    asked = prompt_of(4)
    table.judge.submit([asked, prompt_of(4, 1)])
    table.pick(asked.pair_id, "2")
    won = {key: (line["chosen"], line["rejected"]) for key, line in table.lines().items()}
    assert won == {
        "0000001-000-02": ("2", "0"),
        "0000001-000-12": ("2", "1"),
        "0000001-000-23": ("2", "3"),
    }
    assert sorted(table.judge.labels_of(asked.pair_id)) == sorted(won)
    assert table.judge.undo(asked.pair_id) == "undone"
    assert table.lines() == {}
    table.pick(asked.pair_id, "0")
    table.judge.answer("0000001-001", "both_bad")
    judged = table.judge.collect() or []
    assert [each.verdict.choice for each in judged] == ["first"] * 3 + ["both_bad"]
    assert sum(len(each.answers) for each in judged) == 8
    assert table.judge.undo(asked.pair_id) == "learned"
    # Each is a label by itself from now on.
    given = table.judge.given("0000001-000-03")
    assert given is not None
    assert {given.left, given.right} == {"0", "3"}
    assert table.judge.relabel("0000001-000-03", "tie")
    assert table.judge.relabel("0000001-000-02", None)
    assert find(table.run, "0000001-000-03")[0] == UNDECIDED  # type: ignore[index]
    assert [*sorted(table.lines())] == ["0000001-000-01", "0000001-000-03", table_of(table)]


def table_of(table: Desk) -> str:
    """The label that was given to all answers of the second prompt."""
    return next(key for key in table.lines() if prompt_id(key) == "0000001-001")


def test_what_was_picked_is_not_asked_again_after_a_restart(desk: Make) -> None:
    table = desk(all_pairs=True)
    prompts = [prompt_of(4, at) for at in range(3)]
    table.judge.submit(prompts)
    table.pick(prompts[0].pair_id, "3")
    table.judge.answer(prompts[1].pair_id, "skip")
    again = desk(table.run, all_pairs=True)
    again.restore()
    again.judge.submit([Pair.from_json(each.to_json()) for each in prompts])
    assert [each.pair_id for each in again.judge.waiting()] == [prompts[2].pair_id]
    again.pick(prompts[2].pair_id, "0")
    judged = again.judge.collect() or []
    assert [each.verdict.choice for each in judged] == [*["second"] * 3, "skip", *["first"] * 3]
    assert sum(len(each.answers) for each in judged) == 12
    assert len(again.lines()) == 7


def test_a_pick_counts_again_where_the_run_went_back(desk: Make) -> None:
    table = desk(rejected="worst")
    asked = prompt_of(4, step=5)
    table.judge.submit([asked])
    table.pick(asked.pair_id, "3", "0")
    table.run.rewrite(PAIRS, lambda line: go_back._set_aside(line, 2, 1))
    assert [*table.lines()] == ["0000005-000-03~1"]
    assert prompt_id("0000005-000-03~1") == "0000005-000~1"
    again = desk(table.run)
    again.restore()
    same = replace(asked, pair_id="0000003-000", step=3)
    again.judge.submit([same, prompt_of(4, 1, step=3)])
    assert [each.pair_id for each in again.judge.waiting()] == ["0000003-001"]
    assert [*again.lines()] == ["0000003-000-03"]
    again.judge.answer("0000003-001", "skip")
    judged = again.judge.collect() or []
    assert judged[0].pair.pair_id == "0000003-000-03"
    assert judged[0].verdict.choice == "second"


def test_equal_answers_are_shown_once_and_cut_ones_not_at_all(desk: Make) -> None:
    table = desk()
    same = prompt_of(4, texts=["a", "b", "a", "c"])
    cut = prompt_of(4, 1, finished=[True, False, True, True], cut_loses=True)
    two = prompt_of(3, 2, texts=["a", "b", "a"])
    none = prompt_of(3, 3, texts=["a", "a", "a"])
    table.judge.submit([same, cut, two, none])
    shown = [sorted(answer.text for answer in each.answers) for each in table.judge.waiting()]
    assert shown == [["a", "b", "c"], ["0", "2", "3"], []]
    pair = table.judge.waiting()[-1]
    assert {pair.left, pair.right} == {"a", "b"}
    assert table.judge.answer(two.pair_id, "left")
    assert "0000001-002-01" in table.lines()


# -- a model beside a person ---------------------------------------------------------------------


class HybridDesk:
    """A hybrid judge whose model is unsure where two answers are neighbours."""

    def __init__(self, run: Run | None = None) -> None:
        chosen = Settings(
            judge="hybrid", hybrid_model="starter", run_name="both", completions=4,
            audit_rate=0.0, undo_seconds=0.0, lookahead=2, self_check_every=0, rejected="random",
        )  # fmt: skip
        self.run = run or archive.create(chosen)
        self.journal = Journal(self.run, lambda event: None, Control())
        self.judge = HybridJudge(
            ByTable(lambda i, j: 0.1 * (j - i) if abs(j - i) == 1 else 3.0 * (j - i)),
            chosen,
            last_step=100,
            labels=RunLabels(self.run, self.journal),
            show=lambda event: None,
        )


def test_the_model_chooses_the_pair_that_the_person_is_asked_about(studio_home: object) -> None:
    table = HybridDesk()
    prompts = [prompt_of(4, at) for at in range(12)]
    table.judge.submit(prompts)
    assert table.judge.collect() is None
    waiting = table.judge.person.waiting()
    assert waiting
    assert {prompt_id(each.pair_id) for each in waiting} < {each.pair_id for each in prompts}
    for each in waiting:
        assert each.answers == ()
        assert each.pair_id.endswith("-01")  # the best, and its neighbour
    assert [*map(list, table.judge.pending())] == [prompts]  # as they were handed over
    first = waiting[0].pair_id
    assert table.judge.person.answer(first, "left")
    # After a kill the model chooses the same, and the person's answer counts.
    again = HybridDesk(table.run)
    again.judge.restore(table.run.read(PAIRS))
    again.judge.submit(prompts)
    assert again.judge.collect() is None
    left = [each.pair_id for each in again.judge.person.waiting()]
    assert left == [each.pair_id for each in waiting[1:]]
    for pair_id in left:
        again.judge.person.answer(pair_id, "left")
    judged: list[JudgedPair] = again.judge.collect() or []
    assert len(judged) == 12
    assert {each.verdict.judge for each in judged} == {"human", "table"}
    assert all(len(each.answers) == 4 and len(each.readings) == 6 for each in judged)
    assert again.judge.pending() == []


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"rejected": "low", "completions": 3}, "rejected"),
        ({"rejected": "low"}, "rejected"),
        ({"rejected": "low", "completions": 4}, None),
        ({"rejected": "low", "completions": 4, "judge": "human"}, "rejected"),
        ({"rejected": "low", "completions": 4, "judge": "human", "pairs_per_pick": "all"}, None),
        ({"pairs_per_pick": "all", "completions": 4}, "pairs_per_pick"),
        ({"pairs_per_pick": "all", "completions": 4, "judge": "human"}, None),
        ({"pairs_per_pick": "all"}, None),
        ({"completions": 8}, None),
    ],
)
def test_what_cannot_go_together(values: dict[str, Any], key: str | None) -> None:
    found = problems(Settings(**values))
    assert [each.key for each in found] == ([key] if key else [])


@pytest.mark.parametrize(
    ("values", "cost"),
    [
        ({}, None),
        ({"completions": 4, "judge": "human"}, None),
        ({"completions": 4, "judge": "http://x/v1"}, "6 judgements a prompt, 120 in all"),
        ({"completions": 8, "judge": "starter"}, "7 judgements a prompt, 140 in all"),
        ({"completions": 3, "judge": "starter", "epochs": 1.0}, "3 judgements a prompt"),
        ({"completions": 4, "judge": "rule:json"}, "each of 4 answers a prompt is scored once"),
        ({"completions": 4, "judge": "j.py:f"}, "at most 6 judgements a prompt, 120 in all"),
        ({"completions": 4, "judge": "j.py:f, starter"}, "6 judgements a prompt, 120 in all"),
    ],
)
def test_the_cost_is_told_before_the_start(values: dict[str, Any], cost: str | None) -> None:
    assert judging_cost(Settings(**{"iters": 10, "batch_size": 2, **values})) == cost


def test_more_answers_take_more_memory_to_sample() -> None:
    shape = Shape(layers=4, hidden=64, heads=4, kv_heads=2, head_width=16, feed_forward=128,
                  vocabulary=1000)  # fmt: skip
    few = Settings(batch_size=2, max_seq_length=256, max_completion_length=64)
    many = few.model_copy(update={"completions": 8})
    sizes = [step_memory.sampling(shape, each, float32=True) for each in (few, many)]
    assert 3 < sizes[1] / sizes[0] < 4
    assert step_memory.judging(shape, many, True) > 3 * step_memory.judging(shape, few, True)
    by_hand = {"judge": "human", "pairs_per_pick": "all"}
    scored = [
        step_memory.scoring(shape, each.model_copy(update=by_hand), True, False)
        for each in (few, many)
    ]
    assert scored[1] > 4 * scored[0]
