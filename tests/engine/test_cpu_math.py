"""The functions handed to numpy give MLX's numbers and gradients."""

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import base

from engine.compute import cpu_math
from tests.close import assert_close
from tests.engine.small_models import number


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_math, "LARGE", 1)
    mx.random.seed(0)


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


Attend = Callable[[mx.array, mx.array, mx.array, mx.array], mx.array]


def attentions(mask: mx.array | str | None, sinks: mx.array | None = None) -> tuple[Attend, Attend]:
    """Our attention and MLX's, of queries, keys, values and what is added to an additive mask."""

    def masked(more: mx.array) -> mx.array | str | None:
        if isinstance(mask, mx.array) and mask.dtype != mx.bool_:
            return mask + more
        return mask

    def ours(q: mx.array, k: mx.array, v: mx.array, more: mx.array) -> mx.array:
        return cpu_math.scaled_dot_product_attention(q, k, v, None, 0.25, masked(more), sinks)

    def plain(q: mx.array, k: mx.array, v: mx.array, more: mx.array) -> mx.array:
        attend = mx.fast.scaled_dot_product_attention
        return attend(q, k, v, scale=0.25, mask=masked(more), sinks=sinks)

    return ours, plain


def agree(ours: Attend, plain: Attend, given: Sequence[mx.array]) -> None:
    """Values to float32 rounding, gradients of all four arguments to that of their sums."""
    wanted = plain(*given)
    assert ours(*given).shape == wanted.shape
    assert_close(ours(*given), wanted)
    weights = mx.random.normal(wanted.shape)
    weighted = lambda function: lambda *args: (function(*args) * weights).sum()  # noqa: E731
    found = mx.grad(weighted(ours), argnums=(0, 1, 2, 3))(*given)
    expected = mx.grad(weighted(plain), argnums=(0, 1, 2, 3))(*given)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize(("width", "value_width"), [(16, 16), (24, 16), (16, 24)])
def test_attention_and_its_gradients(
    heads: int, groups: int, width: int, value_width: int, which: int
) -> None:
    rows, tokens, length = 3, 6, 10
    mask = masks(rows, tokens, length)[which]
    given = (
        mx.random.normal((rows, heads, tokens, width)),
        mx.random.normal((rows, groups, length, width)),
        mx.random.normal((rows, groups, length, value_width)),
        mx.random.normal((rows, 1, tokens, length)),
    )
    agree(*attentions(mask), given)


def test_attention_with_sinks_and_its_gradients() -> None:
    given = [mx.random.normal((2, 4, 5, 16)), *(mx.random.normal((2, 2, 5, 16)) for _ in range(2))]
    agree(*attentions("causal", mx.random.normal((4,))), [*given, mx.zeros(1)])


def test_scores_that_come_as_a_mask_are_learned_through() -> None:
    """Against finite differences: MLX has no part in what is right."""
    queries, keys = mx.random.normal((1, 2, 3, 8)), mx.random.normal((1, 1, 3, 8))
    scores, weights = mx.random.normal((1, 2, 3, 3)), mx.random.normal((1, 2, 3, 8))

    def loss(scores: mx.array) -> mx.array:
        attend = cpu_math.scaled_dot_product_attention
        return (attend(queries, keys, keys, None, 0.25, scores) * weights).sum()

    found = np.array(mx.grad(loss)(scores))
    step = 1e-2
    for place in np.ndindex(*scores.shape):
        moved = np.zeros(scores.shape, np.float32)
        moved[place] = step
        difference = (loss(scores + mx.array(moved)) - loss(scores - mx.array(moved))) / (2 * step)
        assert found[place] == pytest.approx(number(difference), abs=1e-3)
    assert np.abs(found).max() > 0.05


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
