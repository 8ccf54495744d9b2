"""Laid end to end, weights are updated to the last bit as one by one, and so is their state."""

from typing import Any

import mlx.core as mx
import mlx.optimizers as opt
import numpy as np
import pytest

from engine.model import arrays
from engine.model.arrays import Arrays
from engine.settings.sections.training import Optimizer
from engine.train import weight_updates
from engine.train.optimizers import OPTIMIZERS, build_optimizer
from engine.train.weight_updates import WeightUpdates
from tests.engine.small_models import settings

SHAPES = {"layers.0.a": (3, 4), "layers.0.b": (5,), "layers.1.a": (2, 6), "layers.1.scale": (1, 1)}
ARGUMENTS: dict[Optimizer, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "weight_decay": 0.1},
    "lion": {"weight_decay": 0.1},
}


def random_arrays(seed: int) -> Arrays:
    draw = np.random.default_rng(seed)
    values = {name: mx.array(draw.normal(size=shape), mx.float32) for name, shape in SHAPES.items()}
    # One of them is trained in another precision.
    return values | {"layers.0.b": values["layers.0.b"].astype(mx.bfloat16)}


def optimizer(name: Optimizer) -> opt.Optimizer:
    chosen = settings(
        optimizer=name,
        learning_rate=0.01,
        lr_schedule={"name": "linear_schedule", "final_rate": 0.001},
        optimizer_config={name: ARGUMENTS[name]} if name in ARGUMENTS else {},
    )
    return build_optimizer(chosen, 10)


def assert_same(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert bool(mx.array_equal(found[name], array)), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_does_as_mlx_does_one_by_one(name: Optimizer) -> None:
    plain, weights = optimizer(name), random_arrays(0)
    plain.init(arrays.tree(weights))
    updates, joined = WeightUpdates(optimizer(name), weights), weights
    for step in range(1, 4):
        gradients = random_arrays(step)
        scaled = {key: array * 0.5 for key, array in gradients.items()}
        weights = arrays.flat(plain.apply_gradients(arrays.tree(scaled), arrays.tree(weights)))
        joined = updates.apply(gradients, joined, 0.5)
        assert_same(joined, weights)
        assert_same(updates.state, arrays.flat(plain.state))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_that_is_put_back_goes_on_to_the_same(name: Optimizer) -> None:
    weights = random_arrays(0)
    first = WeightUpdates(optimizer(name), weights)
    weights = first.apply(random_arrays(1), weights, 1.0)
    again = WeightUpdates(optimizer(name), weights)
    again.state = first.state
    assert_same(again.state, first.state)
    assert_same(
        again.apply(random_arrays(2), weights, 1.0), first.apply(random_arrays(2), weights, 1.0)
    )
    assert_same(again.state, first.state)


def test_a_state_of_other_weights_is_refused() -> None:
    updates = WeightUpdates(optimizer("adam"), random_arrays(0))
    damaged = {name: each for name, each in updates.state.items() if name != "layers.1.scale.m"}
    with pytest.raises(KeyError, match=r"layers\.1\.scale\.m"):
        updates.state = damaged


def test_many_bytes_are_updated_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = WeightUpdates(optimizer("adam"), random_arrays(0))
    monkeypatch.setattr(weight_updates, "MOST_BYTES", 8)
    alone = WeightUpdates(optimizer("adam"), random_arrays(0))
    assert len(joined._groups) == 2
    assert len(alone._groups) == len(SHAPES)
    results = [each.apply(random_arrays(1), random_arrays(0), 1.0) for each in (joined, alone)]
    assert_same(*results)
