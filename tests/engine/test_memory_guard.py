"""A run that takes more memory than it may saves a checkpoint and pauses."""

import time
from pathlib import Path

import pytest

from engine import hardware, trainer
from engine.events import Event, Log, Saved
from engine.session import Session
from tests.engine.small_models import settings, write_model, write_prompts

PATIENCE = 300  # seconds


def a_run(folder: Path) -> Session:
    """A run of three steps on a small model."""
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 8)
    return Session(
        settings(
            model=str(folder / "policy"),
            judge=str(folder / "policy"),
            data=str(folder / "prompts.jsonl"),
            iters=3,
            steps_per_eval=-1,
            max_completion_length=2,
            memory_limit=0.5,
            run_name="run",
        )
    )


def test_a_run_above_its_share_of_memory_pauses_with_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [hardware.process_memory()]
    monkeypatch.setattr(trainer, "process_memory", lambda: used[-1])
    session = a_run(tmp_path)
    used.append(hardware.memory()[0])  # all there is
    seen: list[Event] = []
    session.start()
    end = time.monotonic() + PATIENCE
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
    used.append(0)
    session.unpause()
    assert session.join(PATIENCE)
    assert session.status == "finished", session.error


def test_what_mlx_keeps_for_later_is_given_back_before_a_run_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [hardware.memory()[0]]
    monkeypatch.setattr(trainer, "process_memory", lambda: used[-1])
    monkeypatch.setattr(trainer.mx, "clear_cache", lambda: used.append(0))
    session = a_run(tmp_path)
    session.start()
    assert session.join(PATIENCE)
    assert session.status == "finished", session.error
    assert not any(isinstance(each, Log) and each.level == "error" for each in session.drain())
