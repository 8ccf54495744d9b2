"""One run, more than one process: steering it from outside, taking it over, leaving it running."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runs.folder import LOG, METRICS, PAIRS, Run
from tests.command import Command
from tests.end_to_end import program
from tests.end_to_end.in_training import config, steps, trained_in, until
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio
from tests.end_to_end.review_screen import Shown, read

F4, F5, DOWN = "\x1bOS", "\x1b[15~", "\x1b[B"


@pytest.fixture
def run(studio_home: Path) -> Iterator[Run]:
    """The run `watched`, whose process, whichever it is, ends with the test."""
    run = Run(studio_home / "runs" / "watched")
    yield run
    if held := run.holder():
        with contextlib.suppress(ProcessLookupError):
            os.kill(held.pid, signal.SIGKILL)


def pid_of(run: Run) -> int | None:
    held = run.holder()
    return held.pid if held else None


def test_a_run_elsewhere_is_steered_and_taken_over(
    run: Run, studio_home: Path, command: Command
) -> None:
    elsewhere = program.start("train", str(config(studio_home)), home=studio_home)
    with elsewhere:
        until(lambda: steps(run) >= 2)

        second = command("resume", "watched")
        assert second.status == 2
        [line] = second.err.splitlines()
        assert f"in use by process {elsewhere.pid}" in line
        assert "lora-studio runs stop watched" in line

        paused = command("runs", "pause", "watched")
        assert (paused.status, paused.err) == (0, "")
        assert paused.out.startswith("watched: paused, ")
        assert run.state()["status"] == "paused"
        assert command("runs", "unpause", "watched").status == 0
        saved = command("runs", "save", "watched")
        assert "a checkpoint was written" in saved.out
        assert run.latest_checkpoint() is not None

        with studio(studio_home) as terminal:
            terminal.wait_for("▶ start")
            terminal.press(F5)
            terminal.wait_for("r take over")
            terminal.press("r")
            terminal.wait_for("goes on here from it")
            assert pid_of(run) == elsewhere.pid
            terminal.press("\r")
            until(lambda: pid_of(run) == terminal.pid)
            assert elsewhere.wait() == 128 + signal.SIGINT
            checkpoint = run.latest_checkpoint()
            assert checkpoint is not None
            until(lambda: steps(run) > int(checkpoint.name))
            assert "another process asked to stop" in (run.path / LOG).read_text()
            terminal.press("\x03")
            terminal.wait_for("still training")
            terminal.press("\x03\x03\x03")  # none of them loses a step
            assert terminal.wait() == 0
            assert terminal.switched_on() == set()
    reached = run.latest_checkpoint()
    assert reached is not None
    assert run.state()["status"] == "stopped"
    taken = [line["step"] for line in run.read(METRICS) if "loss" in line]
    assert taken == list(range(1, int(reached.name) + 1))


def test_a_run_is_left_running_without_a_screen(
    run: Run, studio_home: Path, command: Command
) -> None:
    terminal, _ = trained_in(studio_home)
    with terminal:
        terminal.press("q")
        terminal.wait_for("still training")
        terminal.press(DOWN + "\r")
        assert terminal.wait() == 0
        assert "watched goes on without a screen" in terminal.text
        assert terminal.switched_on() == set()
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    assert pid_of(run) not in (None, terminal.pid)
    until(lambda: steps(run) > int(checkpoint.name))
    stopped = command("runs", "stop", "watched")
    assert stopped.status == 0, stopped.err
    assert "stopped with a checkpoint" in stopped.out
    assert run.state()["status"] == "stopped"
    assert pid_of(run) is None


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here")
def test_a_run_outlives_a_tmux_session_that_is_killed(
    run: Run, studio_home: Path, tmp_path: Path, command: Command
) -> None:
    def tmux(*words: str) -> str:
        socket = str(tmp_path / "tmux")
        done = subprocess.run(["tmux", "-S", socket, *words], check=True, capture_output=True)
        return done.stdout.decode()

    file = config(studio_home)
    words = ["env", f"LORA_STUDIO_HOME={studio_home}", sys.executable, "-m", "tui.main", str(file)]
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "s", "-x", "80", "-y", "24", *words)
    until(lambda: "start" in tmux("capture-pane", "-p", "-t", "s"))
    tmux("send-keys", "-t", "s", "s")
    until(lambda: steps(run) >= 2)
    trains = pid_of(run)
    tmux("kill-session", "-t", "s")
    reached = steps(run)
    until(lambda: steps(run) > reached + 1)
    assert pid_of(run) == trains
    assert command("runs", "stop", "watched").status == 0
    assert pid_of(run) is None


@pytest.mark.slow
def test_pairs_that_wait_for_a_person_wait_in_the_program_that_takes_the_run_over(
    run: Run, studio_home: Path
) -> None:
    first, _ = trained_in(studio_home, judge="human")
    with first:
        first.press(F4)
        asked = pair_on(first)
        with studio(studio_home) as second:
            second.wait_for("▶ start")
            second.press(F5)
            second.wait_for("watched")
            second.press("r")
            second.wait_for("goes on here from it")
            second.press("\r")
            until(lambda: pid_of(run) == second.pid)
            assert pair_on(second) == asked
            second.press("1")
            until(lambda: len(list(run.read(PAIRS))) == 1)
        first.press("q")
        assert first.wait() == 0


def pair_on(terminal: PseudoTerminal) -> tuple[str, ...]:
    """The prompt and the answers that the screen shows, once it shows them whole."""
    seen: list[Shown | None] = [None]

    def settled(text: str) -> bool:
        seen.append(read(text.split("\n")))
        return seen[-1] is not None and seen[-1] == seen[-2]

    terminal.wait_for(settled)
    shown = seen[-1]
    assert shown is not None
    return shown.prompt, *sorted((shown.left, shown.right))
