"""A run watches its judge: it pauses where the first verdicts are not worth learning from."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.data.order import PromptOrder
from engine.data.pairs import JudgedPair, Verdict, verdict_of
from engine.events import Event, Log, Saved
from engine.judges import llm
from engine.runs import archive
from engine.session import Session
from engine.settings.schema import Settings, no_effect
from engine.train.state import TrainingState
from engine.train.watch.judge_watch import WATCHED, JudgeWatch
from tests.engine.small_models import pair, settings, write_model, write_prompts

TIMEOUT = 120.0  # seconds


def read(l1: float, l2: float) -> Verdict:
    return verdict_of(l1, l2, margin=0.05, ties="margin")


def at_chance(count: int, seed: int = 0, place: float = 1.0) -> list[Verdict]:
    """A judge that likes a place, and beside it answers by chance."""
    draw = random.Random(seed)
    return [read(place + draw.gauss(0, 1), place + draw.gauss(0, 1)) for _ in range(count)]


def honest(count: int, seed: int = 0, place: float = 1.0) -> list[Verdict]:
    """A judge that likes the place as much, and knows which answer is better."""
    draw = random.Random(seed)
    strengths = [draw.gauss(0, 1.5) for _ in range(count)]
    return [read(place + s + draw.gauss(0, 1), place - s + draw.gauss(0, 1)) for s in strengths]


def fed(verdicts: Sequence[Verdict], batch: int = 8) -> JudgeWatch:
    watch = JudgeWatch()
    judged = [JudgedPair(pair(index), verdict) for index, verdict in enumerate(verdicts)]
    for at in range(0, len(judged), batch):
        watch.add(judged[at : at + batch])
    return watch


INVALID = Verdict("invalid")


# -- what it says ----------------------------------------------------------------------------------


def test_an_honest_judge_is_passed_over_in_silence() -> None:
    assert all(fed(honest(WATCHED, seed)).fault() is None for seed in range(200))


def test_a_judge_at_chance_is_named_nineteen_times_in_twenty() -> None:
    assert sum(verdict.decided for verdict in at_chance(WATCHED)) > WATCHED / 2  # it looks busy
    faults = [fed(at_chance(WATCHED, seed)).fault() for seed in range(200)]
    named = [fault for fault in faults if fault is not None]
    assert len(named) / len(faults) == pytest.approx(0.95, abs=0.03)
    assert "has nothing in common, so its winners are chance; try a stronger judge" in named[0]
    assert "judge_watch: off" in named[0]


@pytest.mark.parametrize(("winners", "named"), [(3, True), (4, False)])
def test_fewer_than_a_tenth_with_a_winner(winners: int, named: bool) -> None:
    ties = [Verdict("tie", 0.5)] * (WATCHED - winners)
    fault = fed([*ties, *[Verdict("first", 0.9)] * winners]).fault()
    if not named:
        assert fault is None  # a function has no orders to compare
    else:
        assert fault is not None
        assert f"a winner in {winners} of its first 32 pairs" in fault
        assert "judge_margin" in fault


def test_verdicts_that_are_not_valid_are_named_too() -> None:
    fault = fed([*honest(4), *[INVALID] * WATCHED]).fault()
    assert fault is not None
    assert "32 of the judge's first 36 verdicts are not valid" in fault
    assert "judge_mode: generate" in fault


def test_a_function_is_to_be_mended_and_not_to_write() -> None:
    watch = fed([INVALID] * WATCHED)
    assert "judge_mode" in (watch.fault() or "")
    advice = watch.fault(by_model=False) or ""
    assert "mend the function" in advice
    assert "judge_mode" not in advice


def test_nothing_is_said_of_too_few_and_later_ones_change_nothing() -> None:
    assert fed(at_chance(WATCHED - 1, 1)).fault() is None
    assert fed([*honest(WATCHED), *at_chance(200)]).fault() is None
    assert fed([*at_chance(WATCHED, 1), *honest(200)]).fault() is not None
    assert fed([*[INVALID] * (WATCHED - 1), *at_chance(WATCHED - 1, 1)]).fault() is None


def test_pairs_that_no_judge_is_asked_about_do_not_count() -> None:
    watch = JudgeWatch()
    watch.add([JudgedPair(pair(first="same", second="same"), Verdict("identical"))] * 100)
    assert watch.state() == JudgeWatch().state()


def test_it_goes_on_from_its_state_as_json() -> None:
    verdicts = at_chance(WATCHED, 1)
    half = fed(verdicts[:20])
    again = JudgeWatch(json.loads(json.dumps(half.state())))
    for watch in (half, again):
        watch.add([JudgedPair(pair(index), each) for index, each in enumerate(verdicts[20:])])
    assert again.state() == half.state()
    assert again.fault() == half.fault() is not None


# -- a run -----------------------------------------------------------------------------------------


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Verdict]], None]:
    """Lets the judge give the verdicts of a function of how many it gave before."""

    def let(give: Callable[[int], Verdict]) -> None:
        monkeypatch.setattr(llm, "LEAST_MASS", 0.0)
        given = iter(range(10**6))
        monkeypatch.setattr(llm, "verdict_of", lambda *_, **__: give(next(given)))

    return let


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 60)
    return folder


@pytest.fixture
def chosen(files: Path) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        small = {
            "model": str(files / "policy"),
            "judge": str(files / "policy"),
            "data": str(files / "prompts.jsonl"),
            "iters": 12,
            "batch_size": 5,  # 35 pairs after 7 steps
            "steps_per_eval": -1,
            "test": False,
            "save_every": 4,
            "max_completion_length": 6,
            "judge_watch": "pause",
        }
        return settings(**{**small, **values})

    return make


Choose = Callable[..., Settings]
Let = Callable[[Callable[[int], Verdict]], None]


def chance(index: int) -> Verdict:
    return at_chance(1, seed=index)[0]


def good(index: int) -> Verdict:
    return honest(1, seed=index)[0]


def run_to_its_end(session: Session) -> list[Event]:
    session.start()
    assert session.join(TIMEOUT)
    return session.drain()


def logged(events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    return ((event.level, event.text) for event in events if isinstance(event, Log))


def test_where_nobody_could_go_on_it_stops_with_a_checkpoint_and_goes_on_when_resumed(
    chosen: Choose, verdicts: Let
) -> None:
    verdicts(chance)
    session = Session(chosen())
    run_to_its_end(session)
    assert session.status == "stopped"
    assert (session.error or "").startswith("stopped with a checkpoint: what the judge reads")
    assert session.run is not None
    assert [int(each.name) for each in session.run.checkpoints()][-1] == 7
    again = Session(session.run.settings(), archive.open_run(session.run.path))
    events = run_to_its_end(again)
    assert again.status == "finished", again.error
    assert not any("judge_watch" in text for _, text in logged(events))


def test_with_an_honest_judge_nothing_is_said(chosen: Choose, verdicts: Let) -> None:
    verdicts(good)
    session = Session(chosen())
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    assert not any("judge_watch" in text for _, text in logged(events))


def test_beside_a_screen_it_pauses_and_who_sits_there_lets_it_go_on(
    chosen: Choose, verdicts: Let
) -> None:
    verdicts(chance)
    session = Session(chosen(), beside_screen=True)
    seen: list[Event] = []
    session.start()
    end = time.monotonic() + TIMEOUT
    while session.status != "paused":
        assert time.monotonic() < end
        assert session.alive, session.error
        time.sleep(0.01)
    seen += session.drain()
    assert [event.step for event in seen if isinstance(event, Saved)][-1] == 7
    [(_, text)] = [each for each in logged(seen) if each[0] == "error"]
    assert text.startswith("paused with a checkpoint: what the judge reads in its first 32 pairs")
    session.unpause()
    assert session.join(TIMEOUT)
    assert session.status == "finished", session.error


@pytest.mark.parametrize(("watch", "times"), [("warn", 1), ("off", 0)])
def test_it_only_warns_or_says_nothing(
    watch: str, times: int, chosen: Choose, verdicts: Let
) -> None:
    verdicts(chance)
    session = Session(chosen(judge_watch=watch))
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    warned = [level for level, text in logged(events) if "are chance" in text]
    assert warned == ["warning"] * times


def test_at_the_last_step_there_is_nothing_to_pause_for(chosen: Choose, verdicts: Let) -> None:
    verdicts(chance)
    session = Session(chosen(iters=7))
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    assert [level for level, text in logged(events) if "are chance" in text] == ["warning"]


def test_a_run_that_was_cut_in_between_stops_at_the_same_step(
    chosen: Choose, verdicts: Let, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts(chance)
    session = Session(chosen())

    def cut(self: JudgeWatch, **_: object) -> None:
        if self._valid > 20:  # pairs: after the checkpoint of step 4
            session.stop()

    with monkeypatch.context() as patch:
        patch.setattr(JudgeWatch, "fault", cut)
        run_to_its_end(session)
    assert (session.status, session.error) == ("stopped", None)
    assert session.run is not None
    assert int(session.run.checkpoints()[-1].name) == 5
    again = Session(session.run.settings(), archive.open_run(session.run.path))
    run_to_its_end(again)
    assert (again.error or "").startswith("stopped with a checkpoint: what the judge reads")
    assert int(session.run.checkpoints()[-1].name) == 7


def test_a_run_of_before_goes_on_unwatched() -> None:
    state = TrainingState(PromptOrder(10, 0))
    before = state.to_json(())
    del before["judge_watch"]
    state.restore(before)
    state.judge_watch.add([JudgedPair(pair(), each) for each in at_chance(WATCHED, 1)])
    assert state.judge_watch.fault() is None


def test_a_person_is_not_watched() -> None:
    assert "judge_watch" in no_effect(settings(judge="human"))
    assert "judge_watch" not in no_effect(settings(judge="rule:json"))
