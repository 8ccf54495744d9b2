"""How a run without the app ends, in words and in its exit status, where it is no plain success."""

import json
from pathlib import Path

from engine import runs
from tests.end_to_end.program import SMALL, run, start, words

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
