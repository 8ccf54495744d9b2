"""The exponential of float32 on a CPU, and what models build upon it.

MLX takes one exponential at a time there, 20 to 25 ns each, in `exp` as in softmax, logsumexp and
sigmoid. Its power of a scalar takes 7 to 10 ns at the same precision. Other devices, other dtypes
and attention with sinks, for quantised caches or to a single query are left to MLX.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import activations, base

from engine.machine.backend import backend


def use_fast_exp(model: nn.Module) -> None:
    """Let the layers of a model compute their activations and attention so, on a CPU."""
    if backend() != "cpu":
        return
    modules = {sys.modules[type(each).__module__] for each in model.modules()}
    # Not where they are defined, as some layers are too: ours call them there.
    for module in modules - {activations, base}:
        for name, (theirs, ours) in _REPLACED.items():
            if getattr(module, name, None) is theirs:
                setattr(module, name, ours)


def exp(x: mx.array) -> mx.array:
    """e^x of float32 x; has no gradient of its own. 0 of -inf.

    Off by 4e-6 of itself at most from -87 to 88, as `mx.exp` is: by |x| times the rounding of e.
    """
    return mx.power(math.e, x)


def logsumexp(x: mx.array, size: int) -> mx.array:
    """log(sum(exp(x))) over the last axis of float32 (rows, values), `size` values a block.

    Each block is added up alone, so that no sum has many terms. Has no gradient of its own.
    """
    largest = x.max(axis=-1, keepdims=True)
    blocks = exp(x - largest).reshape(x.shape[0], -1, size).sum(axis=-1)
    return largest.squeeze(-1) + mx.log(blocks.sum(axis=-1))


@mx.custom_function
def _softmax(x: mx.array) -> mx.array:
    powers = exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@_softmax.vjp
def _softmax_gradient(x: mx.array, cotangent: mx.array, shares: mx.array) -> mx.array:
    weighted = shares * cotangent
    return weighted - shares * weighted.sum(axis=-1, keepdims=True)


@mx.custom_function
def _sigmoid(x: mx.array) -> mx.array:
    return 1 / (1 + exp(-x))


@_sigmoid.vjp
def _sigmoid_gradient(x: mx.array, cotangent: mx.array, sigmoid: mx.array) -> mx.array:
    return cotangent * sigmoid * (1 - sigmoid)


def softmax(x: mx.array) -> mx.array:
    """Over the last axis of float32 (..., values), with a gradient."""
    call: Any = _softmax
    return call(x)


def sigmoid(x: mx.array) -> mx.array:
    """Of each of float32 x, with a gradient."""
    call: Any = _sigmoid
    return call(x)


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """As mlx-lm's function of this name: gate * sigmoid(gate) * x."""
    if gate.dtype != mx.float32:
        return activations.swiglu(gate, x)
    return gate * sigmoid(gate) * x


def scaled_dot_product_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: object,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None = None,
) -> mx.array:
    """As mlx-lm's function of this name: (rows, heads, queries, width) of queries of that shape,
    and of keys and values (rows, their heads, keys, their width), each for several heads."""
    if (
        sinks is not None
        or hasattr(cache, "bits")
        or queries.shape[-2] == 1
        or any(each.dtype != mx.float32 for each in (queries, keys, values))
    ):
        theirs: Any = base.scaled_dot_product_attention
        return theirs(queries, keys, values, cache, scale=scale, mask=mask, sinks=sinks)
    rows, heads, length, width = queries.shape
    shared = keys.shape[1]
    grouped = (queries * scale).reshape(rows, shared, heads // shared, length, width)
    scores = grouped @ mx.swapaxes(keys[:, :, None], -1, -2)
    shares = softmax(_masked(scores, mask))
    return (shares @ values[:, :, None]).reshape(rows, heads, length, values.shape[-1])


def _masked(scores: mx.array, mask: mx.array | str | None) -> mx.array:
    """Scores (rows, shared heads, heads of each, queries, keys) under a mask as MLX takes it:
    "causal", which keys are seen, or what is added."""
    if mask is None:
        return scores
    if isinstance(mask, str):
        length, keys = scores.shape[-2:]
        mask = mx.arange(keys - length, keys)[:, None] >= mx.arange(keys)
    elif mask.ndim > 2:
        one = mask.shape[-3] == 1
        mask = mx.expand_dims(mask, -3) if one else mx.unflatten(mask, -3, scores.shape[1:3])
    if mask.dtype == mx.bool_:
        return mx.where(mask, scores, mx.finfo(mx.float32).min)
    return scores + mask


_REPLACED: dict[str, tuple[Callable[..., mx.array], Callable[..., mx.array]]] = {
    "swiglu": (activations.swiglu, swiglu),
    "scaled_dot_product_attention": (
        base.scaled_dot_product_attention,
        scaled_dot_product_attention,
    ),
}
