"""Layers and the exponential of a CPU: the numbers of MLX's own functions, and their gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import activations, base, qwen3

from engine.compute import cpu_exp, cpu_layers, logps
from engine.compute.cpu_exp import exp, logsumexp
from engine.compute.cpu_layers import sigmoid, swiglu, use_cpu_layers
from tests.close import assert_close
from tests.engine.small_models import QWEN3, make_model

CAUSAL_ROWS = np.tril(np.ones((5, 7), bool), 2)
SEEN = np.stack([CAUSAL_ROWS, CAUSAL_ROWS & (np.arange(7) != 1)])[:, None]  # (2, 1, 5, 7)
MASKS = {
    "none": None,
    "causal": "causal",
    "rows": CAUSAL_ROWS,
    "batch": SEEN,
    "heads": np.repeat(SEEN, 4, axis=1),
    "nothing seen": CAUSAL_ROWS & (np.arange(5) != 3)[:, None],
    "added": np.where(SEEN, np.float32(0.25), np.float32(-np.inf)),
}


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def test_exp_is_as_near_as_that_of_mlx() -> None:
    x = np.linspace(-87, 88, 100_001, dtype=np.float32)
    wanted = np.exp(x.astype(np.float64))
    off = np.abs(np.array(exp(mx.array(x)), np.float64) / wanted - 1)
    assert off.max() < 5e-6
    assert off[np.abs(x) < 1].max() < 2e-7
    ends = np.array(exp(mx.array([-np.inf, -1e30, -104.0, 0.0, np.inf, np.nan])))
    assert np.array_equal(ends, [0, 0, 0, 1, np.inf, np.nan], equal_nan=True)


def test_sigmoid_is_equal_to_float64() -> None:
    x, weights = normal(9, 33, scale=20.0), normal(9, 33, seed=1)
    gradient = mx.grad(lambda each: (sigmoid(each) * mx.array(weights)).sum())(mx.array(x))
    sigmoids = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert_close(sigmoid(mx.array(x)), sigmoids, 1e-5)
    assert_close(gradient, weights * sigmoids * (1 - sigmoids), 1e-5)


def test_the_gradient_is_the_slope() -> None:
    gate, x, weights = (mx.array(normal(40, seed=seed)) for seed in range(3))

    def total(gate: mx.array) -> mx.array:
        return (swiglu(gate, x) * weights).sum()

    step = 1e-2
    slope = (total(gate + step * weights) - total(gate - step * weights)) / (2 * step)
    assert_close((mx.grad(total)(gate) * weights).sum(), slope, 1e-3)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_swiglu_is_that_of_mlx_lm(dtype: mx.Dtype) -> None:
    gate, x = (mx.array(normal(6, 50, scale=8.0, seed=seed)).astype(dtype) for seed in (0, 1))
    gate[0, :4] = mx.array([-200.0, -89.0, 89.0, 200.0])

    def results(function: Callable[..., mx.array]) -> list[mx.array]:
        total = mx.grad(lambda *each: mx.sin(function(*each)).sum(), argnums=[0, 1])
        return [function(gate, x), *total(gate, x)]

    theirs: Any = activations.swiglu
    for found, wanted in zip(results(swiglu), results(theirs), strict=True):
        assert found.dtype == dtype
        assert_close(found.astype(mx.float32), wanted.astype(mx.float32), 1e-5)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("sinks", [None, [0.5, -1.0, 2.0, 0.0]], ids=["", "sinks"])
def test_attention_is_that_of_mlx(mask: Any, dtype: mx.Dtype, sinks: list[float] | None) -> None:
    """Of four heads that share two of keys and values."""
    shapes = [(2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 6)]
    inputs = [mx.array(normal(*shape, seed=shape[1])).astype(dtype) for shape in shapes]
    options: dict[str, Any] = {"scale": 0.3, "sinks": sinks and mx.array(sinks).astype(dtype)}
    options["mask"] = mx.array(mask) if isinstance(mask, np.ndarray) else mask
    if options["mask"] is not None and not isinstance(mask, str) and mask.dtype != bool:
        options["mask"] = options["mask"].astype(dtype)

    def results(function: Any) -> list[mx.array]:
        def total(*arrays: mx.array) -> mx.array:
            return mx.sin(function(*arrays, None, **options)).sum()

        return [function(*inputs, None, **options), *mx.grad(total, argnums=[0, 1, 2])(*inputs)]

    found = results(cpu_layers.scaled_dot_product_attention)
    for each, wanted in zip(found, results(base.scaled_dot_product_attention), strict=True):
        assert each.dtype == dtype
        assert_close(each.astype(mx.float32), wanted.astype(mx.float32), 1e-5)


@pytest.mark.parametrize("length", [1, 95, 96, 97, 250])
@pytest.mark.parametrize("before", [0, 40])
def test_blocks_of_causal_attention_are_equal_to_float64(length: int, before: int) -> None:
    """With scores from -60 to 60, of which half a row may be too small to tell."""
    shapes = [(2, 6, length, 8), (2, 3, before + length, 8), (2, 3, before + length, 5)]
    arrays = [normal(*shape, scale=4.0, seed=seed) for seed, shape in enumerate(shapes)]
    weights = normal(2, 6, length, 5, seed=9)

    def total(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        attention = cpu_layers.scaled_dot_product_attention
        found = attention(queries, keys, values, None, 0.35, "causal")
        return (found * mx.array(weights)).sum()

    value, gradients = mx.value_and_grad(total, argnums=[0, 1, 2])(*map(mx.array, arrays))
    wanted = attention_in_float64(arrays, 0.35, weights)
    for found, expected in zip((value, *gradients), wanted, strict=True):
        assert_close(found, expected, 1e-4)


def attention_in_float64(
    arrays: Sequence[np.ndarray], scale: float, weights: np.ndarray
) -> list[np.ndarray]:
    """The sum by weights of causal attention, each head of keys and values for two of queries, and
    the gradients of queries, keys and values."""
    queries, keys, values = arrays
    queries, wide_keys, wide_values = (
        each.astype(np.float64) for each in (queries, keys.repeat(2, 1), values.repeat(2, 1))
    )
    scores = scale * queries @ wide_keys.swapaxes(-1, -2)
    length, count = scores.shape[-2:]
    scores[..., ~np.tri(length, count, count - length, bool)] = -np.inf
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    of_shares = weights @ wide_values.swapaxes(-1, -2)
    of_scores = scale * shares * (of_shares - (shares * of_shares).sum(axis=-1, keepdims=True))
    of_keys = of_scores.swapaxes(-1, -2) @ queries
    of_values = shares.swapaxes(-1, -2) @ weights
    return [
        (shares @ wide_values * weights).sum(),
        of_scores @ wide_keys,
        of_keys.reshape(*keys.shape[:2], 2, *keys.shape[2:]).sum(axis=2),
        of_values.reshape(*values.shape[:2], 2, *values.shape[2:]).sum(axis=2),
    ]


@pytest.mark.parametrize("size", [1, 10, 128, 300, 512])
def test_logsumexp_by_blocks(size: int) -> None:
    x = normal(7, 300, scale=30.0)
    x[0, :290] = -np.inf  # whole blocks of it
    wide = x.astype(np.float64)
    wanted = wide.max(axis=-1) + np.log(np.exp(wide - wide.max(axis=-1)[:, None]).sum(axis=-1))
    assert_close(logsumexp(mx.array(x), size), wanted, 1e-6)


@pytest.mark.parametrize("device", ["cpu", "metal", "cuda"])
def test_a_gpu_is_left_to_mlx(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = (activations.swiglu, base.scaled_dot_product_attention)
    ours = (cpu_layers.swiglu, cpu_layers.scaled_dot_product_attention)
    for name, each in zip(("swiglu", "scaled_dot_product_attention"), theirs, strict=True):
        monkeypatch.setattr(qwen3, name, each)
    monkeypatch.setattr(cpu_layers, "backend", lambda: device)
    use_cpu_layers(make_model(QWEN3))
    module: Any = qwen3
    found = (module.swiglu, module.scaled_dot_product_attention)
    assert found == (ours if device == "cpu" else theirs)


def test_a_layer_of_the_file_of_activations_changes_nothing_there() -> None:
    use_cpu_layers(activations.SwigluOAI())
    assert activations.swiglu is not cpu_layers.swiglu


def test_log_probabilities_of_a_gpu_take_no_such_exponential(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any) -> mx.array:
        raise AssertionError

    monkeypatch.setattr(logps, "backend", lambda: "metal")
    monkeypatch.setattr(cpu_exp, "exp", never)
    logps._picked_logps(mx.array(normal(3, 20)), mx.array([1, 2, 3]))
