"""Runs that are killed at random points and resumed write what an unbroken run writes."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.train.watch.judge_watch import WATCHED
from tests.end_to_end.program import TIMEOUT, written
from tests.engine.small_models import QWEN3, write_model, write_prompts

ROOT = Path(__file__).parents[2]
# Everything that a resumed run has to find again: gradients that wait, dropout, pairs ahead.
VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {"gradient_accumulation_steps": 3, "lora_parameters": {"rank": 4, "dropout": 0.2}},
    "ahead": {"lookahead": 2, "train_type": "dora", "optimizer": "adafactor"},
    # Nobody is there to answer, so what is put before the person is left out.
    "hybrid": {"judge": "hybrid", "hybrid_margin": 0.0, "audit_rate": 0.4, "lookahead": 2},
    # Judged in a tournament of all with all.
    "answers": {"completions": 4, "rejected": "low", "lookahead": 1},
    "warm": {
        "warm_start_epochs": 2.0,  # of 21 pairs, in 7 steps
        "replay": 0.3,
        "batch_size": 6,
        "iters": 7,
        "gradient_accumulation_steps": 2,
        "lora_parameters": {"rank": 4, "dropout": 0.2},
    },
    "full": {
        "train_type": "full",
        "num_layers": 1,
        "lr_schedule": {"name": "cosine_decay", "warmup": 3},
    },
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "policy", QWEN3, scale=1.0)
    write_model(folder / "judge", QWEN3, seed=4)
    write_prompts(folder / "prompts.jsonl", 40)
    pairs = [
        {"prompt": f"Why {i}?", "chosen": f"It {'is ' * (i % 3)}so.", "rejected": f"{i}"}
        for i in range(21)
    ]
    lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
    (folder / "pairs.jsonl").write_text(lines)
    return folder


def values(models: Path, name: str, variant: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_name": name,
        "model": str(models / "policy"),
        "judge": str(models / "judge"),
        "hybrid_model": str(models / "judge"),
        "data": str(models / "prompts.jsonl"),
        "quantization": "none",
        "num_layers": -1,
        "iters": 14,
        "batch_size": 3,
        "learning_rate": 1e-3,
        "max_completion_length": 6,
        "max_seq_length": 512,
        "eval_prompts": 6,
        "steps_per_eval": 5,
        "steps_per_report": 3,
        "save_every": 2,
        "test": True,
        "test_batches": 1,
        "fuse": False,
        "judge_watch": "warn",  # the judge is at chance
        "collapse_watch": "warn",  # and so is the policy
        "guard_suites": ["arithmetic"],
        "steps_per_guard": 4,
        **({"warm_start": str(models / "pairs.jsonl")} if "replay" in variant else {}),
        **variant,
    }


def start(values: dict[str, Any], home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.end_to_end.resumed_run", json.dumps(values)],
        cwd=ROOT,
        env={**os.environ, "LORA_STUDIO_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(values: dict[str, Any], home: Path) -> None:
    process = start(values, home)
    out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, out
    assert out.startswith("finished None"), out


def kill_when(process: subprocess.Popen[str], folder: Path, lines: int, delay: float) -> bool:
    """Kill a run a little after its metrics reach so many lines; False if it ended before."""
    while process.poll() is None:
        file = folder / "metrics.jsonl"
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            time.sleep(delay)
            break
        time.sleep(0.002)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def weights(folder: Path) -> bytes:
    newest = sorted((folder / "checkpoints").glob("[0-9]*"))[-1]
    return (newest / "adapters.safetensors").read_bytes()


def watched(folder: Path) -> dict[str, Any]:
    """What the run remembers of its judge's first pairs, of its text, and of what it could do."""
    newest = sorted((folder / "checkpoints").glob("[0-9]*"))[-1]
    state = json.loads((newest / "state.json").read_text())
    return {name: state[name] for name in ("judge_watch", "collapse_watch", "could", "guarded")}


def best(folder: Path) -> tuple[Any, list[str], bytes]:
    """What the run remembers of its best step, its checkpoints, and the adapters that it leaves."""
    checkpoints = sorted((folder / "checkpoints").glob("[0-9]*"))
    state = json.loads((checkpoints[-1] / "state.json").read_text())["best"]
    adapters = (folder / "adapters" / "adapters.safetensors").read_bytes()
    return state, [each.name for each in checkpoints], adapters


def check(models: Path, home: Path, name: str, trials: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    runs = home / "runs"
    finish(values(models, "unbroken", VARIANTS[name]), home)
    wanted = written(runs / "unbroken")
    remembered = watched(runs / "unbroken")
    assert remembered["judge_watch"]["valid"] == WATCHED
    assert remembered["collapse_watch"]["first"]
    assert (len(remembered["could"]["arithmetic"]), remembered["guarded"]) == (24, 12)
    lines = [line for line in wanted["metrics.jsonl"] if line.get("split") != "kept"]
    steps = [line["step"] for line in lines]
    assert steps[:-1] == [0, 3, 5, 6, 9, 10, 12, 14, 14]  # the last is of the test, of what is kept
    assert len(wanted["pairs.jsonl"]) > 5
    for trial in range(trials):
        broken = f"broken-{trial}"
        chosen = values(models, broken, VARIANTS[name])
        killed = 0
        for _ in range(kills):
            at = chance.randrange(len(steps))
            killed += kill_when(start(chosen, home), runs / broken, at, chance.uniform(0, 0.3))
        finish(chosen, home)
        assert killed
        assert_alike(runs / broken, runs / "unbroken", f"after {killed} kills, trial {trial}")
        shutil.rmtree(runs / broken)


def assert_alike(broken: Path, unbroken: Path, when: str) -> None:
    """Two runs have written the same, and remember the same."""
    found = written(broken)
    for file, lines in written(unbroken).items():
        assert found[file] == lines, f"{file} {when}"
    assert weights(broken) == weights(unbroken)
    assert watched(broken) == watched(unbroken)
    assert best(broken) == best(unbroken)


@pytest.mark.slow
def test_a_run_killed_in_its_warm_start_goes_on_as_if_unbroken(
    models: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    finish(values(models, "unbroken", VARIANTS["warm"]), tmp_path)
    lines = written(runs / "unbroken")["metrics.jsonl"]
    learned = {line["step"]: line["offline_pairs"] for line in lines if "loss" in line}
    assert learned[3] == learned[6] == 18  # of warm starts alone
    assert sum(learned.values()) == 2 * 21 + int(0.3 * 6 * 7)
    chosen = values(models, "broken", VARIANTS["warm"])
    for metrics in (1, 2):
        assert kill_when(start(chosen, tmp_path), runs / "broken", metrics, 0.02 * metrics)
        checkpoints = sorted((runs / "broken" / "checkpoints").glob("[0-9]*"))
        assert all(int(each.name) < 7 for each in checkpoints)
        assert not (runs / "broken" / "pairs.jsonl").exists()
    finish(chosen, tmp_path)
    assert_alike(runs / "broken", runs / "unbroken", "after two kills")


@pytest.mark.slow  # test_every_write kills one run at chosen changes
def test_a_killed_run_goes_on_as_if_unbroken(models: Path, tmp_path: Path) -> None:
    check(models, tmp_path, "lora", trials=1, kills=1, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_runs_killed_many_times(name: str, models: Path, tmp_path: Path) -> None:
    check(models, tmp_path, name, trials=8, kills=4, seed=99)
