"""A run killed at any one of its changes of the disk, and gone on with, ends as an unbroken one.

pytest -s -m slow tests/end_to_end/test_every_write.py      every one of them: about half an hour
"""

import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.runs import trash
from tests.end_to_end.program import written
from tests.engine.small_models import QWEN3, write_model, write_prompts

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Metal does not survive a fork")
# Files that tell of times, beside those that `written` reads.
TIMED = re.compile(r"(log\.txt|(run|progress|manifest|state)\.json|lock|.*\.jsonl)$")
KEPT = ("status", "step", "total_steps", "pairs", "error", "win_rate", "name")  # of run.json


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of a run that uses all that writes."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "policy", QWEN3 | {"num_hidden_layers": 1}, scale=1.0)
    write_prompts(folder / "prompts.jsonl", 12)
    pair = {"prompt": "Why?", "chosen": "It is so.", "rejected": "No."}
    (folder / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    return {
        "run_name": "cut",
        "model": str(folder / "policy"),
        "judge": str(folder / "policy"),
        "data": str(folder / "prompts.jsonl"),
        "quantization": "none",
        "guard": "off",  # a random policy can do nothing
        "num_layers": -1,
        "warm_start": str(folder / "pairs.jsonl"),  # a step of its own
        "replay": 0.5,
        "iters": 4,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 3,
        "max_seq_length": 512,
        "eval_prompts": 2,
        "steps_per_eval": 4,
        "steps_per_report": 2,
        "save_every": 1,
        "test": True,
        "keep": "last",  # the judge is at chance, and of the start nothing would be fused
        "fuse": True,
        "lm_studio_name": "me/cut",
    }


class Runner:
    """Starts runs that kill themselves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, home: Path, at: int = 0, *, within: bool = False) -> dict[str, Any]:
        """A run, or what is left of it, killed at its change number `at`; 0: never."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"home": str(home), "at": at, "within": within}))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def runner(values: dict[str, Any], log: Path) -> Iterator[Runner]:
    command = [sys.executable, "-m", "tests.end_to_end.cut_short", json.dumps(values)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        yield Runner(process)
        assert process.stdin
        process.stdin.close()


def left_by(home: Path) -> dict[str, Any]:
    """All that lies in a folder, less what tells of times; every file of a run is its owner's."""
    trash.empty_trash(home / "runs", timedelta(0))
    folder = home / "runs" / "cut"
    state = json.loads((folder / "run.json").read_text())
    found: dict[str, Any] = {"records": written(folder), "state": {k: state[k] for k in KEPT}}
    for path in sorted(home.rglob("*")):
        name, mode = path.relative_to(home).as_posix(), path.stat().st_mode & 0o777
        if path.is_relative_to(folder):
            assert mode == (0o700 if path.is_dir() else 0o600), name
        timed = path.is_dir() or TIMED.search(name)
        found[name] = None if timed else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def check(
    runner: Runner, home: Path, log: Path, wanted: dict[str, Any], at: int, within: bool, again: int
) -> None:
    """Kill a run at a change, and at another when it goes on; then it ends as wanted."""
    told = f"killed at change {at}{', in it' if within else ''}, then at {again}"
    first = runner.run(home, at, within=within)
    assert first["status"] == -signal.SIGKILL, told
    runner.run(home, again)
    last = runner.run(home)
    assert last["status"] == 0, f"{told}\n{log.read_text()}"
    assert left_by(home) == wanted, told
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def unbroken(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Runner, Path, int]]:
    folder = tmp_path_factory.mktemp("cut")
    with runner(values, folder / "log") as started:
        ended = started.run(folder / "unbroken")
        assert ended["status"] == 0, (folder / "log").read_text()
        yield started, folder, ended["changes"]


def wanted_of(folder: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> dict[str, Any]:
    monkeypatch.setenv("LORA_STUDIO_HOME", home)
    wanted = left_by(folder / "unbroken")
    assert {"records", "state", "exported/fused/model.safetensors"} <= wanted.keys()
    assert any(name.startswith(".lmstudio/models/me/cut/") for name in wanted)
    assert wanted["state"]["status"] == "finished"
    return wanted


def test_a_run_killed_at_some_of_its_changes_ends_as_an_unbroken_one(
    unbroken: tuple[Runner, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, folder, changes = unbroken
    wanted = wanted_of(folder, monkeypatch, str(folder / "broken"))
    chance = random.Random(11)
    for part in range(4):  # of the run, from its making to its export
        at = chance.randrange(changes * part // 4, changes * (part + 1) // 4) + 1
        check(started, folder / "broken", folder / "log", wanted, at, within=part % 2 == 1, again=0)


@pytest.mark.slow
def test_a_run_killed_at_any_of_its_changes_ends_as_an_unbroken_one(
    unbroken: tuple[Runner, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, folder, changes = unbroken
    wanted = wanted_of(folder, monkeypatch, str(folder / "broken"))
    chance = random.Random(12)
    for at in range(1, changes + 1):
        for within in (False, True):
            again = chance.randrange(1, changes) if chance.random() < 0.3 else 0
            check(started, folder / "broken", folder / "log", wanted, at, within, again)
    print(f"{changes} changes of the disk")
