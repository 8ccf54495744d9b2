"""A run that takes more memory than it may saves a checkpoint and pauses, or stops where nobody is
there to let it go on."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.events import Event, Log, RunEnded, Saved
from engine.machine.memory import memory
from engine.runs.folder import Run
from engine.session import Session
from engine.settings.schema import Settings
from engine.train.watch import memory_guard
from tests.engine.small_models import settings, write_model, write_prompts

TIMEOUT = 300  # seconds

Use = Callable[[int], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Sets how much memory the process is said to use, in bytes."""
    used = [memory()[0]]  # all there is
    monkeypatch.setattr(memory_guard, "process_memory", lambda: used[-1])
    return used.append


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    write_model(tmp_path / "policy", scale=1.0)
    write_prompts(tmp_path / "prompts.jsonl", 8)
    return settings(
        model=str(tmp_path / "policy"),
        judge=str(tmp_path / "policy"),
        data=str(tmp_path / "prompts.jsonl"),
        iters=3,
        steps_per_eval=-1,
        max_completion_length=2,
        memory_limit=0.5,
        run_name="run",
    )


def test_a_run_above_its_share_of_memory_pauses_with_a_checkpoint(
    small: Settings, use: Use
) -> None:
    session = Session(small, beside_screen=True)
    seen: list[Event] = []
    session.start()
    end = time.monotonic() + TIMEOUT
    while not any(isinstance(event, Saved) for event in seen) or session.status != "paused":
        seen += session.drain()
        assert time.monotonic() < end
        assert session.alive, session.error
        time.sleep(0.01)
    run = session.run
    assert run
    assert [int(each.name) for each in run.checkpoints()] == [1]
    [said] = [event.text for event in seen if isinstance(event, Log) and event.level == "error"]
    assert "paused with a checkpoint" in said
    assert "memory_limit" in said
    assert "GB" in said
    use(0)
    session.unpause()
    assert session.join(TIMEOUT)
    assert session.status in ("finished", "untrained"), session.error


def test_what_mlx_keeps_for_later_is_given_back_before_a_run_pauses(
    small: Settings, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_guard.mx, "clear_cache", lambda: use(0))
    session = Session(small)
    session.start()
    assert session.join(TIMEOUT)
    assert session.status in ("finished", "untrained"), session.error
    assert not any("memory_limit" in e.text for e in session.drain() if isinstance(e, Log))


@pytest.mark.parametrize("screen_lost", [False, True])
def test_without_anybody_to_end_the_pause_it_stops(
    screen_lost: bool, small: Settings, use: Use
) -> None:
    session = Session(small, beside_screen=screen_lost)
    if screen_lost:
        session.screen_has_gone()
    session.start()
    assert session.join(TIMEOUT)
    assert session.status == "stopped"
    assert session.error
    assert "stopped with a checkpoint" in session.error
    assert "memory_limit" in session.error
    ended = next(event for event in session.drain() if isinstance(event, RunEnded))
    assert (ended.status, ended.step, ended.error) == ("stopped", 1, session.error)
    run = session.run
    assert isinstance(run, Run)
    assert [int(each.name) for each in run.checkpoints()] == [1]
    assert (run.path / "adapters" / "adapters.safetensors").exists()
    assert session.error in (run.path / "log.txt").read_text()
    use(0)
    again = Session(small, run)
    again.start()
    assert again.join(TIMEOUT)
    assert run.state()["step"] == 3
    assert again.error != session.error
