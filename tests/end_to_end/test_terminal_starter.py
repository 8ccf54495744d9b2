"""A newcomer's first minutes, through the real program on a pseudo-terminal."""

import re
import time
from pathlib import Path

import pytest

from engine.runs import archive
from engine.settings.files import preset, to_yaml
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio

F5, ESCAPE = "\x1b[15~", "\x1b"


def counted(text: str) -> bool:
    """Whether a verdict is in the score."""
    return "trained 1" in text or "starting 1" in text


def first_minutes(terminal: PseudoTerminal, name: str) -> None:
    """From the form to a finished run, its details, a prompt for its model, and out."""
    terminal.wait_for("▶ start")
    terminal.press("\r")
    terminal.wait_for(lambda text: re.search(r"step \d+ / \d+", text))
    terminal.wait_for("Finished", 500)
    terminal.wait_for("before and after, on prompts held out")

    terminal.press(F5)
    terminal.wait_for(lambda text: "1 run" in text and name in text and "finished" in text)
    terminal.press("\r")
    terminal.wait_for(lambda text: "1 run" not in text and "accuracy" in text)
    terminal.press("B")
    terminal.wait_for("Type a prompt")
    terminal.press("What colour is the sky?\r")
    shown = ("Which is better?", "> What colour is the sky?")  # not always in one frame
    text = terminal.wait_for(lambda text: all(part in text for part in shown))
    assert not counted(text)
    terminal.press("1")
    if not counted(terminal.wait_for(lambda text: counted(text) or "press it again" in text)):
        terminal.press("1")  # faster than a hand, the first came before the answers were there
        terminal.wait_for(counted)
    terminal.press(ESCAPE)  # out of the line for the next prompt
    time.sleep(1)  # else the terminal's escape and the key are one
    terminal.press("q")
    assert terminal.wait() == 0


def test_form_run_details_try_it_and_out(tmp_path: Path, studio_home: Path) -> None:
    """A run of a few steps."""
    small = {
        "run_name": "small",
        "iters": 4,
        "batch_size": 4,
        "eval_prompts": 8,
        "max_completion_length": 24,
        "steps_per_report": 1,
        "steps_per_eval": 2,
        "fuse": False,
    }
    config = tmp_path / "small.yaml"
    config.write_text(to_yaml(preset("starter").model_copy(update=small)))
    with studio(studio_home, str(config)) as terminal:
        first_minutes(terminal, "small")
    check("small", studio_home, steps=4)


@pytest.mark.slow
def test_the_starter_as_it_is(studio_home: Path) -> None:
    """What `lora-studio` and one key do on a machine where nothing was set up."""
    with studio(studio_home) as terminal:
        first_minutes(terminal, "starter-lora")  # the beginning of its automatic name
    [found] = archive.list_runs(studio_home / "runs")
    check(found.name, studio_home, steps=preset("starter").iters)
    lines = archive.open_run(found.path).read("metrics.jsonl")
    rates = [line for line in lines if "win_rate" in line]
    assert rates[-1]["win_rate_low"] > rates[0]["win_rate"]  # the training can be seen


def check(name: str, home: Path, *, steps: int) -> None:
    """The run is whole on the disk."""
    run = archive.open_run(home / "runs" / name)
    state = run.state()
    assert (state["status"], state["step"]) == ("finished", steps)
    assert run.latest_checkpoint()
    assert (run.path / "adapters" / "adapters.safetensors").exists()
    assert any("win_rate" in line for line in run.read("metrics.jsonl"))
