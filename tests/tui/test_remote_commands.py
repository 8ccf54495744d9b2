"""What becomes of a command to a run that another process trains, as its files tell."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from engine.errors import RunError, UserError
from engine.runs import remote
from engine.runs.folder import LOCK, METRICS, Run
from engine.settings.files import preset
from tests.command import Command
from tests.tui.archive import make_run
from tests.tui.elsewhere import trained_elsewhere, waiting
from tui.run import remote_commands
from tui.run.remote_commands import RemoteRequest


@pytest.fixture
def run() -> Iterator[Run]:
    made = make_run("far", status="running", steps=2)
    with trained_elsewhere(made):
        yield made


def test_a_pause_is_waiting_then_taken_then_done(run: Run) -> None:
    pause = RemoteRequest(run, "pause")
    assert pause.poll() == "waiting"
    assert remote.take(run) == ["pause"]
    assert pause.poll() == "taken"
    run.update(status="paused")
    assert pause.poll() == "done"
    assert pause.sentence().startswith("paused, ")
    assert pause.settled


def test_a_win_rate_from_before_does_not_count(run: Run) -> None:
    run.append(METRICS, [{"step": 2, "win_rate": 0.5}])
    evaluate = RemoteRequest(run, "evaluate")
    remote.take(run)
    assert evaluate.poll() == "taken"
    run.append(METRICS, [{"step": 3, "win_rate": 0.6}])
    assert evaluate.poll() == "done"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"judge": "human"}, "a person judges this run, and is never asked for an evaluation"),
        ({"eval_prompts": 0}, "nothing is evaluated in this run: eval_prompts is 0"),
        ({"steps_per_eval": -1}, "nothing is evaluated in this run: steps_per_eval is -1"),
    ],
)
def test_a_run_without_evaluations_is_not_asked_for_one(
    values: dict[str, Any], why: str, command: Command
) -> None:
    settings = preset("starter").model_copy(update=values)
    run = make_run("far", status="running", steps=2, settings=settings)
    with trained_elsewhere(run):
        done = command("runs", "evaluate", "far")
        assert (done.status, done.err) == (2, f"lora-studio: {why}\n")
        assert waiting(run) == []


def test_an_evaluation_without_a_win_rate_ends_the_wait(run: Run) -> None:
    evaluate = RemoteRequest(run, "evaluate")
    remote.take(run)
    run.append(METRICS, [{"step": 3, "split": "valid", "win_rate": None}])
    assert evaluate.poll() == "done"
    assert evaluate.sentence().startswith("no win rate could be measured, and the run's log says")


def test_a_checkpoint_from_before_does_not_count_and_the_same_step_again_does(run: Run) -> None:
    with run.checkpoint_folder(2):
        pass
    save = RemoteRequest(run, "save")
    remote.take(run)
    assert save.poll() == "taken"
    with run.checkpoint_folder(2):
        pass
    assert save.poll() == "done"


@pytest.mark.parametrize(("status", "outcome"), [("stopped", "done"), ("finished", "over")])
def test_a_stop_is_done_only_by_a_stop(status: str, outcome: str) -> None:
    run = make_run("far", status="running")
    with trained_elsewhere(run):
        stop = RemoteRequest(run, "stop")
        run.update(status=status)
    assert stop.poll() == outcome
    assert waiting(run) == []  # nothing is left for whoever trains it next


def test_a_run_that_the_same_process_has_begun_again_is_another_one(run: Run) -> None:
    pause = RemoteRequest(run, "pause")
    later = asdict(pause.holder) | {"since": "2026-09-01T11:00:00+00:00"}
    (run.path / LOCK).write_text(json.dumps(later))
    assert pause.poll() == "over"
    assert waiting(run) == []


def test_a_process_that_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_commands, "ANSWER_SECONDS", -1)
    stop = RemoteRequest(run, "stop")
    assert stop.poll() == "silent"
    assert "has not answered" in stop.sentence()
    with pytest.raises(RunError, match="has not answered"):
        remote_commands.wait(stop)
    assert waiting(run) == []


@pytest.mark.parametrize(("status", "shown"), [("stopped",) * 2, ("running", "interrupted")])
def test_a_run_that_nobody_trains_cannot_be_asked(status: str, shown: str) -> None:
    run = make_run("still", status=status)
    with pytest.raises(UserError, match=f"nobody trains the run 'still' now: it is {shown}"):
        RemoteRequest(run, "pause")
    assert waiting(run) == []


def test_the_command_says_so_in_one_line(command: Command) -> None:
    make_run("still", status="stopped")
    done = command("runs", "stop", "still")
    assert done.status == 2
    assert done.err == "lora-studio: nobody trains the run 'still' now: it is stopped\n"
    assert command("runs", "pause", "nothing").status == 2
