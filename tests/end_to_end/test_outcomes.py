"""How a run without the app ends, in words and in its exit status, where it is no plain success."""

import json
from pathlib import Path

import pytest

from engine import runs
from engine.config import preset, to_yaml
from tests.end_to_end.program import SMALL, run, start, words
from tests.end_to_end.pseudo_terminal import studio

SHORT = SMALL | {"iters": 5, "steps_per_eval": -1}


def test_a_resume_that_fails_says_at_which_step(studio_home: Path) -> None:
    settings = words(**SHORT | {"iters": 2}, run_name="one")
    assert run("train", "starter", *settings, home=studio_home).returncode == 0
    folder = studio_home / "runs" / "one"
    runs.open_run(folder).update(status="stopped")
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
    (row,) = runs.list_runs(studio_home / "runs")
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
    assert trained.stdout.splitlines()[-2].startswith("done: step 1 of 1")
    assert "terminal" not in trained.stderr


@pytest.mark.parametrize("source", ["starter", "config"])
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
    assert runs.open_run(studio_home / "runs" / "live").state()["status"] == "finished"


def test_a_run_that_a_person_judges_is_gone_on_with_in_the_app(studio_home: Path) -> None:
    by_hand = preset("starter-human").model_copy(update={"run_name": "by-hand"})
    runs.create(by_hand)
    refused = run("resume", "by-hand", home=studio_home)
    assert refused.returncode == 2
    command = refused.stderr.partition("`lora-studio ")[2].partition("`")[0]
    with studio(studio_home, *command.split()) as terminal:
        terminal.wait_for(lambda text: "by-hand" in text and "1 waiting" in text, 120)
        terminal.kill()
