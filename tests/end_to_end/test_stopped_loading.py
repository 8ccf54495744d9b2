"""A signal, a key or a command while a run loads what never ends: the program is gone at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runs import archive
from engine.runs.folder import CONFIG, LOG, Run
from engine.settings.schema import Settings
from tests.command import Command
from tests.end_to_end.faulty import LOADS
from tests.end_to_end.in_training import config, until
from tests.end_to_end.pseudo_terminal import PseudoTerminal

NEVER_LATER = 60  # seconds; loading would last for ever


def faulty(home: Path, *arguments: str) -> PseudoTerminal:
    """The program on a terminal, with data that never comes."""
    command = [sys.executable, "-m", "tests.end_to_end.faulty", *arguments, "loading"]
    return PseudoTerminal(command, environment={"LORA_STUDIO_HOME": str(home)})


def loads(home: Path) -> Run:
    """The run, once it is loading."""
    run = Run(home / "runs" / "watched")
    until(lambda: run.path.is_dir() and run.holder() and (home / LOADS).exists())
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_training_ends_and_leaves_no_run(number: signal.Signals, studio_home: Path) -> None:
    file = config(studio_home, on_hangup="stop")
    with faulty(studio_home, "train", str(file)) as terminal:
        loads(studio_home)
        os.kill(terminal.pid, number)
        assert terminal.wait(NEVER_LATER) == 128 + number
        assert "nothing was trained" in terminal.text
        assert terminal.switched_on() == set()
    assert archive.list_runs() == []
    assert not list((studio_home / "runs").iterdir())


def test_a_run_that_was_there_stays_as_it_was(studio_home: Path) -> None:
    run = archive.create(
        Settings(model="starter", data="starter", judge="starter", run_name="watched")
    )
    run.update(status="stopped", step=3, total_steps=9)
    with run.checkpoint_folder(3) as folder:
        (folder / "adapters.safetensors").write_text("weights")
    kept = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with faulty(studio_home, "resume", "watched") as terminal:
        loads(studio_home)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait(NEVER_LATER) == 143
    for path, content in kept.items():
        assert path.read_bytes() == content, path
    new = {path for path in run.path.rglob("*") if path.is_file()} - kept.keys()
    assert {path.name for path in new} <= {LOG, "lock"}
    assert run.holder() is None


def test_another_process_may_ask_for_it(studio_home: Path, command: Command) -> None:
    command_line = ["train", str(config(studio_home)), "loading"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.end_to_end.faulty", *command_line],
        env={**os.environ, "LORA_STUDIO_HOME": str(studio_home)},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            loads(studio_home)
            done = command("runs", "stop", "watched")
            assert (done.status, done.err) == (0, "")
            assert done.out.startswith("watched: stopped while loading, ")
            assert process.wait(NEVER_LATER) == 130
        finally:
            process.kill()
    assert archive.list_runs() == []


@pytest.mark.parametrize("how", ["q", "SIGTERM", "hang up"])
def test_the_app_ends_too(how: str, studio_home: Path) -> None:
    file = config(studio_home, on_hangup="stop")
    with faulty(studio_home, str(file)) as terminal:
        terminal.wait_for("start")
        terminal.press("s")
        loads(studio_home)
        terminal.wait_for("watched")
        if how == "q":
            terminal.press("q")
            terminal.wait_for("nothing was trained yet")
            terminal.press("\r")
        elif how == "SIGTERM":
            os.kill(terminal.pid, signal.SIGTERM)
        else:
            terminal.hang_up()
        status = {"q": 0, "SIGTERM": 128 + signal.SIGTERM}.get(how, 128 + signal.SIGHUP)
        assert terminal.wait(NEVER_LATER) == status
        if how != "hang up":
            assert terminal.switched_on() == set()
    assert archive.list_runs() == []


def test_the_app_stays_when_its_run_is_stopped(studio_home: Path) -> None:
    with faulty(studio_home, str(config(studio_home))) as terminal:
        terminal.wait_for("start")
        terminal.press("s")
        loads(studio_home)
        terminal.wait_for("watched")
        terminal.press("s")
        terminal.wait_for("stop")
        terminal.press("\r")
        terminal.wait_for("Stopped while it was loading")
        assert archive.list_runs() == []
        terminal.press("\x1bOQ")  # F2: the form
        terminal.wait_for("start")
        terminal.press("s")
        terminal.wait_for("cannot be broken off")
        terminal.press("q")
        assert terminal.wait(NEVER_LATER) == 0
    assert not (studio_home / "runs" / "watched" / CONFIG).exists()
