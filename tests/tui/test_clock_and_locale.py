"""A clock that jumps back, and a locale without UTF-8: nothing is negative, nothing breaks."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.events import RunEnded, StepDone
from engine.runs import archive
from engine.runs.folder import METRICS
from engine.settings.schema import Settings
from tests.command import Command
from tests.end_to_end.program import run as run_program
from tests.tui.archive import make_run
from tests.tui.live import START, a_run, started
from tui.archive.run_rows import Glance, row
from tui.state.run_from_files import RunFromFiles
from tui.state.run_view import RunView
from tui.text.format import age

POOR = {
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "",
}


# -- the clock -----------------------------------------------------------------------------------


def test_a_run_whose_clock_jumps_back_has_no_negative_times() -> None:
    view = RunView("run")
    view.fold([started(total=10)])
    for step, jump in enumerate((5, -10_000, -9_990, 50), 1):
        view.fold([StepDone(step=step, total_steps=10, metrics={"loss": 0.5}, time=START + jump)])
        assert (view.elapsed(START + jump) or 0) >= 0
        left = view.seconds_left()
        assert left is None or left >= 0
    view.fold([RunEnded(status="stopped", step=4, time=START - 20_000)])
    assert (view.elapsed() or 0) >= 0
    assert view.seconds_left() is None
    assert all(at >= 0 for at in view.series["loss"].times)
    view.fold(a_run(3))  # and it can be resumed
    assert (view.elapsed() or 0) >= 0


def test_a_run_of_tomorrow_is_as_old_as_one_of_now(command: Command) -> None:
    made = make_run("tomorrow", steps=3, created=(datetime.now(UTC) + timedelta(1)).isoformat())
    made.append(METRICS, [{"step": 4, "seconds": -50.0, "step_seconds": -1.0}])
    state = (made.path / "run.json").read_text()
    year = str(datetime.now(UTC).year)
    (made.path / "run.json").write_text(state.replace(year, str(int(year) + 1)))
    [summary] = archive.list_runs()
    assert summary.updated
    assert summary.updated > datetime.now(UTC)
    assert "now" in row(summary, 80, Glance(), ()).plain
    assert age(-1e9) == "now"
    assert "-" not in command("runs").out.splitlines()[1].split("tomorrow")[1]
    view = RunFromFiles(made).view
    assert (view.elapsed() or 0) >= 0


# -- the locale ----------------------------------------------------------------------------------


@pytest.fixture
def named(studio_home: Path) -> str:
    """A run with letters that no ASCII locale has."""
    made = archive.create(
        Settings(run_name="größe-日本", model="modèle", judge_system="Höflich! 😀")
    )
    made.update(notes="naïve", tags=["größe"], error="Straße")
    return made.name


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs"],
        ["runs", "--json"],
        ["runs", "show", "größe-日本"],
        ["runs", "show", "größe-日本", "--json"],
        ["config", "starter"],
        ["runs", "delete", "größe-日本"],
    ],
    ids=" ".join,
)
def test_commands_work_in_a_locale_without_utf8(
    arguments: list[str], named: str, studio_home: Path
) -> None:
    done = run_program(*arguments, home=studio_home, **POOR)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == ""


def test_a_config_of_any_letters_is_read_in_a_locale_without_utf8(studio_home: Path) -> None:
    config = studio_home / "größe.yaml"
    config.write_text("model: modèle/日本\nbetaß: 1\n", encoding="utf-8")
    done = run_program("train", str(config), home=studio_home, **POOR)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "there is no setting" in line
