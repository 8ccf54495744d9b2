"""A run whose judge is on a server: it waits for one that is away, and loses nothing."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.events import Log, Saved, StepDone
from engine.judges import chat_server, server
from engine.plan.memory import plan
from engine.runs import archive
from engine.session import Session
from engine.settings.schema import Settings
from tests.engine.little_server import Handler, LittleServer
from tests.engine.small_models import settings, write_model, write_prompts
from tests.timing import TIMING

TIMEOUT = 120.0  # seconds


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 30)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    for name, value in (("FIRST_PAUSE", 0.01), ("LONGEST_PAUSE", 0.05), ("JITTER", 0.0)):
        monkeypatch.setattr(chat_server, name, value)
    monkeypatch.setattr(server, "NOTICED", 0.0)


@pytest.fixture
def little() -> LittleServer:
    return LittleServer(models=("longer",))


@pytest.fixture
def chosen(files: Path, little: LittleServer) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        small = {
            "model": str(files / "policy"),
            "judge": little.address,
            "data": str(files / "prompts.jsonl"),
            "iters": 6,
            "batch_size": 3,
            "eval_prompts": 4,
            "steps_per_eval": 3,
            "steps_per_report": 2,
            "save_every": 2,
            "max_completion_length": 5,
        }
        return settings(**{**small, **values})

    return make


Choose = Callable[..., Settings]


def run_of(session: Session) -> archive.Run:
    assert session.run is not None
    return session.run


def finish(session: Session, within: float = TIMEOUT) -> list[Any]:
    """All events of a session, once it has ended."""
    assert session.join(within)
    return session.drain()


def started(settings: Settings, run: archive.Run | None = None, **more: Any) -> Session:
    session = Session(settings, run, **more)
    session.start()
    return session


def lines(run: archive.Run) -> list[list[dict[str, Any]]]:
    """What a run wrote of its training: everything but the time it took and who judged where."""
    untold = {*TIMING, "judge"}
    return [
        [{k: v for k, v in line.items() if k not in untold} for line in run.read(file)]
        for file in ("metrics.jsonl", "pairs.jsonl", "undecided.jsonl")
    ]


@contextlib.contextmanager
def unbroken(chosen: Choose, little: LittleServer, **values: Any) -> Iterator[Any]:
    """What a run leaves whose server is always there."""
    with little.running():
        session = started(chosen(run_name="unbroken", **values))
        finish(session)
    assert session.error is None
    yield lines(run_of(session))


def test_a_server_that_is_killed_in_the_middle_and_comes_back(
    chosen: Choose, little: LittleServer
) -> None:
    with unbroken(chosen, little) as expected:
        pass
    little.bodies.clear()
    serving = contextlib.ExitStack()
    serving.enter_context(little.running())
    killed = threading.Event()

    def die(handler: Handler, body: dict[str, Any], times: int) -> bool:
        """In the middle of a batch."""
        if len(little.bodies) > 40:
            killed.set()
            handler.connection.close()
            return True
        return False

    little.misbehave = die
    session = started(chosen(run_name="broken"))
    assert killed.wait(TIMEOUT)
    serving.close()
    events: list[Any] = []
    end = time.monotonic() + TIMEOUT
    while not any(isinstance(e, Log) and "the run waits for it" in e.text for e in events):
        events += session.drain()
        assert session.alive
        assert time.monotonic() < end
        time.sleep(0.02)
    little.misbehave = lambda handler, body, times: False
    with little.running():
        events += finish(session)
    assert session.error is None
    assert any(isinstance(e, Log) and "answers again" in e.text for e in events)
    run = run_of(session)
    assert run.state()["status"] == "finished"
    assert lines(run) == expected


def test_where_nobody_could_go_on_it_stops_with_a_checkpoint_and_is_resumed(
    chosen: Choose, little: LittleServer
) -> None:
    with unbroken(chosen, little) as expected:
        pass
    little.bodies.clear()
    little.misbehave = lambda handler, body, times: (
        len(little.bodies) > 40 and bool(handler.reply({"error": "loading"}, 503) or True)
    )
    with little.running():
        session = started(chosen(run_name="stopped", judge_away_minutes=0.005))
        finish(session)
    run = run_of(session)
    assert run.state()["status"] == "stopped"
    assert session.error is not None
    assert session.error.startswith("stopped with a checkpoint: the judge longer at http://127")
    assert "status 503 (loading)" in session.error
    checkpoint = run.latest_checkpoint()
    assert checkpoint
    assert int(checkpoint.name) == run.state()["step"] < 6
    little.misbehave = lambda handler, body, times: False
    with little.running():
        resumed = started(run.settings(), run)
        finish(resumed)
    assert resumed.error is None
    assert lines(run) == expected


def test_where_somebody_could_it_pauses_with_a_checkpoint(
    chosen: Choose, little: LittleServer
) -> None:
    little.misbehave = lambda handler, body, times: (
        len(little.bodies) > 40 and bool(handler.reply({"error": "loading"}, 503) or True)
    )
    with little.running():
        session = started(chosen(judge_away_minutes=0.005), beside_screen=True)
        end = time.monotonic() + TIMEOUT
        events: list[Any] = []
        while session.status != "paused":
            assert time.monotonic() < end
            time.sleep(0.02)
        little.misbehave = lambda handler, body, times: False
        time.sleep(0.1)
        events += session.drain()
        assert any(isinstance(e, Log) and "paused with a checkpoint" in e.text for e in events)
        assert any(isinstance(e, Saved) for e in events)
        session.unpause()
        finish(session)
    assert session.error is None
    assert run_of(session).state()["status"] == "finished"


def test_a_server_that_is_away_in_an_evaluation(chosen: Choose, little: LittleServer) -> None:
    with little.running():
        session = started(chosen(run_name="evaluating", judge_away_minutes=0.005))
        away = threading.Event()

        def after_three(handler: Handler, body: dict[str, Any], times: int) -> bool:
            if away.is_set():
                handler.reply({"error": "loading"}, 503)
            return away.is_set()

        little.misbehave = after_three
        while session.alive:
            if any(isinstance(e, StepDone) and e.step == 3 for e in session.drain()):
                away.set()  # the evaluation after step 3 begins
            time.sleep(0.001)
        run = run_of(session)
        assert "stopped with a checkpoint" in (session.error or "")
        away.clear()
        resumed = started(run.settings(), run)
        finish(resumed)
    assert resumed.error is None
    evaluated = [line["step"] for line in run.read("metrics.jsonl") if line.get("split") == "valid"]
    assert evaluated == [0, 3, 6]


def test_the_next_batch_is_sampled_while_one_is_judged(
    chosen: Choose, little: LittleServer
) -> None:
    with unbroken(chosen, little, lookahead=1, steps_per_eval=-1) as expected:
        pairs = [line for file in expected[1:] for line in file]
        assert {line["step"] - line["weights_step"] for line in pairs} == {1, 2}

    def slowly(handler: Handler, body: dict[str, Any], times: int) -> bool:
        time.sleep(0.02 * (len(little.bodies) % 3))
        return False

    little.misbehave = slowly
    with little.running():
        session = started(chosen(run_name="slow", lookahead=1, steps_per_eval=-1))
        finish(session)
    assert lines(run_of(session)) == expected


def test_a_server_that_is_not_there_is_told_of_before_anything_is_loaded(
    chosen: Choose, little: LittleServer
) -> None:
    with little.running():
        pass
    session = started(chosen(model="no-such/model-anywhere"))
    events = finish(session)
    assert session.error_is_users
    assert (session.error or "").startswith(f"judge: the server at {little.address} cannot be")
    assert not any(isinstance(event, StepDone) for event in events)


def test_a_key_is_written_nowhere(
    chosen: Choose, little: LittleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITTLE_KEY", "open-sesame-123")

    def leaky(handler: Handler, body: dict[str, Any], times: int) -> bool:
        """Tells the key in its errors."""
        if len(little.bodies) < 12 or len(little.bodies) % 5:
            return False
        handler.reply({"error": {"message": str(handler.headers["Authorization"])}}, 400)
        return True

    little.misbehave = leaky
    with little.running():
        session = started(chosen(judge_key_env="LITTLE_KEY", iters=2))
        events = finish(session)
    assert little.headers[-1]["Authorization"] == "Bearer open-sesame-123"
    assert session.error is None
    assert any(isinstance(e, Log) and "left out as invalid" in e.text for e in events)
    assert "open-sesame" not in str(events)
    for file in run_of(session).path.rglob("*"):
        assert not file.is_file() or b"open-sesame" not in file.read_bytes(), file


def test_it_takes_no_memory_and_no_download(chosen: Choose, little: LittleServer) -> None:
    little.port = 8080
    assert plan(chosen()).judge == 0
    assert plan(chosen()).download == 0
