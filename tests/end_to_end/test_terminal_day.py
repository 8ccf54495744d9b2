"""A whole day at the terminal: a run of one's own is set up, trained, left, resumed, labelled by
hand, talked with, exported and compared."""

import json
import time
from pathlib import Path

import pytest

from engine.runs import archive
from engine.runs.folder import PAIRS, Run
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio
from tests.end_to_end.test_terminal_person import Person, stored

pytestmark = pytest.mark.slow

F5 = "\x1b[15~"
ENTER, TAB, ESCAPE, CLEAR_LINE, CLEAR_REST = "\r", "\t", "\x1b", "\x15", "\x0b"
PASTE = "\x1b[200~{}\x1b[201~"
BY_MODEL, BY_HAND = "by-model", "by-hand"
STEPS, PRESSES = 7, 6
LINES = ("Prefer the correct and polite answer.", "Prefer the answer that is shorter.")
QUESTIONS = [
    f"What is the {ask} of {thing}?"
    for ask in ("colour", "usual colour")
    for thing in ("the sky", "snow", "grass", "blood", "coal", "the sea", "a lemon", "milk")
]
SMALL = {"batch_size": "4", "max_completion_length": "24", "eval_prompts": "4", "save_every": "2"}


def test_a_day(studio_home: Path, tmp_path: Path) -> None:
    data, exported = tmp_path / "questions.jsonl", tmp_path / "exported"
    data.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in QUESTIONS))
    with day(studio_home) as terminal:
        set_up(terminal, data)
        train_and_leave(terminal)
    with day(studio_home) as terminal:
        come_back(terminal)
        labels = label(terminal)
        chat(terminal)
        export(terminal, exported)
        compare(terminal)
        leave(terminal)

    first, second = (archive.open_run(studio_home / "runs" / name) for name in (BY_MODEL, BY_HAND))
    check_trained(first, data)
    assert second.state()["status"] == "finished"
    assert len(labels) == PRESSES
    assert stored(studio_home, BY_HAND) == labels
    assert [line["prompt"] for line in second.read("chat.jsonl")] == ["What colour is the sky?"]
    assert (exported / "adapters.safetensors").is_file()
    assert (exported / "adapter_config.json").is_file()


def check_trained(run: Run, data: Path) -> None:
    """The first run: with one's own data and the rubric as it was pasted, and whole."""
    settings, metrics = run.settings(), list(run.read("metrics.jsonl"))
    assert settings.data == str(data)
    assert settings.judge_system == "\n".join(LINES)
    assert run.state()["status"] == "finished"
    assert [line["step"] for line in metrics if "loss" in line] == list(range(1, STEPS + 1))
    assert {line["prompt"] for line in run.read(PAIRS)} <= set(QUESTIONS)


def day(home: Path) -> PseudoTerminal:
    """The app, with its form in sight."""
    terminal = studio(home, columns=120, rows=40)
    terminal.wait_for("▶ start")
    return terminal


# -- what a person does ----------------------------------------------------------------------------


def fill_in(terminal: PseudoTerminal, key: str, value: str) -> None:
    """Find a setting by its name and give it a value."""
    go_to(terminal, key)
    terminal.press(ENTER)
    terminal.wait_for("⏎ done")
    terminal.press(CLEAR_LINE + value + ENTER)
    terminal.wait_for(lambda text: "⏎ done" not in text)
    shown = value if len(value) < 20 else value[-8:]
    terminal.wait_for(
        lambda text: any(f" {key} " in line and shown in line for line in text.split("\n"))
    )


def go_to(terminal: PseudoTerminal, key: str) -> None:
    """Put the cursor on a setting."""
    terminal.press("/")
    terminal.wait_for("⏎ done")
    terminal.press(key + ENTER)
    terminal.wait_for("⏎ edit")


def set_up(terminal: PseudoTerminal, data: Path) -> None:
    """Own data, a rubric pasted from somewhere else, and a run of a few steps."""
    fill_in(terminal, "data", str(data))
    terminal.wait_for(f"{len(QUESTIONS)} prompts")
    go_to(terminal, "judge_system")
    terminal.press(ENTER)
    terminal.wait_for("ctrl+_ undo")
    terminal.press(CLEAR_LINE + CLEAR_REST)
    terminal.press(PASTE.format(ENTER.join(LINES)))  # as tmux sends line breaks
    terminal.wait_for(LINES[1])
    terminal.press(TAB)
    terminal.wait_for(lambda text: "ctrl+_ undo" not in text)
    fill_in(terminal, "run_name", BY_MODEL)
    for key, value in {"iters": str(STEPS), "steps_per_report": "1", **SMALL}.items():
        fill_in(terminal, key, value)


def train_and_leave(terminal: PseudoTerminal) -> None:
    """Start, look at a few steps, and leave in the middle with a checkpoint."""
    terminal.press("s")
    terminal.wait_for(lambda text: BY_MODEL in text and "newest pair" in text)
    terminal.wait_for(lambda text: "step 2 " in text or "step 3 " in text)
    terminal.press("q")
    terminal.wait_for(f"{BY_MODEL} is still training.")
    terminal.press(ENTER)
    assert terminal.wait() == 0


def come_back(terminal: PseudoTerminal) -> None:
    """The first screen says what is unfinished; one key goes on with it to its end."""
    terminal.wait_for(f"unfinished  {BY_MODEL}")
    terminal.press("r")
    terminal.wait_for("C chat with it")
    assert f"step {STEPS} / {STEPS}" in terminal.text


def label(terminal: PseudoTerminal) -> dict[tuple[str, ...], tuple[str, str]]:
    """Judge a second run by hand, from the screen of the first; gives what each press meant."""
    terminal.press("L")
    terminal.wait_for(lambda text: "starter-human" in text and "▶ start" in text)
    fill_in(terminal, "run_name", BY_HAND)
    fill_in(terminal, "iters", str(PRESSES))
    fill_in(terminal, "self_check_every", "0")
    terminal.press("s")
    person = Person(terminal)
    shown = person.next()
    for key in "12" * (PRESSES // 2):
        assert shown
        shown = person.give(key, shown)
    assert shown is None
    return person.meant


def chat(terminal: PseudoTerminal) -> None:
    """Ask the model that was trained by hand something."""
    terminal.press(F5)
    terminal.wait_for(lambda text: BY_HAND in text and "2 runs" in text)
    terminal.press("C")
    terminal.wait_for("temperature 0.8")
    terminal.press("What colour is the sky?" + ENTER)
    terminal.wait_for(lambda text: "trained · " in text and "tokens" in text)
    terminal.press(ESCAPE)
    terminal.wait_for("2 runs")


def export(terminal: PseudoTerminal, to: Path) -> None:
    """Write its adapters into a folder."""
    terminal.press("E")
    terminal.wait_for(f"export {BY_HAND}")
    terminal.press(ENTER)
    terminal.wait_for("into which folder?")
    terminal.press(CLEAR_LINE + str(to) + ENTER)
    terminal.wait_for("exported to")


def compare(terminal: PseudoTerminal) -> None:
    """Both runs over one another, and the settings in which they differ."""
    terminal.press("  =")
    terminal.wait_for(lambda text: "judge_system" in text and BY_MODEL in text and BY_HAND in text)
    terminal.press(ESCAPE)
    terminal.wait_for("2 runs")


def leave(terminal: PseudoTerminal) -> None:
    """Nothing trains any more, so that nothing is asked."""
    time.sleep(1)  # else the terminal's escape and the key are one
    terminal.press("q")
    assert terminal.wait() == 0
