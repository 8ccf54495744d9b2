"""Ends that come from outside: SIGTERM and a lost terminal, by what they leave behind."""

import os
import signal
from pathlib import Path

import pytest

from engine.runs.folder import STATE
from tests.end_to_end.in_training import trained_in, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_gives_the_terminal_back_and_says_so(
    number: signal.Signals, tmp_path: Path
) -> None:
    terminal, run = trained_in(tmp_path)
    with terminal:
        os.kill(terminal.pid, number)
        assert terminal.wait() == 128 + number
        assert terminal.switched_on() == set()
    assert run.state()["status"] == "stopped"
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    assert int(checkpoint.name) == run.state()["step"]


def test_a_run_outlives_its_lost_terminal(tmp_path: Path) -> None:
    terminal, run = trained_in(tmp_path, iters=15)
    terminal.hang_up()
    assert terminal.wait() == 0
    assert run.state()["status"] == "finished"
    assert run.state()["step"] == 15


@pytest.mark.parametrize("judge", ["starter", "human"])
def test_a_run_that_may_not_outlive_it_stops_with_a_checkpoint(tmp_path: Path, judge: str) -> None:
    on_hangup = "continue" if judge == "human" else "stop"
    terminal, run = trained_in(tmp_path, judge=judge, on_hangup=on_hangup)
    if judge == "human":
        until(lambda: (run.path / STATE).exists() and run.state()["status"] == "running")
    terminal.hang_up()
    assert terminal.wait() == 128 + signal.SIGHUP
    assert run.state()["status"] == "stopped"
    assert run.latest_checkpoint() is not None
    assert run.holder() is None
    assert "the terminal is gone; the run stops" in (run.path / "log.txt").read_text()
