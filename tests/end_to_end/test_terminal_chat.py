"""A chat with what a run trained: through the app on a pseudo-terminal, and through a pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end import program
from tests.end_to_end.pseudo_terminal import studio

F5, ESCAPE, TAB = "\x1b[15~", "\x1b", "\t"


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_a_chat_in_the_app_and_through_a_pipe(studio_home: Path, tmp_path: Path) -> None:
    small = program.words(**program.SMALL)
    trained = program.run("train", "starter", "--run-name", "small", *small, home=studio_home)
    assert trained.returncode == 0, trained.stderr
    run = studio_home / "runs" / "small"
    chat, picks = run / "chat.jsonl", run / "chat_pairs.jsonl"

    with studio(studio_home) as terminal:
        terminal.wait_for("▶ start")
        terminal.press(F5)
        terminal.wait_for("finished")
        terminal.press("C")
        terminal.wait_for("temperature 0.8")
        terminal.press("What colour is the sky?\r")
        terminal.wait_for(lambda text: chat.exists() and "⏎ done" in text)
        terminal.press(TAB + TAB)
        terminal.wait_for("trained and start")
        for turn, question in enumerate(("Tell me a story.", "Name a colour.", "Is it loud?"), 2):
            terminal.press(question + "\r")
            terminal.wait_for(lambda text, turn=turn: len(records(chat)) == turn)
            text = terminal.wait_for(lambda text: "1 or 2 picks" in text or "⏎ done" in text)
            if "1 or 2 picks" in text:  # else both models wrote the same, as after a few steps
                terminal.press("2")
                terminal.wait_for("second picked")
                terminal.press(ESCAPE)  # from the line to the keys that pick
                terminal.wait_for("⏎ type")
                break
        terminal.press(ESCAPE)
        terminal.wait_for("1 run")
        terminal.press("q")
        assert terminal.wait() == 0

    lines = records(chat)
    assert lines[0]["prompt"] == "What colour is the sky?"
    assert [answer["author"] for answer in lines[0]["answers"]] == ["policy"]
    assert [answer["author"] for answer in lines[-1]["answers"]] == ["policy", "reference"]
    if picks.exists():
        [label] = records(picks)
        pairs = tmp_path / "pairs.jsonl"
        written = program.run("pairs", "small", "--to", str(pairs), home=studio_home)
        assert written.returncode == 0, written.stderr
        assert label["pair_id"] in [line["pair_id"] for line in records(pairs)]
    through_a_pipe(studio_home, len(lines))


def through_a_pipe(home: Path, before: int) -> None:
    """Two turns in, two answers out, nothing else; bad input is one sentence."""
    asked = subprocess.run(
        [sys.executable, "-m", "tui.main", "chat", "small", "--temperature", "0"],
        input="What colour is the sky?\n\nAnd the sea?\n",
        env={**os.environ, "LORA_STUDIO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=program.TIMEOUT,
        check=True,
    )
    lines = records(home / "runs" / "small" / "chat.jsonl")[before:]
    assert [line["prompt"] for line in lines] == ["What colour is the sky?", "And the sea?"]
    assert asked.stdout == "".join(f"{line['answers'][0]['text']}\n\n" for line in lines)
    for wrong, words in {
        ("small", "--start", "--both"): "choose one of them",
        ("small", "--temperature", "hot"): "a number from 0",
        ("smal",): "the nearest name is 'small'",
    }.items():
        refused = program.run("chat", *wrong, home=home)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1
