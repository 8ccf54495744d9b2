"""`lora-studio runs show RUN --follow`: a run watched from another process."""

import io
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runs import archive
from engine.runs.folder import METRICS, PAIRS, Run
from engine.settings.files import preset
from tests.command import Command
from tests.tui.elsewhere import trained_elsewhere
from tui.cli import follow

PAIR = {"step": 2, "prompt": "p", "chosen": "good", "rejected": "bad", "pair_id": "a"}
HOSTILE = "\x1b]0;owned\x07"


@pytest.fixture
def run(studio_home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    run = archive.create(preset("starter").model_copy(update={"run_name": "far"}))
    run.update(status="running", total_steps=4)
    run.append(METRICS, [{"step": 1, "loss": 0.9}])
    return run


def elsewhere(run: Run, work: Callable[[], None], status: str, error: str | None = None) -> None:
    """Another process: it does some work on the run, and ends."""

    def train() -> None:
        with trained_elsewhere(run):
            held.set()
            time.sleep(0.3)
            work()
            time.sleep(0.3)
            run.update(status=status, step=4, error=error)

    held = threading.Event()
    threading.Thread(target=train).start()
    assert held.wait(10)


def a_step(run: Run) -> Callable[[], None]:
    def work() -> None:
        run.append(METRICS, [{"step": 2, "loss": 0.5, "margin": None}])
        rate = {"win_rate": 0.75, "win_rate_low": 0.5, "win_rate_high": 0.9}
        run.append(METRICS, [{"step": 2, "split": "valid", "prompts": 8} | rate])
        run.append(PAIRS, [PAIR | {"choice": "first", "first": "good", "second": "bad"}])
        run.log("warning", f"look {HOSTILE}")

    return work


def test_what_happens_is_printed_until_the_run_ends(run: Run, command: Command) -> None:
    elsewhere(run, a_step(run), "finished")
    status, out, err = command("runs", "show", "far", "--follow")
    assert (status, err) == (0, "")
    shown, _, news = out.partition("step 2/4  loss 0.500")
    assert "last metrics" in shown  # as without --follow
    assert "loss  0.9" in shown
    assert "win rate 75.0% (50% to 90%, 8 prompts)" in news
    assert "warning: look" in news
    assert "done: step 4 of 4" in news
    assert "\x1b" not in out


def test_each_line_is_an_object_with_json(run: Run, command: Command) -> None:
    elsewhere(run, a_step(run), "stopped", "memory is full")
    status, out, _ = command("runs", "show", "far", "--follow", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 3  # as that of its own process
    assert lines[0]["event"] == "run"
    assert lines[0]["metrics"]["loss"] == 0.9
    by = {line["event"]: line for line in lines}
    assert by["report"]["step"] == 2
    assert by["report"]["loss"] == 0.5
    assert "margin" not in by["report"]
    assert by["evaluated"]["win_rate"] == 0.75
    assert by["pair"]["first"] == "good"
    assert by["log"]["text"].startswith("look")
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["error"] == "memory is full"
    assert [line["event"] for line in lines].count("report") == 1  # not those from before


def test_a_label_given_as_another_is_taken_back_is_told(run: Run, command: Command) -> None:
    labels = [PAIR | {"choice": "first", "pair_id": each} for each in ("a", "b", "c")]
    run.append(PAIRS, labels[:2])

    def work() -> None:
        run.append(PAIRS, labels[2:])
        run.rewrite(PAIRS, lambda line: None if line["pair_id"] == "b" else line)

    elsewhere(run, work, "finished")
    out = command("runs", "show", "far", "--follow", "--json").out
    told = [json.loads(line) for line in out.splitlines()]
    assert [line["pair_id"] for line in told if line["event"] == "pair"] == ["c"]


def test_a_run_that_is_over_is_told_at_once(run: Run, command: Command) -> None:
    run.update(status="finished", step=4)
    status, out, _ = command("runs", "show", "far", "--follow", "--json")
    assert (status, [json.loads(line)["event"] for line in out.splitlines()]) == (
        0,
        ["run", "ended"],
    )
    run.update(status="running")  # and nobody trains it
    assert command("runs", "show", "far", "--follow").status == 1
    assert command("runs", "show", "gone", "--follow").status == 2


def test_a_sign_that_the_encoding_lacks_ends_nothing(
    run: Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.update(status="finished", step=4)
    named = archive.rename(run, "größe").name
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert command("runs", "show", named, "--follow").status == 0
    assert b"gr??e" in printed.getvalue()
