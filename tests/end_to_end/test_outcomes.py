"""How a run without the app ends, in words and in its exit status, where it is no plain success."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runs import archive
from engine.settings.files import preset, to_yaml
from tests.end_to_end.program import SMALL, records, run, start, words
from tests.end_to_end.pseudo_terminal import studio
from tests.engine.small_models import write_model

SHORT = SMALL | {"iters": 5, "steps_per_eval": -1}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that answers neither 1 nor 2."""
    return write_model(tmp_path_factory.mktemp("models") / "judge")


@pytest.mark.parametrize("as_json", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_that_learned_nothing_is_status_3(
    as_json: bool, judge: Path, studio_home: Path
) -> None:
    settings = words(**SHORT | {"fuse": True, "steps_per_eval": 3}, judge=judge, run_name="one")
    done = run("train", "starter", *settings, *(["--json"] if as_json else []), home=studio_home)
    assert done.returncode == 3, done.stderr
    assert "none of 20 pairs could be learned from: " in done.stderr
    assert "without a valid verdict" in done.stderr
    if as_json:
        events = records(done.stdout)
        assert events[-1]["status"] == "untrained"
        assert events[-1]["error"] in done.stderr
        told = [each for each in events if each["event"] == "health"]
        assert "none of 16 pairs" in told[-2]["findings"][0]["text"]
        assert told[-1]["step"] == 5
    else:
        assert "warning: health: none of 16 pairs could be learned from" in done.stdout
        assert "nothing was learned: step 5 of 5 in " in done.stdout
        for success in ("done", "win rate: ", "  after  "):
            assert success not in done.stdout
    assert not (studio_home / "runs" / "one" / "fused").exists()
    shown = run("runs", "show", "one", home=studio_home).stdout
    assert "untrained" in shown
    assert "none of 20 pairs could be learned from" in shown.partition("\nhealth\n")[2]
    assert "untrained" in run("runs", home=studio_home).stdout
    again = run("resume", "one", home=studio_home)
    assert again.returncode == 2
    assert "is untrained" in again.stderr


def test_a_pause_that_nobody_can_end_is_a_stop_and_status_3(studio_home: Path) -> None:
    full = (
        "from engine.machine.memory import memory\n"
        "from engine.train.watch import memory_guard\n"
        "memory_guard.process_memory = lambda: memory()[0]\n"
        "from tui.main import main\n"
        "main()\n"
    )
    arguments = ["train", "starter", *words(**SHORT, run_name="one")]
    done = subprocess.run(
        [sys.executable, "-c", full, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "LORA_STUDIO_HOME": str(studio_home)},
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert "stopped with a checkpoint: " in done.stderr
    assert "memory_limit" in done.stderr
    assert "stopped at step 1 of 5 with a checkpoint; `lora-studio resume one`" in done.stdout
    assert run("resume", "one", home=studio_home).returncode == 0


def test_a_judge_that_finds_no_winner_stops_the_run_with_status_3(studio_home: Path) -> None:
    values = SHORT | {"batch_size": 16, "iters": 4, "judge": "rule:json"}  # no answer is JSON
    done = run("train", "starter", *words(**values), "--run-name", "one", home=studio_home)
    assert done.returncode == 3, done.stderr
    assert "stopped with a checkpoint: the judge finds a winner in 0 of its first 32" in done.stderr
    assert "of 4 with a checkpoint; `lora-studio resume one` goes on" in done.stdout


def test_a_resume_that_fails_says_at_which_step(studio_home: Path) -> None:
    settings = words(**SHORT | {"iters": 2}, run_name="one")
    assert run("train", "starter", *settings, home=studio_home).returncode == 0
    folder = studio_home / "runs" / "one"
    archive.open_run(folder).update(status="stopped")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("model: starter", "model: /nowhere/at/all"))
    done = run("resume", "one", home=studio_home)
    assert done.returncode == 2
    assert "failed at step 2 of 2" in done.stdout
    assert "/nowhere/at/all" in done.stderr


def test_a_kill_before_the_first_report_hides_no_step(studio_home: Path) -> None:
    settings = words(**SMALL | {"iters": 500, "steps_per_eval": -1, "save_every": 500})
    arguments = [*settings, *words(steps_per_report=500, run_name="one"), "--json"]
    process = start("train", "starter", *arguments, home=studio_home)
    assert process.stdout
    taken = 0
    for line in process.stdout:
        event = json.loads(line)
        taken = event["step"] if event["event"] == "step" else taken
        if taken == 3:
            break
    process.kill()
    process.communicate()
    (row,) = archive.list_runs(studio_home / "runs")
    assert row.status == "interrupted"
    assert row.step is not None
    assert row.step >= taken - 1  # it is told before it is written
    assert row.pairs is not None
    assert row.pairs >= 4 * row.step
    assert f"{row.step}/500" in run("runs", home=studio_home).stdout


def test_a_preset_without_a_terminal_trains_as_train_does(studio_home: Path) -> None:
    begun = run("starter", *words(**SHORT | {"iters": 1}), "--run-name", "one", home=studio_home)
    assert begun.returncode == 0, begun.stderr
    assert "the app needs a terminal; training without it" in begun.stderr
    assert "done: step 1 of 1" in begun.stdout
    trained = run("train", "starter", *words(**SHORT | {"iters": 1}), home=studio_home)
    assert any(line.startswith("done: step 1 of 1") for line in trained.stdout.splitlines())
    assert "terminal" not in trained.stderr


@pytest.mark.parametrize("source", [pytest.param("starter", marks=pytest.mark.slow), "config"])
def test_in_a_terminal_it_is_live_in_the_app_without_a_key(
    source: str, studio_home: Path, tmp_path: Path
) -> None:
    values = SHORT | {"iters": 4, "run_name": "live"}
    if source == "starter":
        arguments = ["starter", *words(**values)]
    else:
        config = tmp_path / "mine.yaml"
        config.write_text(to_yaml(preset("starter").model_copy(update=values)))
        arguments = [str(config), "--start"]
    with studio(studio_home, *arguments) as terminal:
        terminal.wait_for("step 4 / 4", 120)
        terminal.wait_for("Finished", 120)
        terminal.press("q")
        assert terminal.wait() == 0
        assert "live: done: step 4 of 4" in terminal.text
    assert archive.open_run(studio_home / "runs" / "live").state()["status"] == "finished"


def test_a_run_that_a_person_judges_is_gone_on_with_in_the_app(studio_home: Path) -> None:
    by_hand = preset("starter-human").model_copy(update={"run_name": "by-hand"})
    archive.create(by_hand)
    refused = run("resume", "by-hand", home=studio_home)
    assert refused.returncode == 2
    command = refused.stderr.partition("`lora-studio ")[2].partition("`")[0]
    with studio(studio_home, *command.split()) as terminal:
        terminal.wait_for(lambda text: "by-hand" in text and "1 more waits" in text, 120)
        terminal.kill()
