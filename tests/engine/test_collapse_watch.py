"""A run watches its text: it pauses where it breaks, with a checkpoint from before kept."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.data.order import PromptOrder
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.events import Event, Log
from engine.runs import archive
from engine.session import Session
from engine.settings.files import preset
from engine.settings.schema import Settings
from engine.train.state import TrainingState
from engine.train.update import StepResult
from engine.train.watch import collapse_watch
from engine.train.watch.collapse_watch import CHECKPOINT_EVERY, CollapseWatch, Counts

TIMEOUT = 240.0  # seconds
WORDS = [f"word{index}" for index in range(400)]
CHOSEN = Verdict("first")


def whole(draw: random.Random, length: int = 24) -> tuple[str, list[int], bool]:
    """A completion of words that differ, a token each, and its end."""
    picked = draw.sample(range(len(WORDS)), length - 1)
    return " ".join(WORDS[each] for each in picked), [*picked, 999], True


def looping(draw: random.Random) -> tuple[str, list[int], bool]:
    """A few words again and again, up to the limit."""
    few = draw.sample(range(len(WORDS)), 5)
    return " ".join(WORDS[each] for each in few * 12), few * 12, False


def one_word(draw: random.Random) -> tuple[str, list[int], bool]:
    """One endless word of tokens that differ."""
    ids = draw.sample(range(len(WORDS)), 60)
    return "".join(WORDS[each] for each in ids), ids, False


def judged(step: int, texts: Sequence[tuple[str, list[int], bool]]) -> list[JudgedPair]:
    """A batch whose pairs are two completions each."""
    return [
        JudgedPair(
            Pair(
                pair_id=f"{step:07d}-{at:03d}",
                step=step,
                weights_step=step - 1,
                prompt="p",
                prompt_ids=(1,),
                first=first[0],
                second=second[0],
                first_ids=tuple(first[1]),
                second_ids=tuple(second[1]),
                first_finished=first[2],
                second_finished=second[2],
            ),
            CHOSEN,
        )
        for at, (first, second) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]


def fed(
    watch: CollapseWatch,
    make: Any,
    steps: range,
    *,
    pairs: int = 1,
    kl: float = 1.0,
    draw: random.Random | None = None,
) -> str | None:
    """The first fault of some steps of completions that `make` makes."""
    draw = draw or random.Random(steps.start)
    for step in steps:
        batch = judged(step, [make(draw) for _ in range(2 * pairs)])
        tokens = sum(len(each.chosen_ids) + len(each.rejected_ids) for each in batch)
        watch.add(batch, StepResult(len(batch), {"kl": kl}, tokens=tokens))
        if fault := watch.fault():
            return fault
    return None


# -- what it says ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [1, 16])
def test_whole_text_is_passed_over_in_silence(pairs: int) -> None:
    for seed in range(20):
        watch = CollapseWatch()
        assert fed(watch, whole, range(1, 101), pairs=pairs, draw=random.Random(seed)) is None


def test_answers_that_grow_short_on_purpose_are_no_break() -> None:
    watch = CollapseWatch()
    assert fed(watch, whole, range(1, 20)) is None
    assert fed(watch, lambda draw: whole(draw, 4), range(20, 60), kl=5.0) is None
    assert fed(watch, lambda draw: whole(draw, 2), range(60, 90), kl=6.0) is None


@pytest.mark.parametrize("pairs", [1, 4, 16])
@pytest.mark.parametrize(
    ("broken", "named"),
    [(looping, "repeat themselves"), (one_word, "have few words")],
)
def test_text_that_breaks_is_named_within_few_steps(broken: Any, named: str, pairs: int) -> None:
    watch = CollapseWatch()
    assert fed(watch, whole, range(1, 31), pairs=pairs) is None
    most = -(-collapse_watch.LEAST // (2 * pairs))
    fault = fed(watch, broken, range(31, 31 + most), pairs=pairs)
    assert fault is not None
    if pairs == 16:  # with one pair a step, what is seen first is named
        assert named in fault
        assert "no longer end by themselves (0 of 32 do, at first 32 of 32)" in fault


def test_a_policy_far_from_its_reference_is_named_from_the_second_step_on() -> None:
    watch = CollapseWatch()
    fault = fed(watch, whole, range(1, 10), kl=40.0)
    assert fault is not None
    assert "1.7 nats a token" in fault


def test_pairs_that_a_price_on_length_alone_has_decided_count() -> None:
    watch, draw = CollapseWatch(), random.Random(0)
    batch = judged(1, [whole(draw) for _ in range(2 * collapse_watch.LEAST)])
    ties = [replace(each, verdict=Verdict("tie", 0.5)) for each in batch]
    tokens = 24 * 2 * len(ties)
    watch.add(ties, StepResult(len(ties), {"kl": 6.0}, tokens=tokens))
    assert watch.fault() is None
    watch.add(ties, StepResult(len(ties), {"kl": 40.0}, tokens=tokens))
    assert "1.7 nats a token" in (watch.fault() or "")


def test_ends_are_compared_with_those_of_the_start() -> None:
    def never(draw: random.Random) -> tuple[str, list[int], bool]:
        text, ids, _ = whole(draw)
        return text, ids, False

    def half(draw: random.Random) -> tuple[str, list[int], bool]:
        text, ids, _ = whole(draw)
        return text, ids, draw.random() < 0.5

    assert fed(CollapseWatch(), never, range(1, 60)) is None  # the model never ended
    for seed in range(20):
        assert fed(CollapseWatch(), half, range(1, 60), draw=random.Random(seed)) is None


def test_a_script_without_spaces_has_words_too() -> None:
    text = "水はゼロ度で凍り百度で沸騰します。"
    pair = judged(1, [(text, list(range(10)), True)] * 2)
    assert collapse_watch.counted(pair, StepResult(0, {})).words == 2 * len(set(text) - {"。"})


def test_the_checkpoint_that_is_named_is_from_before_what_broke() -> None:
    watch = CollapseWatch()
    watch.add_checkpoint(0)
    for step in range(1, 26):
        assert fed(watch, whole, range(step, step + 1), pairs=4) is None
        if watch.checkpoint_due(step, 1):
            watch.add_checkpoint(step)
    assert watch.checkpoints == [10, 20]
    assert fed(watch, looping, range(26, 28), pairs=4) is not None
    assert watch.sound_step() == 20

    early = CollapseWatch({**watch.state(), "newest": [[20, [0] * 9]], "checkpoints": [10, 20]})
    assert early.sound_step() == 10  # those of step 20 wrote what is looked at


def test_checkpoints_are_due_every_ten_updates() -> None:
    watch = CollapseWatch()
    due = [step for step in range(81) if watch.checkpoint_due(step, 4)]
    assert due == [0, 4 * CHECKPOINT_EVERY, 8 * CHECKPOINT_EVERY]


def test_it_goes_on_from_its_state_as_json() -> None:
    one = CollapseWatch()
    one.add_checkpoint(0)
    assert fed(one, whole, range(1, 12), pairs=2) is None
    other = CollapseWatch(json.loads(json.dumps(one.state())))
    assert other.state() == one.state()
    assert fed(one, looping, range(12, 20)) == fed(other, looping, range(12, 20))
    assert other.state() == one.state()
    assert Counts(*one.state()["first"]).completions >= collapse_watch.LEAST


def test_a_run_of_before_goes_on_unwatched() -> None:
    state = TrainingState(PromptOrder(10, 0))
    before = state.to_json(())
    del before["collapse_watch"]
    state.restore(before)
    assert state.collapse_watch.over


# -- a run -----------------------------------------------------------------------------------------


def breaking(tmp_path: Path, **values: Any) -> Settings:
    """The starter at thirty times its rate, with a judge that takes no time."""
    small = {
        "learning_rate": 8.0,
        "max_grad_norm": 1.5,
        "judge": "rule:length",
        "batch_size": 4,
        "iters": 8,
        "max_completion_length": 24,
        "steps_per_eval": -1,
        "test": False,
        "fuse": False,
        "save_every": 1,
        "output_root": str(tmp_path),
    }
    return Settings.model_validate(preset("starter").model_dump() | small | values)


def run_to_its_end(session: Session) -> list[Event]:
    session.start()
    assert session.join(TIMEOUT)
    return session.drain()


def steps(session: Session) -> list[int]:
    assert session.run is not None
    return [int(each.name) for each in session.run.checkpoints()]


def test_where_nobody_could_go_on_it_stops_and_keeps_the_sound_checkpoint(tmp_path: Path) -> None:
    session = Session(breaking(tmp_path))
    run_to_its_end(session)
    assert session.status == "stopped"
    error = session.error or ""
    assert "the text has broken: answers " in error
    assert "the checkpoint of step 0, from before, is kept" in error
    assert "lower learning_rate, a higher beta or a lower lora_parameters.scale" in error
    reached = steps(session)[-1]
    assert 2 <= reached <= 7
    assert steps(session)[0] == 0
    assert session.run is not None
    again = Session(session.run.settings(), archive.open_run(session.run.path))
    events = run_to_its_end(again)
    assert again.status == "finished", again.error
    assert not any("has broken" in event.text for event in events if isinstance(event, Log))
    assert steps(again)[0] == 0  # still, after more checkpoints than are kept


def test_a_run_that_was_cut_in_between_stops_at_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = Session(breaking(tmp_path))
    run_to_its_end(unbroken)

    session = Session(breaking(tmp_path, run_name="cut"))
    whole_add = CollapseWatch.add

    def cut(self: CollapseWatch, *what: Any) -> None:
        whole_add(self, *what)
        session.stop()

    with monkeypatch.context() as patch:
        patch.setattr(CollapseWatch, "add", cut)
        run_to_its_end(session)
    assert (session.status, session.error) == ("stopped", None)
    assert session.run is not None
    again = Session(session.run.settings(), archive.open_run(session.run.path))
    run_to_its_end(again)
    assert again.error == unbroken.error
    assert steps(again) == steps(unbroken)


def test_beside_a_screen_it_pauses_and_who_sits_there_lets_it_go_on(tmp_path: Path) -> None:
    session = Session(breaking(tmp_path), beside_screen=True)
    session.start()
    end = time.monotonic() + TIMEOUT
    while session.status != "paused":
        assert time.monotonic() < end
        assert session.alive, session.error
        time.sleep(0.01)
    logged = [event for event in session.drain() if isinstance(event, Log)]
    [error] = [event.text for event in logged if event.level == "error"]
    assert error.startswith("paused with a checkpoint: step ")
    session.unpause()
    assert session.join(TIMEOUT)
    assert session.status == "finished", session.error


@pytest.mark.parametrize(("watch", "times"), [("warn", 1), ("off", 0)])
def test_it_only_warns_or_says_nothing(watch: str, times: int, tmp_path: Path) -> None:
    session = Session(breaking(tmp_path, collapse_watch=watch, iters=5))
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    warned = [
        event.level for event in events if isinstance(event, Log) and "has broken" in event.text
    ]
    assert warned == ["warning"] * times
    assert (0 in steps(session)) == (watch == "warn")
