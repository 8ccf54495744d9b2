"""Programs that follow a run (`report_to`): what they are given, and that they are never in the way
of the training."""

import json
import sqlite3
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.events import Evaluated, Event, Level, PairJudged, Report, RunEnded, RunStarted
from engine.follow import Followers, trackers
from engine.runs import archive
from engine.runs.folder import Run
from engine.session import Session
from engine.settings import trackers as settings_trackers
from engine.settings.checks import problems
from engine.settings.files import from_mapping, preset
from engine.settings.schema import Settings
from tests.engine.small_models import settings

TIMEOUT = 60
# Stands for tensorboardX. What `add_scalar` does beside noting its arguments is put in.
LIBRARY = """
import json, os, sys, time
class SummaryWriter:
    def __init__(self, logdir, purge_step):
        self.note("open", logdir, purge_step)
        print("a library that prints")
        sys.stdin.read()
    def note(self, *what):
        with open({notes!r}, "a") as file:
            file.write(json.dumps(what) + chr(10))
    def add_scalar(self, name, value, step):
        {scalar}
        self.note("scalar", name, value, step)
    def add_text(self, name, text, step):
        self.note("text", name, text, step)
    def flush(self): pass
    def close(self): self.note("close")
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a library in the place of tensorboardX; gives the file that it notes its calls in."""

    def write(scalar: str = "pass") -> Path:
        folder = tmp_path / "library"
        folder.mkdir()
        notes = tmp_path / "notes.jsonl"
        (folder / "tensorboardX.py").write_text(LIBRARY.format(notes=str(notes), scalar=scalar))
        monkeypatch.syspath_prepend(folder)
        return notes

    return write


def calls(notes: Path) -> list[list[Any]]:
    return [json.loads(line) for line in notes.read_text().splitlines()]


def events(run: Run, step: int = 0) -> list[Event]:
    """A run of two reports."""
    pair = PairJudged(
        pair_id="a",
        step=1,
        prompt="What is `it`?\n| <b>",
        first="one",
        second="two",
        choice="first",
        q=0.75,
        judge="someone",
    )
    rate: Any = {"win_rate": 0.75, "win_rate_low": 0.5, "win_rate_high": 0.9}
    started = RunStarted(
        name=run.name,
        folder=str(run.path),
        step=step,
        total_steps=4,
        device="cpu",
        trainable_parameters=10,
        total_parameters=100,
        prompts=4,
        dropped_prompts={},
    )
    return list[Event](
        (
            started,
            pair,
            Report(step=2, metrics={"loss": 0.5, "margin": 1.5, "kl": float("nan")}),
            Evaluated(step=2, split="valid", prompts=4, examples=(), **rate),
            Report(step=4, metrics={"loss": 0.25}),
            Evaluated(step=4, split="kept", prompts=4, examples=(), **rate),
            RunEnded(status="finished", step=4),
        )
    )


def follow(chosen: Settings, given: Callable[[Run], list[Event]]) -> tuple[Run, list[str]]:
    """A run that is followed from the start to the end, and what the followers tell."""
    run = archive.create(chosen)
    lines: list[str] = []

    def tell(level: Level, text: str) -> None:
        lines.append(f"{level}: {text}")

    followers = Followers(chosen, run, tell)
    for event in given(run):
        followers.put(event)
    followers.join()
    return run, lines


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return settings(report_to=["tensorboard"], output_root=str(tmp_path), run_name="r")


def test_metrics_have_their_names_and_pairs_come_as_a_table(
    chosen: Settings, library: Callable[..., Path]
) -> None:
    notes = library()
    run, lines = follow(chosen, events)
    assert lines == []
    opened, config, *rest = calls(notes)
    assert opened == ["open", str(run.path / "tensorboard"), None]
    assert config[:2] == ["text", "config"]
    assert '"beta": 0.1' in config[2]
    scalars = [tuple(each[1:]) for each in rest if each[0] == "scalar"]
    assert ("loss", 0.5, 2) in scalars
    assert ("loss", 0.25, 4) in scalars
    assert ("win_rate", 0.75, 2) in scalars
    assert ("kept/win_rate", 0.75, 4) in scalars
    assert "kl" not in {name for name, *_ in scalars}  # it was no number
    [table] = [each for each in rest if each[0] == "text"]
    header, rule, row = table[2].split("\n")
    assert header.startswith("| step | prompt | first")
    assert set(rule) <= set("| -")
    # Nothing of a model's text marks anything up.
    assert row == (r"| 1 | What is \`it\`? \| &lt;b&gt; | one | two | first | 0.750 | someone |")
    assert rest[-1] == ["close"]


def test_a_resumed_run_hides_what_came_after_its_checkpoint(
    chosen: Settings, library: Callable[..., Path]
) -> None:
    notes = library()
    follow(chosen, lambda run: events(run, step=2))
    assert calls(notes)[0][2] == 3


def test_a_run_that_was_killed_before_its_first_checkpoint_hides_all(
    chosen: Settings, library: Callable[..., Path]
) -> None:
    def again(run: Run) -> list[Event]:
        (run.path / "tensorboard").mkdir()
        return events(run)

    notes = library()
    follow(chosen, again)
    opened, *rest = calls(notes)
    assert opened[2] == 1
    assert "config" not in {each[1] for each in rest if each[0] == "text"}


@pytest.mark.parametrize(
    ("scalar", "words"),
    [
        ("raise ValueError('no room', 'left')", "ValueError: ('no room', 'left')"),
        ("sys.exit('enough')", "SystemExit: enough"),
        ("os._exit(7)", "tensorboard ended by itself"),
        ("time.sleep(3600)", "tensorboard was not done 0.5 seconds after the end"),
    ],
)
def test_a_library_that_fails_is_named_once_and_left_out(
    chosen: Settings,
    library: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    scalar: str,
    words: str,
) -> None:
    library(scalar)
    monkeypatch.setattr(trackers, "FINISH_SECONDS", 0.5 if "sleep" in scalar else 15)
    _, lines = follow(chosen, events)
    [line] = lines
    assert line.startswith("warning: report_to: tensorboard: ")
    assert words in line
    assert line.endswith("the run goes on without it")


def test_a_library_that_reads_nothing_more_is_left_out(
    chosen: Settings, library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a pipe that is full holds anything up."""
    library("time.sleep(3600)")
    monkeypatch.setattr(trackers, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(trackers, "FINISH_SECONDS", 0.5)
    metrics = {f"metric_{number}": 1.0 for number in range(2000)}

    def many(run: Run) -> list[Event]:
        first, *_, last = events(run)
        return [first, *(Report(step=step, metrics=metrics) for step in range(50)), last]

    _, [line] = follow(chosen, many)
    assert "tensorboard has taken nothing for 0.5 seconds" in line


def trained(root: Path, **values: Any) -> Session:
    few = {"iters": 4, "batch_size": 4, "steps_per_report": 2, "steps_per_eval": -1}
    quick = {"guard": "off", "fuse": False, "output_root": str(root)}
    session = Session(preset("starter").model_copy(update=few | quick | values))
    session.start()
    assert session.join(TIMEOUT)
    return session


@pytest.mark.slow
def test_a_run_trains_the_same_beside_a_library_that_hangs(
    tmp_path: Path, library: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "FINISH_SECONDS", 0.5)
    library("time.sleep(3600)")
    alone = trained(tmp_path / "alone")
    beside = trained(tmp_path / "beside", report_to=["tensorboard"])
    assert (alone.status, beside.status) == ("finished", "finished")
    losses = [
        [line["loss"] for line in session.run.read("metrics.jsonl") if "loss" in line]
        for session in (alone, beside)
        if session.run
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2
    assert beside._followers
    beside._followers.join()
    assert beside.run
    log = (beside.run.path / "log.txt").read_text()
    assert log.count("report_to: tensorboard") == 1


def test_what_is_no_tracker_or_not_installed_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [problem] = problems(settings(report_to=["tensorbored"]))
    assert problem.key == "report_to"
    assert "it takes tensorboard, wandb, trackio, swanlab" in problem.message
    monkeypatch.setattr(settings_trackers, "find_spec", lambda name: None)
    [problem] = problems(settings(report_to=["wandb"]))
    assert problem.message == (
        "wandb is not installed; `pip install 'lora-studio[wandb]'` brings it"
    )
    session = Session(settings(report_to=["wandb"]))
    with pytest.raises(UserError, match=r"lora-studio\[wandb\]"):
        session.start()
    assert session.run is None  # nothing was made


def test_configs_of_mlx_lm_name_trackers_in_one_text() -> None:
    chosen = from_mapping({"report_to": "wandb, swanlab", "project_name": "mine"}, "a file")
    assert chosen.report_to == ["wandb", "swanlab"]
    assert chosen.project_name == "mine"


# -- the real libraries ----------------------------------------------------------------------------


def needs(name: str) -> pytest.MarkDecorator:
    missing = find_spec(settings_trackers.TRACKERS[name]) is None
    return pytest.mark.skipif(missing, reason=f"the extra {name} is not installed")


@needs("tensorboard")
def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator")
    chosen = settings(report_to=["tensorboard"], output_root=str(tmp_path), run_name="r")
    run, lines = follow(chosen, events)
    assert lines == []
    read = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    assert [(each.step, each.value) for each in read.Scalars("loss")] == [(2, 0.5), (4, 0.25)]
    assert [each.step for each in read.Scalars("win_rate")] == [2]
    [table] = read.Tensors("pairs/text_summary")
    assert b"What is" in table.tensor_proto.string_val[0]


@needs("wandb")
def test_wandb_keeps_it_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    chosen = settings(report_to=["wandb"], output_root=str(tmp_path), run_name="r")
    run, lines = follow(chosen, events)
    assert lines == []
    [folder] = (run.path / "wandb").glob("offline-run-*")
    [table] = folder.rglob("*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"] == list(trackers.PAIR_COLUMNS)
    assert content["data"][0][2:6] == ["one", "two", "first", 0.75]
    [file] = folder.glob("*.wandb")
    for name in (b"win_rate", b"margin", b"kept/win_rate"):
        assert name in file.read_bytes()


@needs("wandb")
def test_wandb_without_a_login_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for a key on a terminal, where there is one."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    chosen = settings(report_to=["wandb"], output_root=str(tmp_path), run_name="r")
    _, [line] = follow(chosen, events)
    assert "report_to: wandb" in line
    assert "the run goes on without it" in line


@needs("trackio")
def test_trackio_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    chosen = settings(report_to=["trackio"], output_root=str(tmp_path), run_name="r")
    _, lines = follow(chosen, events)
    assert lines == []
    with sqlite3.connect(tmp_path / "trackio" / "lora-studio.db") as data:
        found = [json.loads(row[0]) for row in data.execute("select metrics from metrics")]
    assert [each["loss"] for each in found if "loss" in each] == [0.5, 0.25]
    assert any("kept/win_rate" in each for each in found)
    [table] = [each["pairs"] for each in found if "pairs" in each]
    assert "one" in json.dumps(table)


@needs("swanlab")
def test_swanlab_keeps_it_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    chosen = settings(report_to=["swanlab"], output_root=str(tmp_path), run_name="r")
    run, lines = follow(chosen, events)
    assert lines == []
    [folder] = (run.path / "swanlog").glob("run-*")
    [file] = folder.glob("*.swanlab")
    assert b"win_rate" in file.read_bytes()
    [table] = (folder / "media" / "echarts").glob("*.json")
    assert "&lt;b&gt;" in table.read_text()
