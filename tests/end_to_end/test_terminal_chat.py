"""A chat with what a run trained: through the app on a pseudo-terminal, and through a pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.end_to_end import program
from tests.end_to_end.pseudo_terminal import studio

F5, ESCAPE, TAB, CTRL_O = "\x1b[15~", "\x1b", "\t", "\x0f"


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def both_are_done(text: str) -> bool:
    return "start · " in text and "esc stops" not in text


def test_a_chat_its_pick_and_its_export(studio_home: Path, tmp_path: Path) -> None:
    small = program.words(**program.SMALL)
    trained = program.run("train", "starter", "--run-name", "small", *small, home=studio_home)
    assert trained.returncode == 0, trained.stderr
    run = studio_home / "runs" / "small"

    with studio(studio_home) as terminal:
        terminal.wait_for("▶ start")
        terminal.press(F5)
        terminal.wait_for("finished")
        terminal.press("C")
        terminal.wait_for("temperature 0.8")
        terminal.press("What colour is the sky?\r")
        terminal.wait_for(lambda text: "trained · " in text and "tokens" in text)
        terminal.press(CTRL_O)
        terminal.wait_for(lambda text: "looking for" not in text and "held-out" in text)
        picked = False
        for question in ("Tell me a story.", "Name a colour.", "Why?", "Is it loud?"):
            # Until the two models differ, which after a few steps they need not.
            if not picked:
                terminal.press("\x15" + (TAB + TAB if question == "Tell me a story." else ""))
                terminal.wait_for("trained and start")
                terminal.press(question + "\r")
                terminal.wait_for(lambda text, asked=question: f"> {asked}" in text)
                text = terminal.wait_for(
                    lambda text: text.count(" start · ") and "esc s" not in text
                )
                picked = "1 or 2 picks" in text
        if picked:
            terminal.press("2")
            terminal.wait_for("second picked")
        terminal.press(ESCAPE)
        terminal.wait_for("1 run")
        terminal.press("q")
        assert terminal.wait() == 0

    lines = records(run / "chat.jsonl")
    assert lines[0]["prompt"] == "What colour is the sky?"
    assert [answer["author"] for answer in lines[-1]["answers"]] == ["policy", "reference"]
    if picked:
        [label] = records(run / "chat_pairs.jsonl")
        assert label["prompt"][0] == {"role": "user", "content": "What colour is the sky?"}
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
        ("smal",): "the nearest names are 'small'",
    }.items():
        refused = program.run("chat", *wrong, home=home)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1
