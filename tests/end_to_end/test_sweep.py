"""A sweep of real runs, killed in the middle and gone on with, and left by its terminal."""

import json
import signal
import sys
from pathlib import Path

import pytest

from engine.runs import queue
from engine.runs.archive import runs_in
from engine.runs.folder import METRICS, Run
from engine.runs.sweep import worker_of
from engine.settings.files import preset
from tests.end_to_end.in_training import until
from tests.end_to_end.program import SMALL, run, start, words, written
from tests.end_to_end.pseudo_terminal import PseudoTerminal
from tui.terminal import queue_process

FEW = SMALL | {"iters": 3, "save_every": 1, "steps_per_eval": 3}
GRID = ["sweep", "starter", *words(**FEW), "--set", "seed=0,1", "--name", "two"]
NAMES = ["two-01-seed=0", "two-02-seed=1"]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(*GRID, home=killed)
    second = Run(killed / "runs" / NAMES[1])
    until(lambda: any((second.path / "checkpoints").glob("[0-9]*")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = (killed / "runs" / NAMES[0] / "metrics.jsonl").read_bytes()
    again = run("sweep", "two", "--json", home=killed)
    assert again.returncode == 0, again.stderr
    assert (killed / "runs" / NAMES[0] / "metrics.jsonl").read_bytes() == first
    place = json.loads(again.stdout.splitlines()[-1])
    assert (place["event"], place["runs"]) == ("place", NAMES)
    assert 0 <= place["result"]["low"] <= place["result"]["rate"] <= place["result"]["high"] <= 1
    assert sorted(each.name for each in (killed / "runs").glob("[!.]*")) == NAMES
    unbroken = run(*GRID, home=whole)
    assert unbroken.returncode == 0, unbroken.stderr
    for name in NAMES:
        assert written(killed / "runs" / name) == written(whole / "runs" / name)


def test_a_sweep_goes_on_without_its_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tui.main", *GRID]
    first, second = (Run(tmp_path / "runs" / name) for name in NAMES)
    with PseudoTerminal(command, environment={"LORA_STUDIO_HOME": str(tmp_path)}) as terminal:
        until(lambda: first.path.exists() and any(first.read(METRICS)))
        terminal.hang_up()
        until(lambda: second.path.exists() and second.state()["status"] == "finished")
        assert first.state()["status"] == "finished"


@pytest.mark.slow
def test_the_queue_is_worked_through_behind_the_shell() -> None:
    settings = preset("starter").model_copy(update=FEW)
    runs = [Run(runs_in(None) / queue.add_settings(settings).run) for _ in range(2)]
    queue_process.start()
    until(lambda: any((runs[0].path / "checkpoints").glob("[0-9]*")))
    queue_process.stop()
    until(lambda: worker_of("queue") is None)
    assert runs[0].state()["status"] == "stopped"
    assert not runs[1].path.exists()
    third = queue.add_settings(settings)
    queue.drop([runs[1].name])
    queue_process.start()
    until(lambda: worker_of("queue") is None and not queue.read_queue().left())
    assert [cell.run for cell in queue.read_queue().cells] == [runs[0].name, third.run]
    log = (runs_in(None).parent / "sweeps" / "queue.log").read_text()
    assert "run 2 of 2" in log
