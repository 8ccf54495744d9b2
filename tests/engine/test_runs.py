"""The archive: names, listing, deleting and renaming."""

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.errors import UserError
from engine.runs import archive, run_names, run_summary, storage, trash
from engine.runs.folder import CONFIG, PAIRS, STATE, Run, read_state
from engine.runs.json_lines import Record
from engine.runs.lock import RunBusy
from engine.settings.schema import Settings


def new_run(name: str | None = "trial", **changes: Any) -> Run:
    return archive.create(Settings(model="starter", judge="starter", run_name=name, **changes))


@pytest.fixture
def run() -> Run:
    return new_run()


def names() -> set[str]:
    return {summary.name for summary in archive.list_runs()}


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my run", "my-run"),
        ("../../etc/passwd", "etc-passwd"),
        ("/etc/passwd", "etc-passwd"),
        ("", "run"),
        ("..", "run"),
        (".hidden", "hidden"),
        ("ends in dots...", "ends-in-dots"),
        ("a\x1b[31mb\nc\0d", "a-31mb-c-d"),
        ("CON", "CON-run"),
        ("nul.txt", "nul.txt-run"),
        ("Grüße 你好", "Grüße-你好"),
        ("\u202eevil\u200b", "evil"),
        ("lone \ud800 surrogate", "lone-surrogate"),
    ],
)
def test_a_name_is_made_one_harmless_component(text: str, name: str):
    assert run_names.safe_name(text) == name


@given(st.text(st.characters(), max_size=400))
def test_any_name_stays_in_its_folder_and_is_stable(text: str):
    name = run_names.safe_name(text)
    assert 0 < len(name.encode()) <= run_names.NAME_LIMIT + len("run-run")
    assert Path("root", name).parent == Path("root")
    assert name[0] not in ".-"
    assert name[-1] not in ".-"
    assert name.isprintable()
    assert run_names.safe_name(name) == name


def test_an_automatic_name_is_the_model_and_a_number():
    names = [archive.create(Settings(model="Qwen/Qwen3-0.6B")).name for _ in range(3)]
    assert names == ["qwen3-0.6b", "qwen3-0.6b-2", "qwen3-0.6b-3"]
    for model in ("org/" + "m" * 300, "/models/" + "名前" * 90, "/", "a-" * 40):
        name = archive.create(Settings(model=model)).name
        assert 0 < len(name.encode()) <= run_names.AUTOMATIC_LIMIT
        assert run_names.safe_name(name) == name


def test_a_taken_name_gets_a_number():
    assert [new_run().name for _ in range(3)] == ["trial", "trial-2", "trial-3"]
    assert archive.open_run("trial-2").state()["name"] == "trial-2"


def test_many_threads_creating_one_name_get_one_folder_each():
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(new_run().name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8
    assert names() == set(made)
    assert not [name for name in os.listdir(archive.runs_root()) if name.startswith(".")]


# -- creating and opening ------------------------------------------------------------------------


def test_a_new_run_holds_its_settings_and_first_state(studio_home: Path):
    settings = Settings(model="starter", beta=0.25, run_name="first")
    run = archive.create(settings)
    assert run.path == studio_home / "runs" / "first"
    opened = archive.open_run("first")
    assert opened.settings() == settings
    state = opened.state()
    assert (state["status"], state["step"], state["model"]) == ("paused", 0, "starter")
    assert {"mlx", "mlx-lm", "numpy", "python"} <= set(state["versions"])
    assert datetime.fromisoformat(state["created"]).utcoffset() == timedelta(0)
    assert run.path.stat().st_mode & 0o777 == 0o700
    for file in (CONFIG, STATE):
        assert (run.path / file).stat().st_mode & 0o777 == 0o600


def test_output_root_moves_the_runs(tmp_path: Path):
    run = new_run(output_root=str(tmp_path / "elsewhere"))
    assert run.path == tmp_path / "elsewhere" / "runs" / "trial"
    assert names() == set()
    assert archive.open_run(run.path).name == archive.open_run(str(run.path)).name == "trial"


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"a run cannot be kept in .*set output_root"):
        new_run(output_root=str(tmp_path / "file"))


def test_a_missing_run_names_the_nearest(run: Run):
    new_run("other")
    with pytest.raises(UserError, match=r"no run 'trail'; the nearest name is 'trial'"):
        archive.open_run("trail")
    with pytest.raises(UserError, match="holds no runs yet"):
        archive.open_run("trail", run.path / "nothing")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "x" * 5000, "a\0b", "../trial", "/nowhere", "~nobody-here"]
)
def test_a_name_that_is_none_opens_nothing(
    run: Run, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no run"):
        archive.open_run(text)


def test_a_link_in_the_archive_is_not_followed(run: Run, tmp_path: Path):
    outside = tmp_path / "outside"
    run.path.rename(outside)
    run.path.symlink_to(outside)
    with pytest.raises(UserError, match="is a link"):
        archive.open_run("trial")
    (row,) = archive.list_runs()
    assert row.damaged
    trashed = trash.delete(run.path)
    trash.empty_trash(older_than=timedelta(0))
    assert not trashed.is_symlink()
    assert (outside / STATE).exists()


# -- listing -------------------------------------------------------------------------------------


def test_a_row_states_what_the_run_stored(run: Run):
    run.update(status="finished", step=30, total_steps=90, pairs=480, loss=0.5, win_rate=0.75)
    run.update(tags=["good", 3], notes="a note", seconds=12.5)
    (row,) = archive.list_runs()
    assert (row.status, row.step, row.total_steps, row.pairs) == ("finished", 30, 90, 480)
    assert (row.loss, row.win_rate, row.seconds) == (0.5, 0.75, 12.5)
    assert (row.model, row.judge, row.train_type) == ("starter", "starter", "lora")
    assert (row.tags, row.notes) == (("good",), "a note")
    assert row.created
    assert row.updated
    assert row.created <= row.updated
    assert row.damaged is None


def test_the_newest_run_comes_first_even_if_the_clock_jumped_back():
    for name, created in [("a", "2026-01-02T00:00:00"), ("b", "2026-01-03"), ("c", "junk")]:
        new_run(name).update(created=created)
    assert [row.name for row in archive.list_runs()] == ["b", "a", "c"]


@pytest.mark.parametrize("status", ["running", "paused"])
def test_a_run_under_way_that_nobody_holds_is_interrupted(run: Run, status: str):
    run.update(status=status)
    assert [row.status for row in archive.list_runs()] == ["interrupted"]
    with run.lock():
        assert [row.status for row in archive.list_runs()] == [status]


def test_a_run_is_read_again_only_when_its_files_have_changed(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    read: list[Path] = []

    def counted(folder: Path) -> Record:
        read.append(folder)
        return read_state(folder)

    monkeypatch.setattr(run_summary, "read_state", counted)
    first = archive.list_runs()
    assert archive.list_runs() == first
    assert read == [run.path]
    run.update(status="running")
    with run.lock():
        assert [row.status for row in archive.list_runs()] == ["running"]
        run.advance(step=3, pairs=5, seconds=1.0)
        assert [(row.step, row.pairs) for row in archive.list_runs()] == [(3, 5)]
    assert len(read) == 3
    assert [row.status for row in archive.list_runs()] == ["interrupted"]
    assert len(read) == 3  # who trains it is asked each time


def as_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), "No such file"),
        (lambda file: file.write_bytes(b""), "no JSON object"),
        (lambda file: file.write_bytes(b'{"name": "tr'), "no JSON object"),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), "no JSON object"),
        (lambda file: file.write_bytes(b"[" * 200_000), "no JSON object"),
        (lambda file: file.write_bytes(b" " * (1 << 21)), "longer than"),
        (lambda file: (file.unlink(), file.mkdir()), "not a regular file"),
        (as_pipe, "not a regular file"),
    ],
)
def test_a_damaged_run_is_a_row_and_harms_no_other(
    run: Run, damage: Callable[[Path], Any], reason: str
):
    new_run("healthy")
    damage(run.path / STATE)
    rows = {row.name: row for row in archive.list_runs()}
    assert rows["trial"].status == "damaged"
    assert reason in (rows["trial"].damaged or "")
    assert rows["healthy"].damaged is None
    with pytest.raises(UserError, match=reason):
        archive.open_run("trial")
    trashed = trash.delete(run.path)
    assert names() == {"healthy"}
    trash.undelete(trashed)
    assert names() == {"healthy", "trial"}


odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
STATE_KEYS = ["status", "step", "total_steps", "pairs", "loss", "win_rate", "created", "updated"]
STATE_KEYS += ["model", "judge", "train_type", "tags", "notes", "error", "seconds"]


def list_anything(folder: Path, data: bytes) -> None:
    (folder / "odd").mkdir(exist_ok=True)
    (folder / "odd" / STATE).write_bytes(data)
    (row,) = archive.list_runs(folder)
    assert row.name == "odd"
    assert row.status


fuzzed = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(st.dictionaries(st.sampled_from(STATE_KEYS), odd_values))
def test_any_values_in_a_state_make_a_row(studio_home: Path, state: dict):
    list_anything(studio_home, json.dumps(state).encode())


@fuzzed
@given(st.binary(max_size=200))
def test_any_bytes_as_a_state_make_a_row(studio_home: Path, data: bytes):
    list_anything(studio_home, data)


@pytest.mark.slow
@hypothesis_settings(fuzzed, max_examples=10_000, deadline=None)
@given(st.dictionaries(st.sampled_from(STATE_KEYS), odd_values), st.binary(max_size=40))
def test_ten_thousand_states_make_rows(studio_home: Path, state: dict, junk: bytes):
    text = json.dumps(state).encode()
    list_anything(studio_home, text)
    list_anything(studio_home, text[: len(text) // 2] + junk + text[len(text) // 2 :])


# -- deleting, renaming --------------------------------------------------------------------------


def test_a_deleted_run_can_be_brought_back_until_the_trash_is_emptied(run: Run):
    run.append(PAIRS, [{"step": 1}])
    trashed = trash.delete(run.path)
    assert names() == set()
    assert trash.undelete(trashed).name == "trial"
    assert list(run.read(PAIRS)) == [{"step": 1}]

    trashed = trash.delete(run.path)
    new_run("trial")
    assert trash.undelete(trashed).name == "trial-2"

    trashed = trash.delete(run.path)
    assert trash.empty_trash() == 0  # it is kept for a day
    assert trashed.exists()
    long_ago = time.time() - 1.01 * trash.KEPT_IN_TRASH.total_seconds()
    os.utime(trashed.parent, (long_ago, long_ago))
    assert trash.empty_trash() == 1
    assert not trashed.exists()
    with pytest.raises(storage.StorageError):
        trash.undelete(trashed)


def test_what_a_kill_in_the_middle_of_making_a_run_left_goes_with_the_trash(run: Run):
    left = run.path.parent / f"{archive.NEW}k1ll3d"
    (left / "adapters").mkdir(parents=True)
    assert names() == {"trial"}
    assert trash.empty_trash() == 0  # it may be in the making
    long_ago = time.time() - 1.01 * trash.KEPT_IN_TRASH.total_seconds()
    os.utime(left, (long_ago, long_ago))
    assert trash.empty_trash() == 1
    assert not left.exists()
    assert names() == {"trial"}


def test_a_trash_that_leads_elsewhere_is_not_emptied(run: Run, tmp_path: Path):
    precious = tmp_path / "elsewhere" / "precious"
    precious.mkdir(parents=True)
    (run.path.parent / trash.TRASH).symlink_to(precious.parent)
    assert trash.empty_trash(older_than=timedelta(0)) == 0
    assert precious.exists()


def test_a_renamed_run_keeps_everything_and_takes_no_name(run: Run):
    run.append(PAIRS, [{"step": 1}])
    new_run("other")
    with pytest.raises(UserError, match="a run named 'other' already"):
        archive.rename(run, "other")
    renamed = archive.rename(run, "../a better name")
    assert renamed.name == "a-better-name"
    assert renamed.state()["name"] == "a-better-name"
    assert list(renamed.read(PAIRS)) == [{"step": 1}]
    assert names() == {"a-better-name", "other"}
    assert archive.rename(renamed, "a better name").path == renamed.path


def test_a_run_in_use_is_neither_deleted_nor_renamed(run: Run):
    with run.lock():
        with pytest.raises(RunBusy):
            trash.delete(run.path)
        with pytest.raises(RunBusy):
            archive.rename(run, "other")
    assert names() == {"trial"}
