"""Every kind of model trains, is resumed bit for bit, and is fused to what was trained.

Run all of them with `pytest -m slow -s tests/engine/test_architectures.py`, which prints a table.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm import load as load_with_mlx_lm

from engine.errors import UserError
from engine.judges import llm
from engine.model import arrays, load
from engine.model.adapters import add_adapters, load_adapter_file
from engine.runs import archive
from engine.runs.folder import ADAPTERS, FUSED, Run
from engine.session import Session
from engine.train.state import WEIGHTS
from tests.engine.small_models import number, settings, write_model, write_prompts
from tests.engine.zoo import ARCHITECTURES, write_architecture
from tests.timing import TIMING

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"train_type": "lora"},
    "dora": {"train_type": "dora"},
    "full": {"train_type": "full"},
    "lora 4-bit": {"train_type": "lora", "quantization": "4-bit"},
}
# A few of different kinds, each with one method; the others are slow.
SHORT = [
    ("llama", "lora 4-bit"),
    ("gemma3_text", "full"),
    ("qwen3_next", "lora"),
    ("mamba2", "full"),
    ("gpt_oss", "lora 4-bit"),
]
IDS = mx.array([[5, 90, 200, 7, 41, 110]])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "judge", seed=4)
    write_prompts(folder / "prompts.jsonl", 30)
    return folder


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows that are printed when all is done."""
    rows: list[str] = []
    yield rows
    print("\n" + "\n".join(rows))


@pytest.fixture
def train(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Session]:
    """Trains a run of three steps, by a random judge who decides by the mean of both orders."""
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)

    def start(architecture: str, method: str, **more: Any) -> Session:
        model = write_architecture(tmp_path / architecture, architecture)
        chosen = {
            "model": str(model),
            "judge": str(files / "judge"),
            "judge_quantization": "none",
            "data": str(files / "prompts.jsonl"),
            "eval_prompts": 0,
            "lora_parameters": {"rank": 4, "scale": 8.0},
            "iters": 3,
            "batch_size": 3,
            "save_every": 2,
            "steps_per_report": 1,
            "learning_rate": 1e-3,
            "max_completion_length": 5,
            "fuse": True,
            "run_name": "whole",
        }
        return run_to_its_end(Session(settings(**chosen | METHODS[method] | more)))

    return start


def run_to_its_end(session: Session) -> Session:
    session.start()
    session.join()
    if session.error_is_users:
        raise UserError(session.error or "")
    assert session.error is None
    return session


def resumed_halfway(run: Run) -> Run:
    """The same run ended after its first checkpoint and resumed to its end."""
    copy = run.path.with_name("resumed")
    shutil.copytree(run.path, copy)
    for later in (copy / "checkpoints" / "0000003", copy / ADAPTERS, copy / FUSED):
        shutil.rmtree(later)
    again = archive.open_run("resumed")
    assert [int(each.name) for each in again.checkpoints()] == [2]
    run_to_its_end(Session(again.settings(), again))
    return again


def lines(run: Run) -> list[list[dict[str, Any]]]:
    """What a run wrote of its training: everything but the time it took."""
    return [
        [{k: v for k, v in line.items() if k not in TIMING} for line in run.read(file)]
        for file in ("metrics.jsonl", "pairs.jsonl")
    ]


def logits_of(run: Run) -> tuple[mx.array, mx.array]:
    """Logits of the base model, and with what the run's newest checkpoint trained."""
    chosen, newest = run.settings(), run.latest_checkpoint()
    assert newest is not None
    model, _, _ = load.load(Path(chosen.model), "model", quantization=chosen.quantization)
    base = model(IDS)
    add_adapters(model, chosen)
    load_adapter_file(model, newest / WEIGHTS)
    return base, model(IDS)


def distance(one: mx.array, other: mx.array) -> float:
    """Largest difference as a share of the largest value."""
    return number(mx.abs(one - other).max() / mx.abs(other).max())


def unlearned(run: Run) -> set[str]:
    """The kinds of trained weights that are as they were at the first step."""
    newest = run.latest_checkpoint()
    assert newest is not None
    weights = arrays.load(newest / WEIGHTS)
    zeros = {path for path, array in weights.items() if ".lora_b" in path and not mx.any(array)}
    return {re.sub(r"^.*\.\d+\.(?=.*lora_b)", "", path) for path in zeros}


def trains_resumes_and_fuses(train: Callable[..., Session], architecture: str, method: str) -> str:
    """Raises where it does not; returns what was found, in words."""
    start = time.monotonic()
    run = train(architecture, method).run
    assert run is not None
    metrics = list(run.read("metrics.jsonl"))
    assert metrics[0]["margin"] == 0
    assert sum(line["trained_pairs"] for line in metrics) > 1
    assert all(line["dropped_steps"] == 0 for line in metrics)

    again = resumed_halfway(run)
    assert lines(again) == lines(run)
    weights = [arrays.load(each.path / ADAPTERS / WEIGHTS) for each in (run, again)]
    assert weights[0].keys() == weights[1].keys()
    assert all(mx.array_equal(array, weights[1][name]) for name, array in weights[0].items())

    base, policy = logits_of(run)
    fused: Any = load_with_mlx_lm(str(run.path / FUSED))
    off, learned = distance(fused[0](IDS), policy), distance(policy, base)
    assert off < 1e-4
    assert learned > 100 * off
    said = (run.path / "log.txt").read_text()
    left_out = re.findall(r"no adapters on (.*?):", said)
    words = [f"learned {learned:.0e}, fused is off by {off:.0e}, {time.monotonic() - start:.1f} s"]
    words += [f"no adapters on {left_out[0]}"] if left_out else []
    words += [f"unmoved: {each}" for each in sorted(unlearned(run))]
    return "; ".join(words)


@pytest.mark.parametrize(("architecture", "method"), SHORT)
def test_it_trains_resumes_and_fuses(
    train: Callable[..., Session], architecture: str, method: str
) -> None:
    found = trains_resumes_and_fuses(train, architecture, method)
    assert "unmoved" not in found
    assert ("no adapters on altup.correction_coefs" in found) == (architecture == "gemma3n")


def test_the_log_says_how_a_model_that_stays_quantised_was_fused(
    train: Callable[..., Session],
) -> None:
    run = train("llama", "lora 4-bit", fuse_dequantize=False).run
    assert run is not None
    said = (run.path / "log.txt").read_text()
    words = r"trained layers are kept with more bits, (.*), so that .* MB instead of .* MB"
    found = re.search(f"the fused model in {re.escape(str(run.path / FUSED))}: {words}", said)
    assert found
    assert sum(map(int, re.findall(r"(\d+) (?:in 8 bits|unquantised)", found[1]))) == 21
    base, policy = logits_of(run)
    fused: Any = load_with_mlx_lm(str(run.path / FUSED))
    assert distance(fused[0](IDS), policy) < 0.05 * distance(policy, base)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_resumes_and_fuses(
    train: Callable[..., Session], table: list[str], architecture: str, method: str
) -> None:
    found = "FAILED"
    try:
        found = trains_resumes_and_fuses(train, architecture, method)
    except UserError as error:
        found = str(error)
        if method != "dora" or "SwitchLinear doesn't support DoRA" not in found:
            raise
    finally:
        table.append(f"{architecture:<18}{method:<12}{found}")
