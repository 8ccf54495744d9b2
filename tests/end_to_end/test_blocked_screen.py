"""The engine never waits for the screen: job control, a terminal that nobody reads, resizing."""

import os
import re
import select
import shutil
import sys
from pathlib import Path

import pytest

from engine.runs.folder import Run
from tests.end_to_end.in_training import begin, config, steps, trained_in, until
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio

PROMPT = "a-shell>"
SHELL = ["bash", "--norc", "--noprofile", "-i"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no shell with job control")
def test_ctrl_z_stops_bg_trains_and_fg_brings_the_screen_back(tmp_path: Path) -> None:
    environment = {"LORA_STUDIO_HOME": str(tmp_path), "PS1": PROMPT}
    with PseudoTerminal(SHELL, environment=environment) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press(f"{sys.executable} -m tui.main {config(tmp_path, on_hangup='stop')}\r")
        run = begin(terminal, tmp_path)
        terminal.press("\x1a")
        terminal.wait_for("Stopped")
        assert terminal.switched_on() <= {"2004"}  # which bash itself switches on
        reached = steps(run)
        terminal.press("bg\r")
        until(lambda: steps(run) > reached + 2)
        terminal.press("echo the $((40 + 2)) of the shell\r")
        terminal.wait_for("the 42 of the shell")
        assert "1049" not in terminal.switched_on()
        terminal.press("fg\r")
        # All of the screen is drawn anew over what the shell has written.
        text = terminal.wait_for(lambda text: "newest pair" in text and PROMPT not in text)
        shown = step_on(text)
        terminal.wait_for(lambda text: step_on(text) > shown)
        terminal.press("\x03")
        terminal.wait_for("still training")
        terminal.press("\x03")
        terminal.wait_for(PROMPT)
        assert terminal.switched_on() <= {"2004"}
        assert run.state()["status"] == "stopped"


def step_on(text: str) -> int:
    """The step that the head of the screen shows, or -1."""
    found = re.search(r"step ([\d,]+) / 100,000", text)
    return int(found[1].replace(",", "")) if found else -1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to find the terminal")
def test_a_terminal_that_nobody_reads_does_not_hold_up_the_engine(tmp_path: Path) -> None:
    terminal, run = trained_in(tmp_path)
    with terminal:
        terminal.press("l")  # the log, which is drawn anew at every size
        other_end = os.open(f"/proc/{terminal.pid}/fd/0", os.O_RDWR | os.O_NOCTTY)

        def full() -> bool:
            return not select.select([], [other_end], [], 0)[1]

        with terminal.stalled():
            sizes = iter(range(1_000_000))

            def filled() -> bool:
                terminal.resize(100 + next(sizes) % 60, 40)
                return full()

            until(filled)
            reached = steps(run)
            until(lambda: steps(run) >= reached + 10)
            assert full()
        os.close(other_end)
        newest = steps(run)
        terminal.wait_for(lambda text: step_on(text) >= newest)
        terminal.press("\x03")
        terminal.wait_for("still training")
        terminal.press("\x03")
        assert terminal.wait() == 0
        assert terminal.switched_on() == set()


def test_ctrl_z_without_a_shell_to_go_back_to_changes_nothing(tmp_path: Path) -> None:
    with studio(tmp_path) as terminal:
        terminal.wait_for("start")
        before = terminal.attributes()
        terminal.press("\x1a")
        terminal.wait_for("there is no shell here to go back to")
        assert terminal.attributes() == before
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.switched_on() == set()


def test_resizing_200_times_in_a_row(tmp_path: Path) -> None:
    terminal, run = trained_in(tmp_path)
    with terminal:
        reached = steps(run)
        for number in range(200):
            terminal.resize(60 + number * 37 % 140, 16 + number * 11 % 44)
        until(lambda: steps(run) > reached)
        terminal.resize(20, 5)
        terminal.wait_for("enlarge")
        terminal.resize(100, 30)
        last = steps(run)
        terminal.wait_for(lambda text: step_on(text) >= last and right(text.split("\n")))


def right(lines: list[str]) -> bool:
    """Whether these are the parts of the run screen at 100 x 30, each once and in its place."""
    head, foot = lines[0], lines[-1]
    return (
        len(lines) == 30
        and head.startswith(" watched")
        and head.endswith(" / 100,000")
        and len(head) == 99  # the margin is one cell
        and foot.startswith(" p pause  s stop")
        and foot.endswith("? keys")
        and sum("newest pair" in line for line in lines) == 1
        and sum(" log " in line and "──" in line for line in lines) == 1
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no shell with job control")
def test_ctrl_z_while_training_without_the_app_shows_the_cursor(tmp_path: Path) -> None:
    environment = {"LORA_STUDIO_HOME": str(tmp_path), "PS1": PROMPT}
    with PseudoTerminal(SHELL, environment=environment) as terminal:
        terminal.wait_for(PROMPT)
        terminal.press(f"{sys.executable} -m tui.main train {config(tmp_path, on_hangup='stop')}\r")
        run = Run(tmp_path / "runs" / "watched")
        until(lambda: steps(run) >= 2 and "25" in terminal.switched_on())
        terminal.press("\x1a")
        terminal.wait_for("Stopped")
        assert "25" not in terminal.switched_on()
        reached = steps(run)
        terminal.press("fg\r")
        until(lambda: steps(run) > reached and "25" in terminal.switched_on())
        terminal.press("\x03")
        terminal.wait_for(lambda text: text.rstrip().endswith(PROMPT))
        assert "25" not in terminal.switched_on()
        assert run.state()["status"] == "stopped"
