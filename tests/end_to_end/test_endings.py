"""Ends that come from outside: SIGTERM and a lost terminal, by what they leave behind."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from engine.run_folder import Run
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio

CONFIG = """\
model: starter
data: starter
judge: {judge}
quantization: none
num_layers: -1
run_name: watched
batch_size: 2
iters: {iters}
eval_prompts: 4
max_seq_length: 256
max_completion_length: 16
steps_per_report: 1
steps_per_eval: -1
save_every: 1000
grad_checkpoint: false
fuse: false
on_hangup: {on_hangup}
"""


def trained_in(home: Path, **values: Any) -> tuple[PseudoTerminal, Run]:
    """The app with a run that has taken its first steps."""
    config = home / "config.yaml"
    config.write_text(CONFIG.format(**{"judge": "starter", "on_hangup": "continue"} | values))
    terminal = studio(home, str(config))
    terminal.wait_for("start")
    terminal.press("s")
    terminal.wait_for("watched")
    run = Run(home / "runs" / "watched")
    if values.get("judge") != "human":
        until(lambda: int(run.state().get("step") or 0) >= 2)
    return terminal, run


def until(holds: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


def test_sigterm_saves_gives_the_terminal_back_and_says_so(tmp_path: Path) -> None:
    terminal, run = trained_in(tmp_path, iters=100_000)
    with terminal:
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait(60) == 128 + signal.SIGTERM
    assert run.state()["status"] == "stopped"
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    assert int(checkpoint.name) == run.state()["step"]


def test_a_run_outlives_its_lost_terminal(tmp_path: Path) -> None:
    terminal, run = trained_in(tmp_path, iters=40)
    terminal.hang_up()
    assert terminal.wait(90) == 0
    assert run.state()["status"] == "finished"
    assert run.state()["step"] == 40


@pytest.mark.parametrize("judge", ["starter", "human"])
def test_a_run_that_may_not_outlive_it_stops_with_a_checkpoint(tmp_path: Path, judge: str) -> None:
    on_hangup = "continue" if judge == "human" else "stop"
    terminal, run = trained_in(tmp_path, iters=100_000, judge=judge, on_hangup=on_hangup)
    if judge == "human":
        until(lambda: run.state()["status"] == "running")
    terminal.hang_up()
    assert terminal.wait(60) == 128 + signal.SIGHUP
    assert run.state()["status"] == "stopped"
    assert run.latest_checkpoint() is not None
    assert run.holder() is None
