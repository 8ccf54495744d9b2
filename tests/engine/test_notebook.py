"""Training in the calling thread, as a notebook does."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import notebook
from engine.errors import CannotGoOn, NothingLearned, UserError
from engine.events import Event, Log, Saved, StepDone
from engine.notebook import train
from engine.runs import archive
from engine.runs.folder import LOG
from engine.settings.files import preset
from engine.settings.schema import Settings

README = Path(engine.__file__).with_name("README.md")


def few(**values: Any) -> Settings:
    """The starter, for two steps."""
    small = {"iters": 2, "batch_size": 6, "max_completion_length": 24}
    return preset("starter").model_copy(
        update={**small, "steps_per_report": 1, "steps_per_eval": -1, **values}
    )


def test_the_readmes_lines_train(studio_home: Path) -> None:
    [lines] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *steps, last = done.stdout.splitlines()
    assert [line.split()[0] for line in steps] == ["1", "2", "3"]
    assert "margin 0.000" in steps[0]
    assert last.split()[1] == "LanguageModel"
    assert archive.list_runs() == []


def test_without_a_folder_nothing_is_left_but_what_it_returns(
    studio_home: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    result = train(few(fuse=True), events.append)
    assert result.run is None
    assert [report["step"] for report in result.reports] == [1, 2]
    assert sum(isinstance(event, StepDone) for event in events) == 2
    [folder] = {event.folder for event in events if isinstance(event, Saved)}
    assert not Path(folder).exists()
    assert not any("stands alone" in event.text for event in events if isinstance(event, Log))
    assert archive.list_runs() == []
    result.write_adapters(str(tmp_path / "adapters"))  # as a notebook writes a path
    assert {file.name for file in (tmp_path / "adapters").iterdir()} == {
        "adapters.safetensors",
        "adapter_config.json",
    }


def test_with_a_folder_the_run_is_in_the_archive_and_again_trains_the_same(
    studio_home: Path,
) -> None:
    result = train(few(fuse=False, run_name="kept"), run_folder=True)
    assert result.run
    assert result.run.state()["status"] == "finished"
    assert [run.name for run in archive.list_runs()] == ["kept"]
    assert result.run.holder() is None
    again = train(few(fuse=False))
    assert [each["loss"] for each in again.reports] == [each["loss"] for each in result.reports]


def test_what_a_listener_raises_ends_it(studio_home: Path) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(few(run_name="broken"), listen, run_folder=True)
    [run] = archive.list_runs()
    assert run.status == "stopped"


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (CannotGoOn("the disk is full"), "stopped", "the disk is full"),
        (NothingLearned("no pair"), "untrained", "no pair"),
        (ZeroDivisionError("by 0"), "failed", "ZeroDivisionError: by 0"),
    ],
)
def test_a_run_knows_why_it_ended(error: Exception, status: str, why: str) -> None:
    with (
        pytest.raises(type(error)),
        notebook._run_to_train(few(run_name="broken"), in_archive=True),
    ):
        raise error
    [row] = archive.list_runs()
    run = archive.open_run("broken")
    assert (row.status, run.state()["error"]) == (status, why)
    assert f"error   {why}" in (run.path / LOG).read_text()


def test_nobody_can_judge_by_hand_there(studio_home: Path) -> None:
    with pytest.raises(UserError, match="use a Session"):
        train(few(judge="human"))
