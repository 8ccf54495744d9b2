"""Checkpoints: a restored update goes on bit for bit, in the middle of an accumulation too."""

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.data.pairs import JudgedPair, Verdict
from engine.errors import UserError
from engine.model import arrays
from engine.settings.schema import Settings
from engine.train import state
from engine.train.online_dpo import learn
from engine.train.optimizers import OPTIMIZERS, build_optimizer
from engine.train.update import Update
from tests.engine.small_models import pair, policy_and_reference, settings

DROPOUT = {"rank": 4, "scale": 20.0, "dropout": 0.2}


def batch(step: int) -> list[JudgedPair]:
    first = "so it may be " * (1 + step % 3)
    return [JudgedPair(pair(step=step, first=first, second=f"no {step}"), Verdict("first"))]


def make(chosen: Settings, seed: int = 0) -> Update:
    policy, reference = policy_and_reference(chosen, seed=seed)
    return Update(policy, reference, chosen, build_optimizer(chosen, 20))


def state_of(made: Update) -> dict[str, bytes]:
    """All bytes that the next step depends on."""
    trees = {
        "weights": arrays.flat(made.policy.model.trainable_parameters()),
        "optimizer": made.optimizer.state,
        "gradients": made.gradients or {},
    }
    found = {
        f"{kind} {name}": np.array(array).tobytes()
        for kind, flat in trees.items()
        for name, array in flat.items()
    }
    counts = (made.gradient_pairs, made.steps_since_update)
    return found | {"counts": repr(counts).encode()}


def assert_goes_on(chosen: Settings, folder: Path, at: int = 2, steps: int = 4) -> None:
    unbroken = make(chosen)
    saved: dict[str, bytes] = {}
    lines = []
    for step in range(1, steps + 1):
        learned = learn(unbroken, batch(step), step=step, last=step == steps)
        lines.append((learned.means, learned.grad_norm))
        if step == at:
            state.save(folder, unbroken, {"step": at})
            saved = state_of(unbroken)
    again = make(chosen, seed=0)
    mx.random.seed(12345)  # no random state is needed
    assert state.restore(folder, again)["step"] == at
    assert state_of(again) == saved
    for step in range(at + 1, steps + 1):
        learned = learn(again, batch(step), step=step, last=step == steps)
        means, norm = lines[step - 1]
        assert learned.means == means
        assert learned.grad_norm == norm or (math.isnan(learned.grad_norm) and math.isnan(norm))
    assert state_of(again) == state_of(unbroken)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_goes_on(optimizer: str, tmp_path: Path) -> None:
    assert_goes_on(settings(optimizer=optimizer), tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"lora_parameters": DROPOUT},
        {"lora_parameters": DROPOUT, "train_type": "dora"},
        {"train_type": "full", "num_layers": 2},
        {"lr_schedule": {"name": "cosine_decay", "warmup": 4}},
        {"grad_checkpoint": False},
        {"num_layers": 1},
    ],
    ids=repr,
)
def test_every_kind_of_run_goes_on(values: dict[str, Any], tmp_path: Path) -> None:
    assert_goes_on(settings(**values), tmp_path)


@pytest.mark.parametrize("at", [2, 3, 4])
@pytest.mark.parametrize("values", [{"lora_parameters": DROPOUT}, {"train_type": "full"}], ids=repr)
def test_gradients_that_wait_are_kept(at: int, values: dict[str, Any], tmp_path: Path) -> None:
    chosen = settings(gradient_accumulation_steps=3, max_grad_norm=0.01, **values)
    assert_goes_on(chosen, tmp_path, at=at, steps=7)
    assert (tmp_path / state.GRADIENTS).exists() == (at % 3 != 0)


def test_a_checkpoint_before_the_first_step(tmp_path: Path) -> None:
    made, again = make(settings()), make(settings(), seed=0)
    state.save(tmp_path, made, {"step": 0})
    state.restore(tmp_path, again)
    learn(made, batch(1), step=1)
    learn(again, batch(1), step=1)
    assert state_of(again) == state_of(made)


def test_the_weights_are_adapters_as_mlx_lm_reads_them(tmp_path: Path) -> None:
    made = make(settings())
    learn(made, batch(1), step=1)
    state.save(tmp_path, made, {})
    trainable = arrays.flat(made.policy.model.trainable_parameters())
    saved = arrays.load(tmp_path / state.WEIGHTS)
    assert saved.keys() == trainable.keys()
    assert all(mx.array_equal(saved[name], trainable[name]) for name in saved)
    assert all("lora_" in name for name in saved)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    state.save(tmp_path, make(settings()), {})
    with pytest.raises(UserError, match="checkpoint"):
        state.restore(tmp_path, make(settings(lora_parameters={"rank": 2})))


@pytest.mark.parametrize("file", [state.OPTIMIZER, state.STATE])
def test_a_damaged_checkpoint_is_refused(file: str, tmp_path: Path) -> None:
    state.save(tmp_path, make(settings()), {"step": 1})
    (tmp_path / file).write_bytes(b"{broken")
    with pytest.raises(UserError, match="checkpoint"):
        state.restore(tmp_path, make(settings()))
