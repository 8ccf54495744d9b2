"""However the program ends, the terminal is as it was: cooked, its main screen, its cursor, no
mouse, no bracketed paste, no reports of keys. A shell above the program sees it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from engine.runs.folder import Run
from tests.end_to_end.in_training import begin, config, steps, under_a_shell, until
from tests.end_to_end.pseudo_terminal import PseudoTerminal


def given_back(terminal: PseudoTerminal, before: list[object]) -> str:
    """Wait for the end; what the terminal then shows."""
    text = terminal.wait_for("ended with")
    until(lambda: terminal.switched_on() == set() and terminal.attributes() == before, 30)
    return text


@pytest.mark.parametrize(("fault", "status"), [("screen", 1), ("abort", 128 + signal.SIGABRT)])
def test_after_a_fault(fault: str, status: int, tmp_path: Path) -> None:
    with under_a_shell(tmp_path, "tests.end_to_end.faulty", fault) as terminal:
        terminal.wait_for("start")
        before = cooked(terminal)
        terminal.press("s")
        assert f"ended with {status}" in given_back(terminal, before)
        terminal.wait_for(lambda text: "crash.txt" in text.replace("\n", ""))  # of a long path
    crash = (tmp_path / "crash.txt").read_text()
    assert ("a screen that breaks" if fault == "screen" else "Fatal Python error") in crash
    run = Run(tmp_path / "runs" / "watched")
    assert run.holder() is None
    if fault == "screen":  # the run itself was well, and has its checkpoint
        assert run.state()["status"] == "stopped"
        assert run.latest_checkpoint() is not None


def test_after_an_error_in_the_engine_the_app_is_still_there(tmp_path: Path) -> None:
    with under_a_shell(tmp_path, "tests.end_to_end.faulty", "engine") as terminal:
        terminal.wait_for("start")
        before = cooked(terminal)
        terminal.press("s")
        terminal.wait_for("failed at step 2")
        terminal.wait_for(lambda text: "RuntimeError: no more;" in " ".join(text.split()))
        terminal.press("q")
        assert "ended with 0" in given_back(terminal, before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_after_a_signal_that_leaves_no_time(number: signal.Signals, tmp_path: Path) -> None:
    """And after SIGHUP, sent by hand while the terminal is still there: the run goes on."""
    with under_a_shell(tmp_path) as terminal:
        terminal.wait_for("start")
        before = cooked(terminal)
        run = begin(terminal, tmp_path)
        holder = run.holder()
        assert holder is not None
        os.kill(holder.pid, number)
        if number == signal.SIGHUP:
            until(lambda: terminal.switched_on() == set() and terminal.attributes() == before)
            reached = steps(run)
            until(lambda: steps(run) > reached)
            os.kill(holder.pid, signal.SIGKILL)
        given_back(terminal, before)


def cooked(terminal: PseudoTerminal) -> list[object]:
    """The attributes that the terminal had before the app made it raw."""
    assert terminal.first_attributes != terminal.attributes()
    return terminal.first_attributes


def test_after_a_kill_of_training_without_the_app(tmp_path: Path) -> None:
    words = f"-m tui.main train {config(tmp_path)}"
    line = f'{sys.executable} {words}; echo "ended with $?"; read line'
    environment = {"LORA_STUDIO_HOME": str(tmp_path)}
    with PseudoTerminal(["sh", "-c", line], environment=environment) as terminal:
        run = Run(tmp_path / "runs" / "watched")
        until(lambda: steps(run) >= 2 and terminal.switched_on() == {"25"})
        holder = run.holder()
        assert holder is not None
        os.kill(holder.pid, signal.SIGKILL)
        assert "ended with 137" in given_back(terminal, terminal.first_attributes)
