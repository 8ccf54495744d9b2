"""The gradient that numpy finds on MLX's CPU backend, against MLX's own and finite differences."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.compute import limits
from engine.compute.frozen_layers import FrozenLayers, shared_layers
from engine.compute.mlx_backend import MlxBackend
from engine.compute.numpy import layout, products
from engine.compute.numpy.logps import completion_logps, trains_adapters_alone
from engine.compute.numpy.passes import ForwardBackward
from engine.data.pairs import JudgedPair, Verdict
from engine.model import arrays
from engine.model.adapters import view
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.update import Update
from tests.close import assert_all_close, assert_close
from tests.engine.small_models import (
    QWEN3,
    VOCABULARY,
    mlx_of,
    number,
    pair,
    policy_and_reference,
    settings,
)
from tests.engine.test_numpy_model import PLAIN, pytestmark, shake  # noqa: F401

SCORED = Batch(
    prompts=[[5, 6, 7, 8], [9, 10], [11]],
    completions=[[[12, 13, 14], [15]], [[16, 17], [18, 19, 20, 21]], [[22], [23, 24]]],
)
WEIGHTS = mx.array(np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32))


@pytest.fixture(params=["merged", "apart", "many columns"], autouse=True)
def adapters(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a small model's are computed, a large one's, and as where the other BLAS is faster."""
    if request.param != "merged":
        monkeypatch.setattr(limits, "MERGED_BYTES", 0)
    if request.param == "many columns":
        monkeypatch.setattr(products, "MANY", 1)


def shaken(config: dict[str, Any] = QWEN3, **values: Any) -> LanguageModel:
    policy, _ = policy_and_reference(settings(train_type="lora", **values), config)
    shake(policy)
    return policy


def value_and_gradient(lm: LanguageModel, logps: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Of a weighted sum of log-probabilities, in the adapters."""
    value, gradient = nn.value_and_grad(lm.model, lambda: (WEIGHTS * logps()).sum())()
    return number(value), {name: np.array(each) for name, each in arrays.flat(gradient).items()}


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN.keys())
@pytest.mark.parametrize(
    "adapted",
    [{}, {"num_layers": 1}, {"lora_parameters": {"rank": 4, "keys": ["self_attn.v_proj"]}}],
    ids=["all", "top layer", "values alone"],
)
def test_scores_and_gradients_are_those_of_mlx(
    config: dict[str, Any], adapted: dict[str, Any]
) -> None:
    lm = shaken(config, **adapted)
    assert trains_adapters_alone(lm.model)
    value, gradient = value_and_gradient(lm, lambda: completion_logps(lm.model, SCORED))
    expected, wanted = value_and_gradient(lm, lambda: mlx_of(lm).logps(SCORED))
    assert_close(value, expected)
    assert_all_close(gradient, wanted)


def test_the_gradient_is_the_slope() -> None:
    """Central differences along random directions in all adapters at once."""
    lm = shaken()
    _, gradient = value_and_gradient(lm, lambda: completion_logps(lm.model, SCORED))
    start = arrays.flat(lm.model.trainable_parameters())
    generator = np.random.default_rng(1)
    for _ in range(3):
        along = {name: generator.normal(size=each.shape) for name, each in gradient.items()}
        values = []
        for step in (1e-4, -1e-4):
            moved = {n: each + mx.array(step * along[n], mx.float32) for n, each in start.items()}
            lm.model.update(arrays.tree(moved))
            values.append(number((WEIGHTS * completion_logps(lm.model, SCORED)).sum()))
        lm.model.update(arrays.tree(start))
        slope = sum(float((each * along[name]).sum()) for name, each in gradient.items())
        assert (values[0] - values[1]) / 2e-4 == pytest.approx(slope, rel=1e-2)


def test_recomputing_gives_the_same_gradient() -> None:
    lm = shaken()
    kept, found_anew = (
        value_and_gradient(lm, lambda r=r: completion_logps(lm.model, SCORED, recompute=r))
        for r in (False, True)
    )
    assert kept[0] == found_anew[0]
    for name, array in kept[1].items():
        np.testing.assert_array_equal(found_anew[1][name], array)


def test_a_long_prompt_attends_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = shaken()
    whole = value_and_gradient(lm, lambda: completion_logps(lm.model, SCORED))
    monkeypatch.setattr(layout, "BLOCK", 2)
    blocks = value_and_gradient(lm, lambda: completion_logps(lm.model, SCORED))
    assert_close(blocks[0], whole[0])
    assert_all_close(blocks[1], whole[1])


def test_a_large_vocabulary_is_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = shaken()
    whole = value_and_gradient(lm, lambda: completion_logps(lm.model, SCORED))
    monkeypatch.setattr(limits, "LOGIT_VALUES", 3 * VOCABULARY)
    parts = value_and_gradient(lm, lambda: completion_logps(lm.model, SCORED))
    assert_close(parts[0], whole[0])
    assert_all_close(parts[1], whole[1])


def test_equal_weights_have_equal_scores() -> None:
    policy, reference = policy_and_reference(settings(train_type="lora"))
    found = [np.array(completion_logps(lm.model, SCORED)) for lm in (policy, reference)]
    np.testing.assert_array_equal(found[0], found[1])


def test_a_reference_with_adapters_keeps_nothing_for_a_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = shaken()
    reference = view(policy.model)
    reference.freeze()
    made: list[ForwardBackward] = []
    init = ForwardBackward.__init__

    def noted(self: ForwardBackward, *args: Any) -> None:
        init(self, *args)
        made.append(self)

    monkeypatch.setattr(ForwardBackward, "__init__", noted)
    found = np.array(completion_logps(reference, SCORED))
    assert not any(each._seen or each._slopes for each in made)
    np.testing.assert_array_equal(found, np.array(completion_logps(policy.model, SCORED)))
    assert any(each._seen for each in made)


@pytest.mark.parametrize("layers", [1, -1])
def test_layers_below_the_adapters_are_run_once_for_policy_and_reference(
    layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, reference = policy_and_reference(settings(train_type="lora", num_layers=layers))
    shake(policy)
    alone = value_and_gradient(policy, lambda: completion_logps(policy.model, SCORED))
    read: list[int] = []
    through = ForwardBackward._through

    def counted(self: ForwardBackward, layer: int, x: np.ndarray) -> Any:
        read.append(layer)
        return through(self, layer, x)

    monkeypatch.setattr(ForwardBackward, "_through", counted)
    whole = np.array(completion_logps(reference.model, SCORED))
    one_pass = len(read)
    frozen = FrozenLayers[np.ndarray](shared_layers(policy.model, reference.model))
    found = np.array(completion_logps(reference.model, SCORED, frozen=frozen, keeps=True))
    np.testing.assert_array_equal(found, whole)
    read.clear()
    shared = value_and_gradient(
        policy, lambda: completion_logps(policy.model, SCORED, frozen=frozen)
    )
    whole_model: Any = policy.model
    depth = len(whole_model.model.layers)
    assert len(read) == one_pass * (1 if layers == -1 else layers / depth)
    assert shared[0] == alone[0]
    for name, array in alone[1].items():
        np.testing.assert_array_equal(shared[1][name], array)


@pytest.mark.parametrize(
    ("values", "by_numpy"),
    [
        ({}, True),
        ({"train_type": "dora"}, False),
        ({"train_type": "full"}, False),
        ({"lora_parameters": {"dropout": 0.1}}, False),
        ({"grad_checkpoint": True}, True),
        ({"efficient_long_context": True}, False),
    ],
)
def test_what_has_no_gradient_here_is_left_to_mlx(
    values: dict[str, Any], by_numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both models, so that they are scored in the same way."""
    chosen = settings(**{"grad_checkpoint": False} | values)
    policy, reference = policy_and_reference(chosen)
    update = Update(policy, reference, chosen, build_optimizer(chosen, 10))
    scored: list[object] = []
    logps = MlxBackend.logps

    def noted(backend: MlxBackend, *args: Any, **options: Any) -> mx.array:
        scored.append(backend.model.module)
        return logps(backend, *args, **options)

    monkeypatch.setattr(MlxBackend, "logps", noted)
    learn(update, [JudgedPair(pair(), Verdict("first"))], step=1, last=True)
    assert scored == ([] if by_numpy else [reference.model, policy.model])
