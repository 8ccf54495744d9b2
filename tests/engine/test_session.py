"""A run on its thread: a person played through it, stopped, resumed, paused and refused."""

import ctypes
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.errors import RunError, UserError
from engine.events import (
    Event,
    EventBuffer,
    Log,
    PairSampled,
    RunEnded,
    RunStarted,
    StepDone,
    Writing,
)
from engine.runs import archive, remote
from engine.runs.folder import RETRACTED, WAITING, Run, write_state
from engine.runs.lock import RunBusy
from engine.session import Session
from engine.settings.schema import Settings
from engine.train import engine_thread, online_dpo, writing
from tests.engine.small_models import settings, write_model, write_prompts

TIMEOUT = 60  # seconds until a run that does not move is a failure


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 12)
    return folder


@pytest.fixture
def chosen(files: Path) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        person = {
            "model": str(files / "policy"),
            "data": str(files / "prompts.jsonl"),
            "judge": "human",
            "undo_seconds": 0.05,
            "self_check_every": 0,
            "batch_size": 1,
            "iters": 6,
            "save_every": 3,
            "steps_per_report": 2,
            "max_completion_length": 5,
            "run_name": "mine",
        }
        return settings(**{**person, **values})

    return make


@pytest.fixture
def started() -> Iterator[Callable[..., Session]]:
    sessions: list[Session] = []

    def start(
        settings: Settings | None = None, run: Any = None, session: Session | None = None
    ) -> Session:
        if session is None:
            assert settings is not None
            session = Session(settings, run)
        sessions.append(session)
        session.start()
        return session

    yield start
    for session in sessions:
        session.stop()
        assert session.join(TIMEOUT)


Start = Callable[..., Session]
Choose = Callable[..., Settings]


def until(condition: Callable[[], Any], session: Session) -> Any:
    """Wait for what a run is going to do; fail where it ends or hangs before."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if value := condition():
            return value
        assert session.alive, session.error
        time.sleep(0.005)
    raise AssertionError("the run does not move")


def next_pair(session: Session) -> PairSampled:
    return until(session.waiting, session)[0]


def labels(run: archive.Run) -> dict[str, dict[str, Any]]:
    lines = [line for file in ("pairs.jsonl", "undecided.jsonl") for line in run.read(file)]
    ids = [line["pair_id"] for line in lines]
    assert len(ids) == len(set(ids))  # no pair is labelled twice
    return {line["pair_id"]: line for line in lines}


def play(session: Session, presses: Callable[[PairSampled], Any]) -> list[PairSampled]:
    """Answer whatever is asked until the run ends; returns the pairs in the order asked."""
    asked = []
    while session.alive:
        for each in session.waiting()[:1]:
            if session.answer(each.pair_id, presses(each)):
                asked.append(each)
        time.sleep(0.003)
    session.join()
    return asked


def test_a_person_trains_a_run(started: Start, chosen: Choose) -> None:
    session = started(chosen())
    kinds = iter(["left", "right", "tie", "left", "both_bad", "skip"] * 3)
    given: dict[str, str] = {}

    def press(each: PairSampled) -> str:
        given[each.pair_id] = next(kinds)
        return given[each.pair_id]

    asked = play(session, press)
    assert (session.status, session.error) == ("finished", None)
    assert session.run is not None
    kept = labels(session.run)
    texts = {each.pair_id: {"left": each.left, "right": each.right} for each in asked}
    for pair_id, pressed in given.items():
        line = kept[pair_id]
        if pressed in ("left", "right"):
            assert line["chosen"] == texts[pair_id][pressed]
            assert line["judge"] == "human"
        else:
            assert line["choice"] == pressed
            assert "chosen" not in line
    events = session.drain()
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    decided = {
        int(pair_id[:7]) for pair_id, pressed in given.items() if pressed in ("left", "right")
    }
    assert {step.step for step in steps if step.metrics["trained_pairs"]} == decided
    assert [type(event) for event in events].count(RunEnded) == 1
    assert session.run.state()["pairs"] == len(given)
    assert not any("win_rate" in line for line in session.run.read("metrics.jsonl"))


def test_one_who_waits_for_a_pair_sees_it_being_written(
    started: Start, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SECONDS", 0.0)
    told: list[Writing] = []
    put = EventBuffer.put

    def listen(buffer: EventBuffer, event: Event) -> None:
        told.extend([event] if isinstance(event, Writing) else [])
        put(buffer, event)

    monkeypatch.setattr(EventBuffer, "put", listen)
    session = started(chosen(iters=1))
    asked = play(session, lambda each: "left")
    assert session.status == "finished"
    texts = {each.prompt: {each.left, each.right} for each in asked}
    assert told
    for event in told:
        assert len(event.texts) == 2
        for text in event.texts:
            begun = [each for each in texts.get(event.prompt, set()) if each.startswith(text)]
            assert begun or event.prompt not in texts


def test_a_pair_waits_while_another_is_judged(started: Start, chosen: Choose) -> None:
    session = started(chosen(undo_seconds=1000))
    until(lambda: len(session.waiting()) >= 2, session)
    first, second = session.waiting()[:2]
    assert (first.step, second.step) == (1, 2)
    assert session.answer(first.pair_id, "left")
    until(lambda: len(session.waiting()) >= 2, session)
    # Answered, but neither later answered nor long ago: it can still be undone.
    assert session.undo(first.pair_id) == "undone"
    assert session.waiting()[0].pair_id == first.pair_id


def test_one_who_answers_faster_than_pairs_are_made_sees_the_policy_change(
    started: Start, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = chosen(iters=12, undo_seconds=0)
    ages: list[int] = []
    sampled = online_dpo.sample

    def press(each: PairSampled) -> Literal["left"]:
        ages.append(each.step - each.weights_step)
        return "left"

    def sample_slowly(*given: Any, **named: Any) -> Any:
        # The person has answered all there is before the next pairs are there.
        for each in session.waiting():
            assert session.answer(each.pair_id, press(each))
        return sampled(*given, **named)

    monkeypatch.setattr(online_dpo, "sample", sample_slowly)
    session = Session(settings)
    started(session=session)
    play(session, press)
    assert (session.status, session.error) == ("finished", None)
    assert max(ages) <= settings.lookahead_batches + 2


def test_a_label_is_on_the_disk_when_the_answer_returns(started: Start, chosen: Choose) -> None:
    session = started(chosen(undo_seconds=1000))
    each = next_pair(session)
    assert session.run is not None
    assert session.answer(each.pair_id, "left", note="why", flagged=True)
    (line,) = session.run.read("pairs.jsonl")
    assert (line["chosen"], line["note"], line["flagged"]) == (each.left, "why", True)
    assert not session.answer(each.pair_id, "right")
    assert len(list(session.run.read("pairs.jsonl"))) == 1


def test_a_label_that_was_learned_from_can_be_changed_and_removed(
    started: Start, chosen: Choose
) -> None:
    session = started(chosen())
    each = next_pair(session)
    session.answer(each.pair_id, "left")
    assert session.run is not None
    until(lambda: any(isinstance(event, StepDone) for event in session.drain()), session)
    before = labels(session.run)[each.pair_id]
    assert session.undo(each.pair_id) == "learned"
    assert labels(session.run)[each.pair_id] == before
    given = session.given(each.pair_id)
    assert given is not None
    assert (given.left, given.right, given.shown) == (each.left, each.right, "left")
    assert session.relabel(each.pair_id, "right")
    after = labels(session.run)[each.pair_id]
    assert after["chosen"] == each.right
    assert after["was"] == {"choice": before["choice"], "judge": "human"}
    assert session.relabel(each.pair_id, "tie")
    assert [line["choice"] for line in session.run.read("undecided.jsonl")] == ["tie"]
    assert list(session.run.read("pairs.jsonl")) == []
    session.stop()
    assert session.join(TIMEOUT)
    again = started(session.settings, session.run)
    assert each.pair_id not in {other.pair_id for other in until(again.waiting, again)}
    assert labels(session.run)[each.pair_id]["choice"] == "tie"
    assert again.relabel(each.pair_id, None)
    assert labels(session.run) == {}
    assert again.given(each.pair_id) is None


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("answers", [0, 1, 4])
def test_nothing_is_asked_twice(
    answers: int, killed: bool, started: Start, chosen: Choose, tmp_path: Path
) -> None:
    values = chosen(iters=7, batch_size=2, save_every=2, output_root=str(tmp_path / "one"))
    session = started(values)
    given: dict[str, PairSampled] = {}
    while len(given) < answers:
        each = next_pair(session)
        assert session.answer(each.pair_id, "left")
        given[each.pair_id] = each
    waiting = until(session.waiting, session)
    assert session.run is not None
    if killed:  # the folder as a kill at this instant would leave it
        folder = tmp_path / "two" / "runs" / session.run.name
        shutil.copytree(session.run.path, folder)
        run = archive.Run(folder)
    else:
        session.stop()
        assert session.join(TIMEOUT)
        assert session.status == "stopped"
        run = session.run
    before = {pair_id: line["chosen"] for pair_id, line in labels(run).items() if "chosen" in line}
    assert before == {pair_id: each.left for pair_id, each in given.items()}
    again = started(values, run)
    same = {each.pair_id: each for each in until(again.waiting, again)}
    for each in waiting:  # what waited comes back, in the same hidden order
        assert (same[each.pair_id].left, same[each.pair_id].right) == (each.left, each.right)
    asked = play(again, lambda each: "right")
    assert again.status == "finished"
    assert not {each.pair_id for each in asked} & set(given)
    kept = labels(run)
    assert {pair_id: kept[pair_id]["chosen"] for pair_id in given} == before
    assert {line["step"] for line in kept.values()} == set(range(1, 8))


def test_foreign_lines_in_a_run_are_passed_over(started: Start, chosen: Choose) -> None:
    session = started(chosen())
    for _ in range(2):
        assert session.answer(next_pair(session).pair_id, "left")
    session.stop()
    assert session.join(TIMEOUT)
    assert session.run is not None
    strangers = {
        "pairs.jsonl": [{"prompt": "p", "chosen": "c", "rejected": "r"}],
        "sampled.jsonl": [{"step": "x"}, {"step": 9}, {"step": 9, "pairs": [3], "order": {}}],
    }
    for file, lines in strangers.items():
        with (session.run.path / file).open("a") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)
    again = started(chosen(), session.run)
    play(again, lambda each: "right")
    assert (again.status, again.error) == ("finished", None)
    log = (session.run.path / "log.txt").read_text()
    assert log.count("sampled.jsonl: a damaged line is left out") == 3


def test_labels_and_steps_are_counted_as_they_are_given(started: Start, chosen: Choose) -> None:
    """Long before the first report, and for whoever reads the folder while a kill may come."""
    session = started(chosen(batch_size=2, steps_per_report=100, save_every=100, undo_seconds=0.0))
    run = until(lambda: session.run, session)
    other = archive.Run(run.path)  # as another process reads it

    def row() -> tuple[int | None, int | None]:
        (summary,) = archive.list_runs()
        assert (summary.step, summary.pairs) == (other.state()["step"], other.state()["pairs"])
        return summary.step, summary.pairs

    assert row() == (0, 0)
    for count in (1, 2, 3):
        each = next_pair(session)
        assert session.answer(each.pair_id, "left")
        assert row()[1] == count
    until(lambda: any(isinstance(event, StepDone) for event in session.drain()), session)
    until(lambda: row() == (1, 3), session)
    assert session.undo(each.pair_id) == "undone"
    assert row() == (1, 2)
    assert [line["pair_id"] for line in run.read(RETRACTED)] == [each.pair_id]
    assert session.answer(each.pair_id, "tie")
    assert row() == (1, 3)
    # What was written for good is left alone: nothing here is worth a wait for the disk.
    assert json.loads((run.path / "run.json").read_text())["step"] == 0


def test_a_run_that_a_model_judges_too_tells_others_how_many_pairs_wait(
    started: Start, chosen: Choose
) -> None:
    both = {"judge": "hybrid", "hybrid_model": "rule:length", "audit_rate": 1.0, "lookahead": 4}
    session = started(chosen(**both, iters=1000, save_every=1000))
    until(session.waiting, session)
    session.pause()
    run = session.run
    assert run is not None
    until(lambda: 0 < len(session.waiting()) == remote.waiting(run), session)
    session.stop()
    assert session.join(TIMEOUT)
    assert not (run.path / WAITING).exists()


def test_a_resume_says_what_it_has_kept(started: Start, chosen: Choose, tmp_path: Path) -> None:
    values = chosen(batch_size=2, iters=20, undo_seconds=0.0, output_root=str(tmp_path / "one"))
    session = started(values)
    for _ in range(3):
        assert session.answer(next_pair(session).pair_id, "left")
    until(lambda: any(isinstance(event, StepDone) for event in session.drain()), session)
    until(lambda: session.run and session.run.state()["step"] == 1, session)
    assert session.run is not None
    killed = tmp_path / "two" / "runs" / session.run.name  # as a kill at this instant leaves it
    shutil.copytree(session.run.path, killed)
    again = started(values, archive.Run(killed))
    began = until(
        lambda: next((e for e in again.drain() if isinstance(e, RunStarted)), None), again
    )
    assert (began.step, began.pairs) == (0, 3)  # there was no checkpoint yet
    goes_on = "step 0 of 20: training goes on; 3 labels are kept, "
    until(lambda: goes_on in (killed / "log.txt").read_text(), again)
    assert archive.Run(killed).state()["pairs"] == 3
    assert archive.Run(killed).state()["step"] == 0


def test_a_person_checks_themselves(started: Start, chosen: Choose) -> None:
    session = started(chosen(iters=8, self_check_every=2))
    asked = play(session, lambda each: "left")  # always the same side: never the same answer
    repeats = [each for each in asked if each.repeat]
    assert repeats
    assert session.agreement() == (0, len(repeats))
    assert session.run is not None
    assert not any("again" in pair_id for pair_id in labels(session.run))


@pytest.mark.parametrize("by", ["the person", ""])
def test_a_stop_that_was_asked_for_is_in_the_log(by: str, started: Start, chosen: Choose) -> None:
    session = started(chosen())
    next_pair(session)
    session.stop(by=by)
    assert session.join(TIMEOUT)
    assert session.run is not None
    line = f"stopped by the person at step {session.run.state()['step']}\n"
    assert (line in (session.run.path / "log.txt").read_text()) == bool(by)


def test_pause_and_requests(started: Start, chosen: Choose) -> None:
    session = started(chosen())
    each = next_pair(session)
    assert session.run is not None
    session.save_now()
    until(session.run.checkpoints, session)
    session.pause()
    until(lambda: session.run and session.run.state()["status"] == "paused", session)
    assert session.status == "paused"
    session.answer(each.pair_id, "left")
    time.sleep(0.3)
    assert session.run.state()["step"] == 0
    session.unpause()
    until(lambda: any(isinstance(event, StepDone) for event in session.drain()), session)
    assert session.run.state()["status"] == "running"
    session.pause()
    session.stop()  # a stop ends a pause
    assert session.join(TIMEOUT)
    assert session.status == "stopped"
    latest = session.run.latest_checkpoint()
    assert latest is not None
    state = json.loads((latest / "state.json").read_text())
    assert state["step"] == int(latest.name) >= 1


def test_what_a_user_gets_wrong_ends_the_run_in_a_sentence(started: Start, chosen: Choose) -> None:
    session = started(chosen(data="/nowhere/at/all.jsonl"))
    assert session.join(TIMEOUT)
    assert (session.status, session.error_is_users) == ("failed", True)
    assert session.error is not None
    assert "/nowhere/at/all.jsonl" in session.error
    assert session.run is not None
    assert not session.has_folder
    assert archive.list_runs() == []  # nothing was trained


def test_why_a_run_ended_is_told_with_its_end(
    started: Start, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that took the reason apart from the end would say it twice."""
    before: list[Event] = []
    discard = archive.discard

    def drained(run: archive.Run) -> None:
        before.extend(session.drain())
        discard(run)

    monkeypatch.setattr(archive, "discard", drained)
    session = Session(chosen(data="/nowhere/at/all.jsonl"))
    started(session=session)
    assert session.join(TIMEOUT)
    *_, why, end = session.drain()
    assert isinstance(end, RunEnded)
    assert isinstance(why, Log)
    assert (why.level, why.text) == ("error", end.error)
    assert not any(isinstance(event, Log) and event.level == "error" for event in before)


def test_a_run_that_was_there_before_is_kept_whatever_goes_wrong(
    started: Start, chosen: Choose
) -> None:
    settings = chosen(data="/nowhere/at/all.jsonl")
    run = archive.create(settings)
    session = started(settings, run)
    assert session.join(TIMEOUT)
    assert session.has_folder
    assert run.state()["status"] == "failed"
    assert run.holder() is None


def test_problems_are_found_before_anything_starts(chosen: Choose) -> None:
    with pytest.raises(UserError, match="max_completion_length"):
        Session(chosen(max_completion_length=512)).start()
    assert archive.list_runs() == []


def test_one_run_has_one_writer(started: Start, chosen: Choose) -> None:
    session = started(chosen())
    next_pair(session)
    with pytest.raises(RunBusy):
        Session(chosen(), session.run).start()
    session.stop()
    assert session.join(TIMEOUT)
    again = started(chosen(), session.run)
    next_pair(again)


def test_events_tell_the_run(started: Start, chosen: Choose) -> None:
    session = started(chosen(iters=2))
    play(session, lambda each: "left")
    events: list[Event] = session.drain()
    first = next(event for event in events if isinstance(event, RunStarted))
    assert (first.total_steps, first.prompts) == (2, 12)
    assert 0 < first.trainable_parameters < first.total_parameters
    assert session.drain() == []


def test_a_stop_for_an_earlier_process_does_not_stop_a_resumed_run(
    started: Start, chosen: Choose
) -> None:
    session = started(chosen())
    next_pair(session)
    session.stop()
    assert session.join(TIMEOUT)
    run = session.run
    assert run is not None
    remote.post(run, "stop")
    again = started(run.settings(), run)
    shown = next_pair(again)
    posted = remote.post(run, "pause")
    until(lambda: not posted.exists(), again)  # commands of now are obeyed, that one was not
    until(lambda: again.status == "paused", again)
    assert shown.pair_id in {each.pair_id for each in again.waiting()}
    again.unpause()
    play(again, lambda each: "left")
    assert again.status == "finished"
    assert "another process asked to pause" in (run.path / "log.txt").read_text()
    assert "asked to stop" not in (run.path / "log.txt").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no priority here")
@pytest.mark.parametrize("beside", [False, True])
def test_the_engine_gives_way_to_a_screen_alone(
    beside: bool, started: Start, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []

    def look(*_: Any) -> bool:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    monkeypatch.setattr(engine_thread, "work", look)
    session = Session(chosen(), beside_screen=beside)
    started(session=session)
    assert session.join(TIMEOUT)
    assert seen == [max(own, engine_thread.NICENESS) if beside else own]
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_a_thread_that_is_ended_ends_its_run_in_words(started: Start, chosen: Choose) -> None:
    session = started(chosen())
    next_pair(session)
    thread = session._thread
    assert thread is not None
    assert thread.ident is not None
    ended = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )
    assert ended == 1
    assert session.join(TIMEOUT)
    assert session.status == "failed"
    assert "SystemExit ended the engine's thread" in str(session.error)
    assert session.run is not None
    assert session.run.holder() is None


def test_the_log_says_what_of_the_data_is_not_asked(
    started: Start, chosen: Choose, tmp_path: Path
) -> None:
    image = [{"role": "user", "content": [{"type": "image"}]}]
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "c"}], "tools": [{"name": "f"}]},
        {"messages": image, "images": ["x.png"]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    session = started(chosen(data=str(tmp_path / "rows.jsonl"), iters=2))
    play(session, lambda each: "left")
    launched = session.run
    assert launched is not None
    log = (launched.path / "log.txt").read_text()
    for sentence in (
        "data: prompts are made of messages, tools; columns not used: images",
        "data: the assistant's last turn is left out of 1 prompt: the model writes its own",
        "data: 1 row left out, the first rows.jsonl, line 3: messages has a part that is no text",
        "data: 1 prompt asked without tools: the model's chat template has no place for them",
    ):
        assert log.count(sentence) == 1


def chats(path: Path, count: int = 12) -> Path:
    """A file of conversations with a system message."""
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"What is thing {at}?"},
            ]
        }
        for at in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("older", [False, True])
def test_a_run_keeps_the_layout_of_its_pairs(
    started: Start, chosen: Choose, tmp_path: Path, older: bool
) -> None:
    data = str(chats(tmp_path / "chats.jsonl"))
    session = started(chosen(data=data))
    each = next_pair(session)
    assert [message.role for message in each.messages] == ["system", "user"]
    assert session.answer(each.pair_id, "left")
    session.stop()
    assert session.join(TIMEOUT)
    run = session.run
    assert run is not None
    (line,) = run.read("pairs.jsonl")
    assert [turn["role"] for turn in line["prompt"]] == ["system", "user"]
    assert line["chosen"] == [{"role": "assistant", "content": each.left}]
    assert run.state()["pairs_layout"] == "messages"
    if older:  # as a run of before there was this layout
        state = run.state()
        del state["pairs_layout"]
        write_state(run.path, state)
    again = started(chosen(data=data), run)
    play(again, lambda each: "right")
    assert again.status == "finished"
    kind = str if older else list
    new = [line for line in run.read("pairs.jsonl") if line["step"] > 2]
    assert new
    assert {type(line["prompt"]) for line in new} == {kind}


def test_asking_a_model_to_think_that_cannot_is_noted(started: Start, chosen: Choose) -> None:
    session = started(chosen(enable_thinking=True))
    next_pair(session)
    session.stop()
    assert session.join(TIMEOUT)
    assert session.run is not None
    log = (session.run.path / "log.txt").read_text()
    assert "knows no such mode, so it changes nothing for the model" in log


class Load:
    """Data that does not come before it is allowed to."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self, settings: Settings) -> Any:
        self.begun.set()
        self.over.wait()
        raise UserError("data: it came to nothing")

    def end(self) -> None:
        """Let it come, and wait for the threads that waited for it."""
        self.over.set()
        for thread in threading.enumerate():
            if thread.name == "engine":
                thread.join(TIMEOUT)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    load = Load()
    monkeypatch.setattr("engine.train.loading.load_prompts", load)
    yield load
    load.end()


@pytest.mark.parametrize("keep", [False, True])
def test_a_stop_does_not_wait_for_loading(
    keep: bool, started: Start, chosen: Choose, load: Load
) -> None:
    session = started(chosen())
    assert load.begun.wait(TIMEOUT)
    assert session.unbegun
    assert session.run is not None
    session.stop(keep=keep)
    assert session.join(TIMEOUT)
    assert (session.status, session.error, session.has_folder) == ("stopped", None, keep)
    assert session.lingers
    assert [run.name for run in archive.list_runs()] == (["mine"] if keep else [])
    ends = [event for event in session.drain() if isinstance(event, RunEnded)]
    assert [event.status for event in ends] == ["stopped"]
    if keep:
        assert session.run.state()["status"] == "paused"
        assert session.run.holder() is None


def test_what_lingers_meets_while_its_run_is_removed_is_no_news(
    started: Start, chosen: Choose, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    discard = archive.discard

    def breaks(settings: Settings) -> None:
        load(settings)
        raise RunError("its folder is gone")

    def slow(run: Run) -> None:
        discard(run)
        load.over.set()
        time.sleep(0.5)  # meanwhile the load breaks

    monkeypatch.setattr("engine.train.loading.load_prompts", breaks)
    monkeypatch.setattr(archive, "discard", slow)
    session = started(chosen())
    assert load.begun.wait(TIMEOUT)
    session.stop()
    assert session.join(TIMEOUT)
    assert session.error is None
    events = session.drain()
    assert [event.error for event in events if isinstance(event, RunEnded)] == [None]
    assert not [event for event in events if isinstance(event, Log) and event.level == "error"]


def test_what_lingers_after_a_stop_touches_nothing(
    started: Start, chosen: Choose, load: Load
) -> None:
    session = started(chosen())
    assert session.run is not None
    assert load.begun.wait(TIMEOUT)
    session.stop(keep=True)
    assert session.join(TIMEOUT)
    before = {path: path.read_bytes() for path in session.run.path.rglob("*") if path.is_file()}
    session.drain()
    # The load ends after all, and the run goes on in another session meanwhile.
    with session.run.lock():
        before[session.run.path / "lock"] = (session.run.path / "lock").read_bytes()
        load.end()
        after = {path: path.read_bytes() for path in session.run.path.rglob("*") if path.is_file()}
    assert after == before
    assert session.drain() == []
    assert not session.lingers


def test_a_load_that_ends_in_time_is_left_in_order(
    started: Start, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop between two steps of loading; nothing lingers, and a run that was there stays."""
    settings = chosen()
    run = archive.create(settings)
    session = Session(settings, run)
    monkeypatch.setattr("engine.train.loading.load_prompts", lambda settings: session.stop())
    started(session=session)
    assert session.join(TIMEOUT)
    assert (session.status, session.error, session.has_folder) == ("stopped", None, True)
    assert run.state()["status"] == "paused"
    assert run.checkpoints() == []
    assert not session.lingers
