"""Try it, with real models: what it answers, and that it leaves a run that trains alone."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.runs import archive
from engine.runs.folder import METRICS, Run
from engine.session import Session
from engine.settings.schema import Settings
from engine.try_it import (
    SideBySide,
    SideBySideAnswers,
    SideBySideEvent,
    SideBySideFailed,
    SideBySideReady,
)
from tests.engine.small_models import judge_by_alphabet, settings, write_model, write_prompts

TIMEOUT = 60.0  # seconds
ITERS = 12


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 24)
    return folder


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_alphabet(monkeypatch)


@pytest.fixture
def chosen(files: Path) -> Settings:
    return settings(
        model=str(files / "policy"),
        judge=str(files / "policy"),
        data=str(files / "prompts.jsonl"),
        batch_size=2,
        iters=ITERS,
        steps_per_report=1,
        max_completion_length=8,
    )


@pytest.fixture
def trained(chosen: Settings) -> Session:
    """A finished run."""
    session = Session(chosen.model_copy(update={"run_name": "before", "iters": 2}))
    session.start()
    assert session.join(TIMEOUT)
    assert session.status == "finished", session.error
    return session


def listen(side_by_side: SideBySide, count: int) -> list[SideBySideEvent]:
    """Everything that is told until the last of `count` answers, or a failure."""
    heard: list[SideBySideEvent] = []
    end = time.monotonic() + TIMEOUT
    while sum(isinstance(each, SideBySideAnswers | SideBySideFailed) for each in heard) < count:
        assert time.monotonic() < end, heard
        heard += side_by_side.drain()
        time.sleep(0.005)
    return heard


def ask(run: Run, *prompts: str) -> list[SideBySideAnswers]:
    """A side_by_side from its opening to the end of its process."""
    side_by_side = SideBySide(run)
    side_by_side.start()
    for prompt in prompts:
        side_by_side.ask(prompt)
    heard = listen(side_by_side, len(prompts))
    side_by_side.close()
    assert side_by_side.join(TIMEOUT)
    assert isinstance(heard[0], SideBySideReady), heard
    return [each for each in heard if isinstance(each, SideBySideAnswers)]


def lines(run: Run | None) -> list[dict[str, Any]]:
    """The metrics of a run that chance and order decide, without times and memory."""
    assert run
    by_clock = ("second", "memory", "time")
    return [
        {name: value for name, value in line.items() if not any(w in name for w in by_clock)}
        for line in run.read(METRICS)
    ]


def test_a_run_trains_the_same_while_another_is_tried(trained: Session, chosen: Settings) -> None:
    assert trained.run
    alone = Session(chosen.model_copy(update={"run_name": "alone"}))
    alone.start()
    assert alone.join(TIMEOUT)

    disturbed = Session(chosen.model_copy(update={"run_name": "disturbed"}))
    disturbed.start()
    during = []
    while disturbed.alive or not during:
        during.append(ask(trained.run, "Why?", "How?"))
    assert (disturbed.status, disturbed.error) == ("finished", None)
    assert len(lines(disturbed.run)) >= ITERS
    assert lines(disturbed.run) == lines(alone.run)
    assert all([each.prompt for each in answers] == ["Why?", "How?"] for answers in during)
    assert during[0] == ask(trained.run, "Why?", "How?")  # nor does the run change the answers


def test_several_can_be_asked_at_once(trained: Session) -> None:
    """As when one is left, and another opened, before the first has ended."""
    assert trained.run
    duels = [SideBySide(trained.run, seed) for seed in range(3)]
    for side_by_side in duels:
        side_by_side.start()
        side_by_side.ask("Why?")
    duels[0].close()
    for side_by_side in duels[1:]:
        listen(side_by_side, 1)
        side_by_side.close()
    assert all(side_by_side.join(TIMEOUT) for side_by_side in duels)


def child_of(pid: int) -> psutil.Process:
    """The one program that answers for a process."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:  # a program has no command line while it is being started
        children = psutil.Process(pid).children()
        match [each for each in children if "try_it" in " ".join(each.cmdline())]:
            case [child]:
                return child
        time.sleep(0.01)
    raise TimeoutError(f"no program answers for process {pid}")


def test_an_end_by_itself_is_said_once(trained: Session) -> None:
    assert trained.run
    side_by_side = SideBySide(trained.run)
    side_by_side.start()
    child_of(os.getpid()).kill()
    [failed] = listen(side_by_side, 1)
    assert isinstance(failed, SideBySideFailed)
    assert "ended by itself (status -9)" in failed.error
    side_by_side.ask("Why?")  # nobody reads it
    assert side_by_side.drain() == []


def test_it_ends_with_the_program_that_asked(trained: Session) -> None:
    """Also where that one is killed: else it would hold its models for ever."""
    assert trained.run
    program = f"""
import time
from engine.runs.folder import Run
from engine.try_it import SideBySide, SideBySideReady
from pathlib import Path
tried = SideBySide(Run(Path({str(trained.run.path)!r})))
tried.start()
while not any(isinstance(each, SideBySideReady) for each in tried.drain()):
    time.sleep(0.05)
print("ready", flush=True)
time.sleep(60)
"""
    asking = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert asking.stdout
    assert asking.stdout.readline()
    child = child_of(asking.pid)
    asking.kill()
    asking.wait()
    end = time.monotonic() + TIMEOUT
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_cannot_be_tried_is_said_in_a_sentence(chosen: Settings) -> None:
    run = archive.create(chosen)  # nothing was trained
    side_by_side = SideBySide(run)
    side_by_side.start()
    [failed] = listen(side_by_side, 1)
    assert isinstance(failed, SideBySideFailed)
    assert "Error" not in failed.error
    assert side_by_side.join(TIMEOUT)
