"""A person as the judge: a test plays the person, from the engine's side of the screen."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.data.pairs import JudgedPair, Pair, Verdict, prompt_id
from engine.events import Choice, PairSampled
from engine.judges.human import HumanJudge
from engine.runs.storage import StorageError
from tests.engine.small_models import pair


class Store:
    """Labels on a disk, which can be made to fail."""

    def __init__(self) -> None:
        self.labels: dict[str, Verdict] = {}
        self.broken = False
        self.order: list[str] = []

    def write(self, judged: Sequence[JudgedPair]) -> None:
        self.check()
        self.labels |= {each.pair.pair_id: each.verdict for each in judged}
        self.order += [each.pair.pair_id for each in judged]

    def claim(self, pair: Pair) -> Verdict | None:
        return None

    def retract(self, pair_ids: Collection[str]) -> None:
        self.check()
        for pair_id in pair_ids:
            self.labels.pop(pair_id, None)

    def find(self, pair_id: str) -> dict[str, Any] | None:
        if pair_id not in self.labels:
            return None
        step, _, index = pair_id.partition("-")
        each = batch(int(step), int(index) + 1)[-1]
        return JudgedPair(each, self.labels[pair_id]).to_record("human")

    def of_prompt(self, prompt: str) -> list[str]:
        return [each for each in self.labels if prompt_id(each) == prompt]

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        self.check()
        if choice is None:
            del self.labels[pair_id]
        else:
            self.labels[pair_id] = Verdict(choice)

    def check(self) -> None:
        if self.broken:
            raise StorageError(Path("pairs.jsonl"), OSError(28, "No space left on device"))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def shown() -> list[PairSampled]:
    return []


@pytest.fixture
def make(store: Store, shown: list[PairSampled]) -> Callable[..., HumanJudge]:
    def made(undo_seconds: float = 60, every: int = 0, seed: int = 0, **more: Any) -> HumanJudge:
        return HumanJudge(
            seed=seed,
            undo_seconds=undo_seconds,
            self_check_every=every,
            labels=store,
            show=shown.append,
            **more,
        )

    return made


Make = Callable[..., HumanJudge]


def batch(step: int, size: int = 1) -> list[Pair]:
    return [
        pair(index, step=step, prompt=f"{step} {index}?", first=f"a{step}{index}", second="b")
        for index in range(size)
    ]


def give(judge: HumanJudge, pair_id: str, text: str) -> None:
    """Press the side on which `text` is shown."""
    each = next(each for each in judge.waiting() if each.pair_id == pair_id)
    assert judge.answer(pair_id, "left" if each.left == text else "right")


# -- the hidden order ----------------------------------------------------------------------------


def test_the_order_is_hidden_random_and_stable(make: Make) -> None:
    pairs = [each for step in range(1, 101) for each in batch(step)]
    orders = []
    for seed in (0, 0, 1):
        judge = make(seed=seed)
        judge.submit(pairs)
        orders.append([each.left.startswith("a") for each in judge.waiting()])
        assert orders[-1] == [each.left.startswith("a") for each in judge.waiting()]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert 30 < sum(orders[0]) < 70


def test_the_side_pressed_is_the_text_that_wins(make: Make, store: Store) -> None:
    judge = make()
    pairs = batch(1, 20)
    judge.submit(pairs)
    for index, each in enumerate(pairs):
        give(judge, each.pair_id, each.first if index % 3 else each.second)
    assert [store.labels[each.pair_id].choice for each in pairs] == [
        "first" if index % 3 else "second" for index in range(20)
    ]


def test_what_is_shown_goes_together(make: Make) -> None:
    judge = make()
    for step in range(1, 30):
        each = pair(step=step, first="abc", second="defgh")
        judge.submit([each])
        shown = judge.waiting()[-1]
        sides = {
            (shown.left, shown.left_tokens, shown.left_cut),
            (shown.right, shown.right_tokens, shown.right_cut),
        }
        assert sides == {("abc", 4, False), ("defgh", 5, True)}
        assert (shown.pair_id, shown.prompt) == (each.pair_id, each.prompt)


# -- answers -------------------------------------------------------------------------------------


def test_a_label_is_stored_before_the_answer_returns(make: Make, store: Store) -> None:
    judge = make()
    judge.submit(batch(1))
    (each,) = judge.waiting()
    store.broken = True
    with pytest.raises(StorageError):
        judge.answer(each.pair_id, "left")
    assert [still.pair_id for still in judge.waiting()] == [each.pair_id]
    assert judge.collect() is None
    store.broken = False
    assert judge.answer(each.pair_id, "left", note="short", flagged=True)
    label = store.labels[each.pair_id]
    assert label.decided
    assert (label.note, label.flagged) == ("short", True)
    assert judge.waiting() == []


def test_a_second_press_is_ignored(make: Make, store: Store) -> None:
    judge = make()
    judge.submit(batch(1))
    (each,) = judge.waiting()
    assert judge.answer(each.pair_id, "left")
    assert not judge.answer(each.pair_id, "right")
    assert not judge.answer("0000009-000", "left")
    assert store.order == [each.pair_id]


def test_ties_bad_ones_and_skips_are_labels_without_a_winner(make: Make, store: Store) -> None:
    judge = make(undo_seconds=0)
    pairs = batch(1, 3)
    judge.submit(pairs)
    for each, answer in zip(pairs, ("tie", "both_bad", "skip"), strict=True):
        assert judge.answer(each.pair_id, answer)
    judged = judge.collect()
    assert judged is not None
    assert [each.verdict.choice for each in judged] == ["tie", "both_bad", "skip"]
    assert not any(each.decided for each in judged)
    assert len(store.labels) == 3


def test_presses_of_many_threads_count_once(make: Make, store: Store) -> None:
    judge = make()
    pairs = batch(1, 30)
    judge.submit(pairs)
    counted: list[str] = []

    def press() -> None:
        for each in pairs:
            if judge.answer(each.pair_id, "left"):
                counted.append(each.pair_id)

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counted) == sorted(store.order) == [each.pair_id for each in pairs]


# -- batches -------------------------------------------------------------------------------------


def test_a_batch_waits_for_all_its_answers_and_the_time_to_undo(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    judge = make(undo_seconds=2)
    one, other = pairs = batch(1, 2)
    judge.submit(pairs)
    assert judge.open_batches() == 1
    give(judge, one.pair_id, one.first)
    assert judge.settles_in() == float("inf")
    assert judge.collect() is None
    give(judge, other.pair_id, other.second)
    assert judge.open_batches() == 0
    now += 0.5
    assert judge.settles_in() == 1.5
    assert judge.collect() is None
    now += 1.5
    judged = judge.collect()
    assert judged is not None
    assert [(each.pair, each.verdict.choice) for each in judged] == [
        (one, "first"),
        (other, "second"),
    ]
    assert judge.collect() is None


def test_an_answer_to_a_later_pair_settles_a_batch(make: Make) -> None:
    judge = make(undo_seconds=1000)
    (one,), (other,) = batch(1), batch(2)
    judge.submit([one])
    judge.submit([other])
    give(judge, one.pair_id, one.first)
    assert judge.collect() is None
    give(judge, other.pair_id, other.first)
    assert judge.collect() is not None
    assert judge.collect() is None  # the later one is the newest now


def test_only_a_persons_answer_settles_a_batch(make: Make) -> None:
    """A later pair that nobody was asked about must not take the last answer's undo away."""
    judge = make(undo_seconds=1000)
    (one,) = batch(1)
    judge.submit([one])
    give(judge, one.pair_id, one.first)
    same = pair(0, step=2, first="x", second="x", second_finished=True)
    judge.submit([same])
    assert judge.collect() is None
    assert judge.undo(one.pair_id) == "undone"


def test_pairs_that_need_no_one_are_not_shown(make: Make, shown: list, store: Store) -> None:
    judge = make()
    same = pair(0, first="x", second="x", second_finished=True)
    empty = pair(1, first="", second=" ")
    judge.submit([same, empty])
    assert (shown, store.labels) == ([], {})
    judged = judge.collect()
    assert judged is not None
    assert [each.verdict.choice for each in judged] == ["identical", "empty"]


def test_a_full_disk_does_not_stop_the_loop(make: Make, store: Store) -> None:
    judge = make()
    store.broken = True
    judge.submit([pair(0, first="x", second="x", second_finished=True), *batch(2)])
    assert len(judge.waiting()) == 1


def test_the_loop_is_woken(make: Make) -> None:
    woken: list[int] = []
    judge = make(wake=lambda: woken.append(1))
    judge.submit(batch(1))
    assert not woken
    judge.answer(judge.waiting()[0].pair_id, "tie")
    assert woken


# -- undo ----------------------------------------------------------------------------------------


def test_undo_before_the_update(make: Make, store: Store, shown: list[PairSampled]) -> None:
    judge = make()
    (one,) = batch(1)
    judge.submit([one])
    give(judge, one.pair_id, one.first)
    assert judge.undo(one.pair_id) == "undone"
    assert store.labels == {}
    assert [each.pair_id for each in judge.waiting()] == [one.pair_id]
    assert shown[0].left == shown[1].left  # in the order it had
    assert judge.undo(one.pair_id) == "unknown"  # there is nothing to take back
    give(judge, one.pair_id, one.second)
    assert store.labels[one.pair_id].choice == "second"


def test_an_undo_after_the_update_takes_nothing_away(make: Make, store: Store) -> None:
    judge = make(undo_seconds=0)
    (one,) = batch(1)
    judge.submit([one])
    assert not judge.relabel(one.pair_id, "tie")
    give(judge, one.pair_id, one.first)
    assert not judge.relabel(one.pair_id, "tie")  # it can still be undone
    assert judge.collect() is not None
    assert judge.undo(one.pair_id) == "learned"
    assert store.labels[one.pair_id].choice == "first"
    assert judge.waiting() == []


@pytest.mark.parametrize("seed", range(4))  # of both hidden orders
def test_a_label_that_was_learned_from_is_changed_as_it_was_shown(
    seed: int, make: Make, store: Store
) -> None:
    judge = make(undo_seconds=0, seed=seed)
    (one,) = batch(1)
    judge.submit([one])
    (shown,) = judge.waiting()
    assert judge.answer(one.pair_id, "left")
    judge.collect()
    given = judge.given(one.pair_id)
    assert given is not None
    assert (given.left, given.right, given.shown) == (shown.left, shown.right, "left")
    for press, text in (("right", shown.right), ("left", shown.left)):
        assert judge.relabel(one.pair_id, press)  # type: ignore[arg-type]
        wanted = "first" if text == one.first else "second"
        assert store.labels[one.pair_id].choice == wanted
        assert (judge.given(one.pair_id) or given).shown == press
    assert judge.relabel(one.pair_id, "tie")
    assert (judge.given(one.pair_id) or given).shown == "tie"
    store.broken = True
    with pytest.raises(StorageError):
        judge.relabel(one.pair_id, None)
    assert store.labels[one.pair_id].choice == "tie"
    store.broken = False
    assert judge.relabel(one.pair_id, None)
    assert store.labels == {}
    assert judge.given(one.pair_id) is None
    assert judge.undo(one.pair_id) == "unknown"
    assert not judge.relabel(one.pair_id, "left")


def test_a_changed_label_is_never_compared_with_a_repeat(make: Make, store: Store) -> None:
    judge = make(undo_seconds=0, every=2)
    one, two = batch(1, 2)
    judge.submit([one, two])
    give(judge, one.pair_id, one.first)
    give(judge, two.pair_id, two.first)
    (repeat,) = judge.waiting()
    judge.collect()
    assert judge.relabel(repeat.pair_id.removesuffix("-again"), "tie")
    assert judge.answer(repeat.pair_id, "left")
    assert judge.agreement() == (0, 0)


def test_an_undo_that_cannot_be_written_undoes_nothing(make: Make, store: Store) -> None:
    judge = make()
    (one,) = batch(1)
    judge.submit([one])
    give(judge, one.pair_id, one.first)
    store.broken = True
    with pytest.raises(StorageError):
        judge.undo(one.pair_id)
    assert judge.waiting() == []
    assert store.labels[one.pair_id].choice == "first"


# -- the same pair again -------------------------------------------------------------------------


def test_short_sittings_count_together_until_a_pair_comes_again(make: Make) -> None:
    """A person who never labels as many at once is asked all the same."""
    judge = make(every=20)
    judge.restore({f"{number:07d}-000": Verdict("first") for number in range(18)})
    pairs = batch(18, 4)
    judge.submit(pairs)
    give(judge, pairs[0].pair_id, pairs[0].first)
    assert not any(each.repeat for each in judge.waiting())
    give(judge, pairs[1].pair_id, pairs[1].first)
    assert [each.repeat for each in judge.waiting()].count(True) == 1
    give(judge, pairs[2].pair_id, pairs[2].first)
    assert [each.repeat for each in judge.waiting()].count(True) == 1


def test_an_earlier_pair_comes_again_swapped(make: Make, store: Store) -> None:
    judge = make(every=3, undo_seconds=1000)
    pairs = [each for step in range(1, 7) for each in batch(step)]
    judge.submit(pairs)
    for each in pairs[:3]:
        give(judge, each.pair_id, each.first)
    again = judge.waiting()[0]
    assert again.repeat
    original = next(each for each in pairs if again.pair_id.startswith(each.pair_id))
    assert original in pairs[:2]  # not the one just answered
    fresh = make()
    fresh.submit([original])
    (first_time,) = fresh.waiting()
    assert (again.left, again.right) == (first_time.right, first_time.left)
    give(judge, again.pair_id, original.first)
    assert judge.agreement() == (1, 1)
    assert len(store.labels) == 3  # a repeat is no label
    for each in pairs[3:]:
        give(judge, each.pair_id, each.first)
    again = judge.waiting()[0]
    original = next(each for each in pairs if again.pair_id.startswith(each.pair_id))
    give(judge, again.pair_id, original.second)
    assert judge.agreement() == (1, 2)
    assert judge.undo(again.pair_id) == "unknown"
    assert len(store.labels) == 6


def test_a_skipped_repeat_says_nothing(make: Make) -> None:
    judge = make(every=2)
    pairs = batch(1, 2)
    judge.submit(pairs)
    for each in pairs:
        give(judge, each.pair_id, each.first)
    (again,) = judge.waiting()
    judge.answer(again.pair_id, "skip")
    assert judge.agreement() == (0, 0)


def test_repeats_come_every_so_many_answers_of_the_person(make: Make) -> None:
    judge = make(every=4)
    for step in range(1, 41):
        (each,) = batch(step)
        same = pair(1, step=step, first="x", second="x", second_finished=True)
        judge.submit([same, each])
        give(judge, each.pair_id, each.first)
        for repeat in judge.waiting():
            judge.answer(repeat.pair_id, "left")
    assert judge.agreement()[1] == 10


# -- after a restart -----------------------------------------------------------------------------


def test_what_was_answered_is_not_asked_again(make: Make, store: Store, shown: list) -> None:
    judge = make()
    pairs = batch(1, 3)
    judge.submit(pairs)
    give(judge, pairs[0].pair_id, pairs[0].second)
    judge.answer(pairs[1].pair_id, "skip")
    shown.clear()
    again = make(undo_seconds=0)
    again.restore(dict(store.labels))
    again.submit(pairs)
    assert [each.pair_id for each in again.waiting()] == [pairs[2].pair_id]
    assert [each.pair_id for each in shown] == [pairs[2].pair_id]
    assert store.order == [pairs[0].pair_id, pairs[1].pair_id]  # nor stored again
    give(again, pairs[2].pair_id, pairs[2].first)
    judged = again.collect()
    assert judged is not None
    assert [each.verdict.choice for each in judged] == ["second", "skip", "first"]


def test_a_batch_that_was_answered_is_collected_at_once(make: Make, store: Store) -> None:
    judge = make()
    (one,) = batch(1)
    judge.submit([one])
    give(judge, one.pair_id, one.first)
    again = make(undo_seconds=1000)
    again.restore(dict(store.labels))
    again.submit([one])
    assert again.collect() is not None
