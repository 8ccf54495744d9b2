"""What the layers of models are made of, for float32 on a CPU.

They are built on the faster exponential, and causal attention leaves out the scores that nobody
sees. Other devices, other dtypes and attention with sinks, with a mask that is added, for quantised
caches or to a single query are left to MLX.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import activations, base

from engine.compute.cpu_exp import exp
from engine.machine.backend import backend

# Queries at once: fewer leave out more scores, more make larger products.
BLOCK = 96


def use_cpu_layers(model: nn.Module) -> None:
    """Let the layers of a model compute their activations and attention so, on a CPU."""
    if backend() != "cpu":
        return
    modules = {sys.modules[type(each).__module__] for each in model.modules()}
    # Not where they are defined, as some layers are too: ours call them there.
    for module in modules - {activations, base}:
        for name, (theirs, ours) in _REPLACED.items():
            if getattr(module, name, None) is theirs:
                setattr(module, name, ours)


@mx.custom_function
def _sigmoid(x: mx.array) -> mx.array:
    return 1 / (1 + exp(-x))


@_sigmoid.vjp
def _sigmoid_gradient(x: mx.array, cotangent: mx.array, sigmoid: mx.array) -> mx.array:
    return cotangent * sigmoid * (1 - sigmoid)


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
        or (isinstance(mask, mx.array) and mask.dtype != mx.bool_)
    ):
        theirs: Any = base.scaled_dot_product_attention
        return theirs(queries, keys, values, cache, scale=scale, mask=mask, sinks=sinks)
    rows, heads, length, width = queries.shape
    shared = keys.shape[1]
    grouped = (queries * scale).reshape(rows, shared, heads // shared, length, width)
    if isinstance(mask, str):
        found = _causal(grouped, keys, values)
    else:
        found = _attend(grouped, keys, values, _of_groups(mask, shared, heads // shared))
    return found.reshape(rows, heads, length, values.shape[-1])


def _causal(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    """Block by block of queries, each with the keys that come before its end."""
    length = queries.shape[-2]
    before = keys.shape[-2] - length
    blocks = -(-length // BLOCK)
    bounds = [length * block // blocks for block in range(blocks + 1)]
    parts = []
    for start, end in itertools.pairwise(bounds):
        there = before + end
        seen = mx.arange(before + start, there)[:, None] >= mx.arange(there)
        asked = queries[..., start:end, :]
        parts.append(_attend(asked, keys[:, :, :there], values[:, :, :there], seen))
    return parts[0] if blocks == 1 else mx.concatenate(parts, axis=-2)


def _of_groups(mask: mx.array | None, shared: int, group: int) -> mx.array:
    """A mask as `_attention` takes it, of one that broadcasts to (rows, heads, queries, keys)."""
    if mask is None:
        return mx.array(True)
    if mask.ndim < 3:
        return mask
    one = mask.shape[-3] == 1
    return mx.expand_dims(mask, -3) if one else mx.unflatten(mask, -3, (shared, group))


def _attend(queries: mx.array, keys: mx.array, values: mx.array, seen: mx.array) -> mx.array:
    call: Any = _attention
    return call(queries, keys, values, seen)[0]


@mx.custom_function
def _attention(
    queries: mx.array, keys: mx.array, values: mx.array, seen: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    """Attention with a gradient, whose weights are divided by their sum last, where they are few.

    Args:
        queries: (rows, shared heads, heads of each, queries, width), scaled.
        keys, values: (rows, shared heads, keys, their width).
        seen: which keys a query sees, bool of any shape that broadcasts to (rows, shared heads,
            heads of each, queries, keys).

    Returns:
        What is found (rows, shared heads, heads of each, queries, width of values); and for the
        gradient the weights and their sums, of the heads of each and their queries as one axis.
    """
    flat = queries.flatten(2, 3)
    scores = (flat @ mx.swapaxes(keys, -1, -2)).reshape(*queries.shape[:4], -1)
    scores = mx.where(seen, scores, mx.finfo(mx.float32).min)
    weights = exp(scores - scores.max(axis=-1, keepdims=True)).flatten(2, 3)
    sums = weights.sum(axis=-1, keepdims=True)
    return ((weights @ values) / sums).reshape(*queries.shape[:4], -1), weights, sums


@_attention.vjp
def _attention_gradient(
    primals: tuple[mx.array, ...],
    cotangents: tuple[mx.array, ...],
    results: tuple[mx.array, ...],
) -> tuple[mx.array, ...]:
    """By equation 4 of FlashAttention (Dao et al. 2022): what a softmax takes off the gradient of
    each score of a query is the product of what was found with its gradient."""
    queries, keys, values, seen = primals
    found, weights, sums = results
    gradient = cotangents[0].flatten(2, 3) / sums
    taken_off = (gradient * found.flatten(2, 3)).sum(axis=-1, keepdims=True)
    of_scores = weights * (gradient @ mx.swapaxes(values, -1, -2) - taken_off)
    # All keys have a weight where a query sees none, and no score has a gradient.
    of_scores = (of_scores.reshape(*queries.shape[:4], -1) * seen).flatten(2, 3)
    return (
        (of_scores @ keys).reshape(queries.shape),
        mx.swapaxes(of_scores, -1, -2) @ queries.flatten(2, 3),
        mx.swapaxes(weights, -1, -2) @ gradient,
        mx.zeros_like(seen),
    )


_REPLACED: dict[str, tuple[Callable[..., mx.array], Callable[..., mx.array]]] = {
    "swiglu": (activations.swiglu, swiglu),
    "scaled_dot_product_attention": (
        base.scaled_dot_product_attention,
        scaled_dot_product_attention,
    ),
}
