"""The functions handed to numpy give MLX's numbers and gradients."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import base

from engine import cpu_math
from tests.close import assert_close


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_math, "LARGE", 1)


def test_swiglu_and_its_gradients() -> None:
    gate, x = mx.random.normal((7, 33, 5)) * 4, mx.random.normal((7, 33, 5))
    plain = lambda gate, x: gate * mx.sigmoid(gate) * x  # noqa: E731
    assert_close(cpu_math.swiglu(gate, x), plain(gate, x))
    loss = lambda function: lambda gate, x: mx.square(function(gate, x)).sum()  # noqa: E731
    ours = mx.grad(loss(cpu_math.swiglu), argnums=(0, 1))(gate, x)
    theirs = mx.grad(loss(plain), argnums=(0, 1))(gate, x)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


def test_swiglu_far_from_zero() -> None:
    gate = mx.array([[-1e4, -100.0, -20.0, 0.0, 20.0, 1e4]])
    found = np.array(cpu_math.swiglu(gate, mx.ones_like(gate)))
    assert np.isfinite(found).all()
    assert found[0, 0] == 0
    assert found[0, -1] == pytest.approx(1e4)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_logsumexp_and_its_gradient(rows: int) -> None:
    x = mx.random.normal((rows, 301)) * 30
    assert_close(cpu_math.logsumexp(x), mx.logsumexp(x, axis=-1))
    weights = mx.random.normal((rows,))
    ours = mx.grad(lambda x: (cpu_math.logsumexp(x) * weights).sum())(x)
    theirs = mx.grad(lambda x: (mx.logsumexp(x, axis=-1) * weights).sum())(x)
    assert_close(ours, theirs)


def masks(rows: int, tokens: int, length: int) -> list[mx.array | str | None]:
    seen = mx.random.uniform(shape=(rows, 1, tokens, length)) < 0.7
    seen = seen | (mx.arange(length) == 0)
    return ["causal", None, seen, mx.where(seen, 0.0, -1e9)]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_attention_and_its_gradients(heads: int, groups: int, which: int) -> None:
    rows, tokens, length, width = 3, 6, 10, 16
    queries = mx.random.normal((rows, heads, tokens, width))
    keys = mx.random.normal((rows, groups, length, width))
    values = mx.random.normal((rows, groups, length, width))
    mask = masks(rows, tokens, length)[which]

    def ours(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return cpu_math.scaled_dot_product_attention(q, k, v, None, 0.25, mask)

    def plain(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask=mask)

    assert_close(ours(queries, keys, values), plain(queries, keys, values))
    squared = lambda function: lambda *args: mx.square(function(*args)).sum()  # noqa: E731
    found = mx.grad(squared(ours), argnums=(0, 1, 2))(queries, keys, values)
    wanted = mx.grad(squared(plain), argnums=(0, 1, 2))(queries, keys, values)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b)


def test_small_arrays_stay_with_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_math, "LARGE", 10_000)
    monkeypatch.setattr(cpu_math, "_sigmoid", None)
    monkeypatch.setattr(cpu_math, "_softmax", None)
    x = mx.ones((2, 3))
    assert cpu_math.swiglu(x, x).shape == (2, 3)
    heads = mx.ones((1, 2, 3, 4))
    assert cpu_math.scaled_dot_product_attention(heads, heads, heads, None, 1.0, None).size == 24


def test_models_that_are_imported_later_use_them() -> None:
    cpu_math.install()
    assert base.scaled_dot_product_attention is cpu_math.scaled_dot_product_attention
