"""One run's folder: its state, records, lock and checkpoints, also after a kill."""

import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs import archive
from engine.runs.checkpoints import Best, checkpoint_damage
from engine.runs.folder import (
    ADAPTERS,
    CHECKPOINTS,
    COMMANDS_FOLDER,
    LOCK,
    METRICS,
    PAIRS,
    Run,
)
from engine.runs.lock import RunBusy
from engine.runs.storage import StorageError
from engine.settings.schema import Settings

pytestmark = pytest.mark.quick


@pytest.fixture
def run() -> Run:
    return archive.create(Settings(model="starter", judge="starter", run_name="trial"))


# -- state and records ------------------------------------------------------------------


def test_an_update_keeps_what_others_wrote_meanwhile(run: Run):
    def count(key: str) -> None:
        other = archive.open_run("trial")
        for number in range(1, 41):
            other.update(**{key: number})

    threads = [threading.Thread(target=count, args=(key,)) for key in ("step", "pairs", "notes")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = run.state()
    assert (state["step"], state["pairs"], state["notes"]) == (40, 40, 40)


def test_how_far_a_run_is_goes_before_what_was_kept_of_it(run: Run):
    run.update(step=5, pairs=20, status="running", notes="mine")
    run.advance(step=7, pairs=28, seconds=3.5)
    expected = {"step": 7, "pairs": 28, "seconds": 3.5, "status": "running", "notes": "mine"}
    assert run.state().items() >= expected.items()
    (row,) = archive.list_runs()
    assert (row.step, row.pairs, row.seconds) == (7, 28, 3.5)
    run.update(status="stopped")
    kept = json.loads((run.path / "run.json").read_text())
    assert (kept["step"], kept["pairs"], kept["status"]) == (7, 28, "stopped")
    (run.path / "progress.json").unlink()
    assert run.state()["step"] == 7


@pytest.mark.parametrize(
    "left", ["", "{", "[]", '{"step": "x", "pairs": true, "seconds": null}', '{"step": 1e999}']
)
def test_a_damaged_word_on_how_far_it_is_harms_nothing(left: str, run: Run):
    run.update(step=5, pairs=20)
    (run.path / "progress.json").write_text(left)
    state = run.state()
    assert (state["step"], state["pairs"]) == (5, 20)
    assert "seconds" not in state


def test_to_say_how_far_it_is_waits_for_no_disk(run: Run, monkeypatch: pytest.MonkeyPatch):
    def wait(file: int) -> None:
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fsync", wait)
    run.advance(step=7, pairs=28, seconds=3.5)
    assert run.state()["step"] == 7
    with pytest.raises(AssertionError, match="synced"):
        run.update(status="paused")


def test_a_text_of_any_length_leaves_a_state_that_can_be_read(run: Run):
    """Guards against a long prompt among the examples, which once made the run a damaged one."""
    examples = ({"prompt": "x" * 2_000_000, "after": "ok"},)
    run.update(examples=examples, error="y" * 2_000_000)
    state = run.update(step=1)
    assert state["examples"][0]["after"] == "ok"
    assert state["examples"][0]["prompt"].startswith("xxx")
    assert len((run.path / "run.json").read_bytes()) < 100_000


def test_a_torn_line_is_repaired_and_reported_before_the_next_is_added(run: Run):
    run.append(METRICS, [{"step": 1}])
    with (run.path / METRICS).open("a") as file:
        file.write('{"step": 2, "los')
    resumed = archive.open_run("trial")
    resumed.append(METRICS, [{"step": 2}])
    assert [record["step"] for record in run.read(METRICS)] == [1, 2]
    assert f"{METRICS} ended in an unfinished line" in (run.path / "log.txt").read_text()


def test_a_resumed_run_forgets_later_steps_but_no_label_of_a_person(run: Run):
    run.append(METRICS, ({"step": step} for step in range(1, 11)))
    run.append(PAIRS, [{"step": 5}, {"step": 7, "keep": True}, {"step": 8}, {"note": "no step"}])
    assert run.keep_until(METRICS, 6) == 4
    assert [record["step"] for record in run.read(METRICS)] == [1, 2, 3, 4, 5, 6]
    assert run.keep_until(PAIRS, 6) == 1
    assert list(run.read(PAIRS)) == [{"step": 5}, {"step": 7, "keep": True}, {"note": "no step"}]
    assert run.keep_until("nothing.jsonl", 6) == 0


def test_a_line_of_the_log_is_one_line_of_harmless_text(run: Run):
    run.log("warning", "a \x1b[31mred\x1b[0m line\r")
    (line,) = (run.path / "log.txt").read_text().splitlines()
    assert line.endswith(r"warning a \x1b[31mred\x1b[0m line\x0d")


# -- the lock ---------------------------------------------------------------------------


def hold_in_another_process(run: Run) -> subprocess.Popen[str]:
    code = (
        "import sys, time; from engine.runs.archive import open_run\n"
        "with open_run(sys.argv[1]).lock(): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_two_processes_cannot_train_one_run_and_a_killed_one_lets_go(run: Run):
    other = hold_in_another_process(run)
    try:
        held = run.holder()
        assert held
        assert held.pid == other.pid
        with pytest.raises(RunBusy, match=f"process {other.pid} on "), run.lock():
            pass
        assert [row.name for row in archive.list_runs()] == ["trial"]
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    assert run.holder() is None
    with run.lock():
        assert run.holder()
    assert run.holder() is None


def test_asking_who_holds_a_run_never_keeps_it_from_being_held(run: Run):
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.002):
            run.holder()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(20):
            with run.lock():
                time.sleep(0.001)
    finally:
        done.set()
        asking.join()


def test_without_locks_the_file_itself_is_the_advice(run: Run, monkeypatch: pytest.MonkeyPatch):
    """As on a network file system without a lock service."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with run.lock():
        assert run.holder()
        with pytest.raises(RunBusy), run.lock():
            pass
        run.append(METRICS, [{"step": 1}])
        run.update(step=1)
    with run.lock():
        pass
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], **PIPED)
    told = {"pid": int(gone.stdout), "host": os.uname().nodename, "since": "2026-01-01T00:00:00"}
    (run.path / LOCK).write_text(json.dumps(told))
    with run.lock():
        pass
    (run.path / LOCK).write_text(json.dumps(told | {"host": "another-host"}))
    with pytest.raises(RunBusy, match="on another-host since"), run.lock():
        pass


PIPED: dict[str, Any] = {"capture_output": True, "text": True, "check": True}


# -- checkpoints ------------------------------------------------------------------------


def save(run: Run, step: int, text: str = "weights") -> None:
    with run.checkpoint_folder(step) as folder:
        (folder / "adapters.safetensors").write_text(text)
        (folder / "more").mkdir()
        (folder / "more" / "state.json").write_text(str(step))


def test_extra_checkpoints_do_not_push_out_those_of_save_every(run: Run):
    """Of those that are extra stay the best, the sound ones and the newest."""
    best, sound = Best(15, 0.75, 0.6, 1.0), []
    for step in range(0, 100, 5):
        regular, watched = step % 20 == 0, step % 10 == 0
        sound = [*sound[-1:], step] if watched else sound
        with run.checkpoint_folder(step, best if step >= 15 else None, sound, extra=not regular):
            pass
        run.prune_checkpoints(keep=3)
    assert [int(each.name) for each in run.checkpoints()] == [15, 40, 60, 80, 90, 95]


def fail_midway(run: Run, step: int) -> None:
    with run.checkpoint_folder(step) as folder:
        (folder / "adapters.safetensors").write_text("half")
        assert latest(run) != step
        raise ZeroDivisionError


def latest(run: Run) -> int | None:
    checkpoint = run.latest_checkpoint()
    return int(checkpoint.name) if checkpoint else None


def test_a_checkpoint_is_whole_or_not_there(run: Run):
    assert latest(run) is None
    save(run, 10)
    with pytest.raises(ZeroDivisionError):
        fail_midway(run, 20)
    assert latest(run) == 10
    assert os.listdir(run.path / "checkpoints") == ["0000010"]
    save(run, 20)
    assert latest(run) == 20
    save(run, 20, "again")
    assert (run.checkpoints()[-1] / "adapters.safetensors").read_text() == "again"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "adapters.safetensors").write_text("weighty"), "not what was"),
        (lambda folder: (folder / "adapters.safetensors").write_text("short"), "the size"),
        (lambda folder: (folder / "more" / "state.json").unlink(), "the size"),
        (lambda folder: (folder / "manifest.json").unlink(), "No such file"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": [1]}'), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(run: Run, damage: Callable[[Path], Any], reason: str):
    save(run, 10)
    save(run, 20)
    assert checkpoint_damage(run.checkpoints()[-1]) is None
    damage(run.checkpoints()[-1])
    assert reason in (checkpoint_damage(run.checkpoints()[-1]) or "")
    assert latest(run) == 10


def test_only_the_newest_whole_checkpoints_are_kept(run: Run):
    for step in range(1, 7):
        save(run, step)
    (run.path / "checkpoints" / "0000005" / "manifest.json").unlink()
    run.prune_checkpoints(keep=3)
    assert [int(each.name) for each in run.checkpoints()] == [3, 4, 5, 6]
    run.prune_checkpoints(keep=9)
    assert len(run.checkpoints()) == 4
    save(run, 7)  # and then comes a kill
    run.repair()
    assert [int(each.name) for each in run.checkpoints()] == [4, 5, 6, 7]


@pytest.mark.parametrize("aside", [".0000010.old", ".old-0000010"], ids=["now", "earlier"])
@pytest.mark.parametrize("unfinished", [".0000020.tmp", ".tmp-0000020"], ids=["now", "earlier"])
def test_repair_tidies_up_what_a_kill_left(run: Run, aside: str, unfinished: str):
    save(run, 10)
    folder = run.path / CHECKPOINTS
    (folder / "0000010").rename(folder / aside)
    for left in (folder / unfinished, folder / ".0000005.gone", run.path / ".fused.tmp"):
        left.mkdir()
        (left / "adapters.safetensors").write_text("half")
    (run.path / COMMANDS_FOLDER).mkdir()
    for left in (
        run.path / ".run.json.123-4.tmp",
        run.path / ADAPTERS / ".adapters.safetensors.tmp.safetensors",
        run.path / ADAPTERS / ".adapter_config.json.123-4.tmp",
        run.path / COMMANDS_FOLDER / ".00017-1-0.stop.123-4.tmp",
    ):
        left.write_text("half")
    (run.path / ".mine").write_text("a file of the user's")
    assert latest(run) is None
    told = " ".join(run.repair())
    assert "0000010 was put back" in told
    assert f"an unfinished folder, {unfinished}," in told
    assert "an unfinished folder, .fused.tmp," in told
    assert latest(run) == 10
    assert os.listdir(folder) == ["0000010"]
    assert [left.name for left in run.path.rglob(".*")] == [".mine"]
    assert run.repair() == []


CHECKPOINTER = """
import sys
from engine.runs.archive import open_run
run, step = open_run(sys.argv[1]), int(sys.argv[2])
with run.lock():
    run.repair()
    while True:
        step += 1
        with run.checkpoint_folder(step) as folder:
            (folder / "weights").write_text(str(step) * 50_000)
        print(step, flush=True)
        with run.checkpoint_folder(step) as folder:
            (folder / "weights").write_text(str(step) * 50_000)
        run.prune_checkpoints(keep=2)
"""


def test_checkpoints_of_a_process_killed_at_random_instants_stay_whole(run: Run):
    instants = random.Random(1)
    step = 0
    for _ in range(16):
        command = [sys.executable, "-c", CHECKPOINTER, str(run.path), str(step)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        said = [process.stdout.readline()]
        time.sleep(instants.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.communicate()
        acknowledged = int([line for line in said if line.endswith("\n")][-1])
        run.repair()
        checkpoint = run.latest_checkpoint()
        assert checkpoint
        step = int(checkpoint.name)
        assert acknowledged <= step <= acknowledged + 1
        assert (checkpoint / "weights").read_text() == str(step) * 50_000
    assert step >= 16


# -- a full disk, and one that is gone -----------------------------------------------------------


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(
    small_disk: Path, fill_disk: Callable[[], Path]
):
    """Written by MLX, which reports a full disk as an error of its own."""
    import mlx.core as mx

    run = archive.create(Settings(model="starter", output_root=str(small_disk), run_name="trial"))

    def save_arrays(step: int) -> None:
        with run.checkpoint_folder(step) as folder:
            mx.save_safetensors(str(folder / "adapters.safetensors"), {"a": mx.ones((1 << 18,))})

    save_arrays(10)
    ballast = fill_disk()
    for again in (10, 20):
        with pytest.raises(StorageError, match="free some space"):
            save_arrays(again)
    with pytest.raises(StorageError, match="free some space"):
        run.update(step=20, notes="x" * 100_000)
    assert latest(run) == 10
    assert os.listdir(run.path / "checkpoints") == ["0000010"]
    assert run.state()["step"] == 0
    ballast.unlink()
    save_arrays(20)
    run.update(step=20)
    assert latest(run) == 20


def test_a_folder_that_is_away_for_a_while_is_a_storage_error(run: Run):
    away = run.path.with_name("away")
    run.path.rename(away)
    for write in (
        lambda: run.append(METRICS, [{"step": 1}]),
        lambda: run.update(step=1),
        lambda: save(run, 1),
    ):
        with pytest.raises(StorageError):
            write()
    away.rename(run.path)
    run.append(METRICS, [{"step": 1}])
    run.update(step=1)
    save(run, 1)
    assert latest(run) == 1
