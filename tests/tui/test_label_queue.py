"""Labelling without a screen, against the engine's own human judge."""

from collections.abc import Collection, Iterator, Sequence

import pytest

from engine.data.pairs import JudgedPair, Pair, Verdict, prompt_id
from engine.events import Choice
from engine.judges.human import HumanJudge
from engine.runs.archive import create
from engine.settings.schema import Settings
from tui.review.label_queue import LabelQueue, PastLabel, earlier_labels, labels_a_minute

pytestmark = pytest.mark.quick


def pair(step: int, index: int) -> Pair:
    return Pair(
        pair_id=f"{step:07d}-{index:03d}",
        step=step,
        weights_step=step - 1,
        prompt="Say something.",
        prompt_ids=(1,),
        first=f"first of {step}.{index}",
        second=f"second of {step}.{index}",
        first_ids=(2, 3),
        second_ids=(4,),
        first_finished=True,
        second_finished=False,
    )


class Labels:
    """The store of a judge, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Verdict] = {}
        self.full = False

    def write(self, judged: Sequence[JudgedPair]) -> None:
        if self.full:
            raise OSError("no space")
        self.kept |= {each.pair.pair_id: each.verdict for each in judged}

    def claim(self, pair: Pair) -> Verdict | None:
        return None

    def retract(self, pair_ids: Collection[str]) -> None:
        if self.full:
            raise OSError("no space")
        for pair_id in pair_ids:
            del self.kept[pair_id]

    def find(self, pair_id: str) -> dict[str, str] | None:
        verdict = self.kept.get(pair_id)
        return {"prompt": "?", "choice": verdict.choice} if verdict else None

    def of_prompt(self, prompt: str) -> list[str]:
        return [each for each in self.kept if prompt_id(each) == prompt]

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        if choice:
            self.kept[pair_id] = Verdict(choice)
        else:
            del self.kept[pair_id]


@pytest.fixture
def labels() -> Labels:
    return Labels()


@pytest.fixture
def judge(labels: Labels) -> HumanJudge:
    return human(labels)


def human(labels: Labels, every: int = 0) -> HumanJudge:
    return HumanJudge(
        seed=0,
        undo_seconds=0,
        self_check_every=every,
        labels=labels,
        show=lambda event: None,
    )


@pytest.fixture
def queue(judge: HumanJudge) -> LabelQueue:
    ticks: Iterator[float] = iter(range(0, 1000, 3))
    return LabelQueue(judge, clock=lambda: next(ticks))


def batch(step: int, size: int = 3) -> list[Pair]:
    return [pair(step, index) for index in range(size)]


def test_pairs_come_in_order_and_the_shown_one_stays(judge: HumanJudge, queue: LabelQueue) -> None:
    assert queue.refresh() is None
    judge.submit(batch(1))
    first = queue.refresh()
    assert first is not None
    assert first.pair_id == "0000001-000"
    judge.submit(batch(2))
    assert queue.refresh() == first
    assert queue.give("left")
    following = queue.refresh()
    assert following is not None
    assert following.pair_id == "0000001-001"


def test_place_counts_batch_run_and_waiting(judge: HumanJudge, queue: LabelQueue) -> None:
    judge.submit(batch(1))
    judge.submit(batch(2))
    places = []
    for _ in range(4):
        queue.refresh()
        place = queue.place()
        places.append((place.index, place.batch, place.of_run, place.waiting))
        queue.give("tie")
    assert places == [(1, 3, 1, 5), (2, 3, 2, 4), (3, 3, 3, 3), (1, 3, 4, 2)]


def test_second_press_changes_nothing(judge: HumanJudge, labels: Labels, queue: LabelQueue) -> None:
    judge.submit(batch(1))
    queue.refresh()
    assert queue.give("tie")
    assert not queue.give("skip")
    assert labels.kept == {"0000001-000": Verdict("tie")}


def test_note_and_flag_go_with_their_pair(
    judge: HumanJudge, labels: Labels, queue: LabelQueue
) -> None:
    judge.submit(batch(1))
    queue.refresh()
    queue.remark().note = "both miss the point"
    queue.remark().flagged = True
    queue.give("both_bad")
    queue.refresh()
    assert (queue.remark().note, queue.remark().flagged) == ("", False)
    kept = labels.kept["0000001-000"]
    assert (kept.note, kept.flagged) == ("both miss the point", True)


@pytest.mark.parametrize("by", ["undo", "take_back"])
def test_what_was_said_of_a_pair_comes_back_with_it(
    judge: HumanJudge, labels: Labels, queue: LabelQueue, by: str
) -> None:
    judge.submit(batch(1))
    queue.refresh()
    queue.remark().note, queue.remark().flagged = "both miss the point", True
    queue.give("left")
    assert (queue.undo() if by == "undo" else queue.take_back("0000001-000")) == "undone"
    queue.refresh()
    assert (queue.remark().note, queue.remark().flagged) == ("both miss the point", True)
    queue.give("right")
    assert labels.kept["0000001-000"].note == "both miss the point"


def test_undo_shows_the_pair_again_and_walks_back(judge: HumanJudge, queue: LabelQueue) -> None:
    judge.submit(batch(1))
    for _ in range(2):
        queue.refresh()
        queue.give("left")
    assert [queue.undo(), queue.undo(), queue.undo()] == ["undone", "undone", "nothing"]
    again = queue.refresh()
    assert again is not None
    assert again.pair_id == "0000001-000"


def test_a_label_that_was_learned_from_is_changed_only_when_asked(
    judge: HumanJudge, labels: Labels, queue: LabelQueue
) -> None:
    judge.submit(batch(1, 2))
    for shown in ("left", "tie"):
        queue.refresh()
        queue.give(shown)
    assert judge.collect()
    before = dict(labels.kept)
    assert [queue.undo(), queue.undo()] == ["learned", "learned"]
    assert labels.kept == before
    assert [label and label.shown for label in (queue.label(), queue.label(1), queue.label(2))] == [
        "tie",
        "left",
        None,
    ]
    assert queue.relabel("0000001-001", "left")
    assert labels.kept["0000001-001"].decided
    assert (queue.label() or before) != before
    assert queue.place().of_run == 3
    assert queue.relabel("0000001-001", None)
    assert list(labels.kept) == ["0000001-000"]
    assert queue.place().of_run == 2
    assert not queue.relabel("0000001-001", "left")


def test_a_failed_write_loses_nothing(judge: HumanJudge, labels: Labels, queue: LabelQueue) -> None:
    judge.submit(batch(1))
    shown = queue.refresh()
    labels.full = True
    with pytest.raises(OSError, match="no space"):
        queue.give("left")
    labels.full = False
    assert queue.refresh() == shown
    assert queue.give("left")
    labels.full = True
    with pytest.raises(OSError, match="no space"):
        queue.undo()
    labels.full = False
    assert queue.undo() == "undone"


def test_a_repeat_looks_like_any_pair(labels: Labels) -> None:
    """Shown again swapped, it takes the next pair's place, and undoing it touches no label."""
    judge = human(labels, every=2)
    queue = LabelQueue(judge)
    judge.submit(batch(1, 4))
    for _ in range(2):
        queue.refresh()
        queue.give("left")
    repeat = queue.refresh()
    assert repeat is not None
    assert repeat.repeat
    assert (queue.place().index, queue.place().batch, queue.place().of_run) == (3, 4, 3)
    queue.give("left")
    assert judge.agreement() == (0, 1)
    assert queue.undo() == "check"
    assert len(labels.kept) == 2


def test_labels_a_minute_ignores_breaks() -> None:
    assert labels_a_minute([]) is None
    assert labels_a_minute([5.0]) is None
    assert labels_a_minute([0, 3, 6, 9]) == 20
    assert labels_a_minute([0, 3, 6, 900, 903, 906]) == 20
    assert labels_a_minute([4.0, 4.0, 4.0]) is None


def test_earlier_sittings_are_read_from_the_run() -> None:
    run = create(Settings(model="starter", judge="human"))
    lines = [
        JudgedPair(pair(1, 0), Verdict("second")).to_record("human"),
        JudgedPair(pair(2, 0), Verdict("first")).to_record("x"),
    ]
    run.append("pairs.jsonl", lines)
    undecided = [
        JudgedPair(pair(1, 1), Verdict("tie")).to_record("human"),
        JudgedPair(pair(1, 2), Verdict("identical")).to_record("human"),
    ]
    run.append("undecided.jsonl", undecided)
    assert earlier_labels(run) == [PastLabel("0000001-000", 1), PastLabel("0000001-001", 1)]
