"""Layers that policy and reference share are run once, and nothing else changes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.compute.frozen_layers import FrozenLayers, in_order, shared_layers
from engine.compute.mlx_backend import MlxBackend
from engine.data.pairs import JudgedPair, Verdict
from engine.model import arrays
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.roles import load_roles
from engine.train.update import Update
from tests.close import assert_all_close
from tests.engine.small_models import (
    GEMMA2,
    GEMMA3,
    MAMBA2,
    QWEN2,
    QWEN3,
    by_mlx,
    make_model,
    mlx_of,
    number,
    pair,
    policy_and_reference,
    settings,
    stir,
)
from tests.engine.zoo import write_architecture

pytestmark = pytest.mark.backends

UNEVEN = Batch(
    prompts=[[7, 8, 9, 10, 11], [12, 13], [14, 15, 16]],
    completions=[
        [[20, 21, 22, 23], [24, 2]],
        [[25], [26, 27, 28, 29, 30, 31, 2]],
        [[32, 2], [33]],
    ],
)
WEIGHTS = mx.array([[1.0, -2.0], [3.0, 0.5], [-1.5, 2.5]])
DECIDED = [
    JudgedPair(pair(0, first="yes", second="perhaps not"), Verdict("first")),
    JudgedPair(pair(1, prompt="Why? Say more, please.", first="so", second="s"), Verdict("second")),
]
CONFIGS = {"qwen3": QWEN3, "qwen2": QWEN2, "gemma2": GEMMA2, "gemma3": GEMMA3, "mamba2": MAMBA2}


def pair_of(config: dict[str, Any], **values: Any) -> tuple[LanguageModel, LanguageModel]:
    """A policy that is no longer its reference, both by MLX."""
    policy, reference = map(by_mlx, policy_and_reference(settings(**values), config))
    stir(policy.model)
    return policy, reference


def value_and_gradient(
    lm: LanguageModel, backend: MlxBackend, **options: Any
) -> tuple[float, arrays.Arrays]:
    """Of a loss that weighs every completion differently."""

    def loss() -> mx.array:
        return (backend.logps(UNEVEN, **options) * WEIGHTS).sum()

    value, gradient = nn.value_and_grad(lm.model, loss)()
    return number(value), arrays.flat(gradient)


@contextmanager
def counted(*models: nn.Module) -> Iterator[Counter[int]]:
    """How often each layer of some models is run, by its number."""
    calls: Counter[int] = Counter()
    layers: list[list[Any]] = [model.layers for model in models]  # pyright: ignore[reportAssignmentType]
    numbers = {id(each): number for own in layers for number, each in enumerate(own)}
    kinds = {type(each): type(each).__call__ for own in layers for each in own}

    def noting(original: Any) -> Any:
        def call(layer: Any, *args: Any, **more: Any) -> Any:
            calls[numbers[id(layer)]] += 1
            return original(layer, *args, **more)

        return call

    for kind, original in kinds.items():
        kind.__call__ = noting(original)
    try:
        yield calls
    finally:
        for kind, original in kinds.items():
            kind.__call__ = original


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"step_size": 2}], ids=repr)
@pytest.mark.parametrize(
    ("name", "train_type"),
    [
        *((name, "lora") for name in CONFIGS),
        ("qwen3", "dora"),
        ("qwen3", "full"),
        ("gemma3", "full"),
    ],
)
def test_scores_and_gradients_are_those_without(
    name: str, train_type: str, options: dict[str, Any]
) -> None:
    policy, reference = pair_of(CONFIGS[name], num_layers=1, train_type=train_type)
    ours = mlx_of(policy)
    alone = MlxBackend(ours.model, shares_prompts=ours.shares_prompts)
    wanted, gradient = value_and_gradient(policy, alone, **options)
    whole = mlx_of(reference)
    plain = MlxBackend(whole.model, shares_prompts=whole.shares_prompts)
    with counted(policy.model, reference.model) as calls:
        scores = reference.backend.logps(UNEVEN, **{**options, "recompute": False})
        mx.eval(scores)
        value, other = value_and_gradient(policy, ours, **options)
    assert calls[0] < calls[len(policy.model.layers) - 1]  # pyright: ignore[reportArgumentType]
    assert value == pytest.approx(wanted, rel=1e-5)
    assert_all_close(other, gradient)
    step_size = options.get("step_size")
    np.testing.assert_array_equal(np.array(scores), plain.logps(UNEVEN, step_size=step_size))


@pytest.mark.parametrize("layers", [1, 2, -1])
@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
def test_an_update_runs_them_once_for_both(train_type: str, layers: int) -> None:
    chosen = settings(train_type=train_type, num_layers=layers, grad_checkpoint=False)
    policy, reference = map(by_mlx, policy_and_reference(chosen, QWEN3))
    update = Update(policy, reference, chosen, build_optimizer(chosen, 10))
    frozen = 3 - layers if layers > 0 else 0
    for step in (1, 2):
        with counted(policy.model, reference.model) as calls:
            means = learn(update, DECIDED, step=step).means
        assert (means["margin"] == 0) == (step == 1)
        # Prompts and completions, a pass each.
        assert calls == {number: 2 if number < frozen else 4 for number in range(3)}


def test_updates_are_those_without() -> None:
    """Three of them, in several passes a step."""
    chosen = settings(num_layers=1, grad_checkpoint=True)

    def trained(once: bool) -> tuple[list[dict[str, float]], arrays.Arrays]:
        policy, reference = map(by_mlx, policy_and_reference(chosen, QWEN3))
        if not once:
            policy, reference = (
                replace(each, backend=MlxBackend(mlx_of(each).model, shares_prompts=True))
                for each in (policy, reference)
            )
        update = Update(policy, reference, chosen, build_optimizer(chosen, 10))
        update.tokens_per_pass = 40
        means = [learn(update, DECIDED, step=step).means for step in (1, 2, 3)]
        return means, arrays.flat(policy.model.trainable_parameters())

    means, weights = trained(True)
    wanted, others = trained(False)
    for one, other in zip(means, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-7)
    assert_all_close(weights, others)


def test_what_was_read_of_another_batch_is_not_used() -> None:
    policy, reference = pair_of(QWEN3, num_layers=1)
    other = Batch(UNEVEN.prompts[::-1], UNEVEN.completions[::-1])
    wanted = np.array(policy.backend.logps(UNEVEN))
    reference.backend.logps(other)
    np.testing.assert_array_equal(np.array(policy.backend.logps(UNEVEN)), wanted)


def test_layers_that_are_shared_are_those_below_what_is_trained() -> None:
    def count(**values: Any) -> int:
        policy, reference = policy_and_reference(settings(**values), QWEN3)
        return shared_layers(policy.model, reference.model)

    assert [count(num_layers=layers) for layers in (1, 2, -1)] == [2, 1, 0]
    assert count(train_type="full", num_layers=1) == 2
    keys = ["self_attn.q_proj", "model.embed_tokens"]
    assert count(num_layers=1, lora_parameters={"keys": keys}) == 0  # trained below all layers
    assert shared_layers(make_model(seed=1), make_model(seed=2)) == 0  # another reference


@pytest.mark.parametrize("change", ["twice", "backwards", "sum"])
def test_a_model_that_runs_its_layers_in_another_way_is_found_out(change: str) -> None:
    model: Any = make_model()
    body = model.model

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = body.layers

        def __call__(self, ids: mx.array) -> mx.array:
            hidden = body.embed_tokens(ids)
            order = self.layers[::-1] if change == "backwards" else self.layers
            for layer in order * (2 if change == "twice" else 1):
                hidden = layer(hidden + 1 if change == "sum" else hidden, None, None)
            return hidden

    assert in_order(model, 2)
    assert not in_order(Odd(), 2)


@pytest.mark.parametrize(
    ("architecture", "once"),
    [("phi3", True), ("gpt_oss", True), ("qwen3_next", True), ("gemma3n", False)],
)
def test_architectures(architecture: str, once: bool, tmp_path: Path) -> None:
    """Whether or not a model allows it, the first step starts from an exact zero."""
    folder = write_architecture(tmp_path / "model", architecture)
    chosen = settings(model=str(folder), judge="human", num_layers=1)
    roles = load_roles(chosen)
    frozen = mlx_of(roles.policy)._frozen
    assert isinstance(frozen, FrozenLayers) == once
    update = Update(roles.policy, roles.reference, chosen, build_optimizer(chosen, 10))
    assert learn(update, DECIDED, step=1).means["margin"] == 0
    assert learn(update, DECIDED, step=2).means["margin"] != 0
