"""A disk that is full, read-only or gone while a run trains: it waits, says so, and goes on."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.events import Event, Log, Progress, RunEnded, StepDone
from engine.judges import llm
from engine.runs import archive
from engine.runs.checkpoints import checkpoint_damage
from engine.runs.folder import METRICS, PAIRS, UNDECIDED
from engine.session import Session
from engine.train import journal
from tests.end_to_end.resumed_run import by_mean_alone
from tests.engine.small_models import settings, write_model, write_prompts
from tests.timing import TIMING

TIMEOUT = 300  # seconds
Hindrance = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No room at all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            yield
    ballast.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Nothing may be written: a read-only mount of the runs lies over them."""
    runs_folder = str(disk / "runs")
    mount("--bind", runs_folder, runs_folder)
    mount("-o", "remount,bind,ro", runs_folder)
    yield
    subprocess.run(["umount", "-l", runs_folder], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@contextmanager
def gone(disk: Path) -> Iterator[None]:
    """The runs folder is not there."""
    (disk / "runs").rename(disk / "elsewhere")
    yield
    (disk / "elsewhere").rename(disk / "runs")


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_model(folder / "judge", seed=4)
    write_prompts(folder / "prompts.jsonl", 12)
    return {
        "model": str(folder / "policy"),
        "judge": str(folder / "judge"),
        "data": str(folder / "prompts.jsonl"),
        "batch_size": 1,
        "iters": 16,
        "save_every": 5,
        "steps_per_report": 4,
        "steps_per_eval": -1,
        "max_completion_length": 4,
        "run_name": "run",
    }


def written(run: archive.Run) -> dict[str, list[Any]]:
    """What the run says of its training: everything but the time it took."""
    return {
        file: [{k: v for k, v in line.items() if k not in TIMING} for line in run.read(file)]
        for file in (METRICS, PAIRS, UNDECIDED)
    }


@pytest.fixture(autouse=True, scope="module")
def decided() -> Iterator[None]:
    """A random judge favours a position, and would tie every pair."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(llm, "LEAST_MASS", 0.0)
        patched.setattr(llm, "verdict_of", by_mean_alone)
        yield


@pytest.fixture(scope="module")
def wanted(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run writes whose storage is always there."""
    root = tmp_path_factory.mktemp("unbroken")
    session = Session(settings(**values, output_root=str(root)))
    session.start()
    assert session.join(TIMEOUT)
    assert session.run
    found = written(session.run)
    assert len(found[METRICS]) == 4
    assert found[PAIRS]
    return found


def until(session: Session, seen: list[Event], holds: Callable[[Event], bool]) -> None:
    """Follow a run until an event comes."""
    end = time.monotonic() + TIMEOUT
    while True:
        new = session.drain()
        seen += new
        if any(map(holds, new)):
            return
        assert time.monotonic() < end, seen[-3:]
        assert session.alive, (session.status, session.error)
        time.sleep(0.002)


def pause_in_the_middle(session: Session, seen: list[Event]) -> None:
    """Hold a run still after its first checkpoint, so that it cannot be over too soon."""
    until(session, seen, lambda event: isinstance(event, StepDone) and event.step >= 6)
    session.pause()
    until(session, seen, lambda event: isinstance(event, Progress) and event.phase == "paused")


@pytest.mark.parametrize("hinder", [full, read_only, gone])
def test_a_run_waits_for_its_storage_and_loses_nothing(
    hinder: Hindrance,
    small_disk: Path,
    values: dict[str, Any],
    wanted: dict[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.05)
    session = Session(settings(**values, output_root=str(small_disk)))
    seen: list[Event] = []
    session.start()
    run = session.run
    assert run
    pause_in_the_middle(session, seen)
    with hinder(small_disk):
        session.unpause()
        until(session, seen, lambda event: isinstance(event, Log) and event.level == "error")
        until(session, seen, lambda e: isinstance(e, Progress) and e.phase == "paused")
        assert session.alive
        place = small_disk / ("elsewhere" if hinder is gone else "runs") / "run"
        for file in (METRICS, PAIRS):
            lines = (place / file).read_text().splitlines()
            assert all(json.loads(line) for line in lines)  # every one of them is whole
        checkpoints = [each for each in (place / "checkpoints").iterdir() if each.name.isdigit()]
        assert checkpoints
        assert not any(map(checkpoint_damage, checkpoints))
        json.loads((place / "run.json").read_text())
    until(session, seen, lambda event: isinstance(event, RunEnded))
    assert session.status == "finished", session.error
    said = [event.text for event in seen if isinstance(event, Log)]
    assert any(text.startswith("paused: cannot write") for text in said)
    assert "the run can write again and goes on" in said
    assert written(run) == wanted
    assert run.latest_checkpoint() == run.path / "checkpoints" / "0000016"
    assert not [name for name in os.listdir(run.path) if name.startswith(".")]


def test_a_run_that_is_stopped_while_it_waits_ends_in_a_sentence(
    small_disk: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.05)
    session = Session(settings(**values, output_root=str(small_disk)))
    seen: list[Event] = []
    session.start()
    assert session.run
    pause_in_the_middle(session, seen)
    with full(small_disk):
        session.unpause()
        until(session, seen, lambda event: isinstance(event, Log) and event.level == "error")
        session.stop()
        assert session.join(TIMEOUT)
        assert session.status == "failed"
        assert session.error
        assert "free some space" in session.error
    again = Session(session.run.settings(), session.run)  # and it can be gone on with
    again.start()
    assert again.join(TIMEOUT)
    assert again.status == "finished", again.error
