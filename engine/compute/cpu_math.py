"""Fast transcendental functions for MLX's CPU backend, whose own are computed one by one.

On x86 an `exp` there takes some 13 ns, forty times a multiplication, and at small model sizes
outweighs the matrices. numpy has vector code for it. The three functions in which models spend
their exponentials are therefore handed to numpy where they are large: the gate of a
feed-forward layer, the softmax of attention, and the log-sum-exp over a vocabulary. Results
agree with MLX's to float32 rounding, and gradients flow through them.

Handing over computes the argument at once; small arrays stay lazy and stay with MLX. What is
computed while a gradient is traced, MLX keeps until the backward pass is over; where memory
matters more than time, `left_to_mlx` hands nothing over.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models import activations, base

from engine.machine.device import cores

# Elements from which on handing over pays.
LARGE = 1 << 16

_left_to_mlx = ContextVar("left_to_mlx", default=False)
_plain_swiglu = activations.swiglu
_plain_attention: Any = base.scaled_dot_product_attention


def install() -> None:
    """Let models that are imported from now on use the functions of this file.

    MLX's own way to fuse such functions, `mx.compile`, is turned off: on this backend it starts
    a C++ compiler, which a machine need not have.
    """
    mx.disable_compile()
    activations.swiglu = swiglu
    base.scaled_dot_product_attention = scaled_dot_product_attention


@contextmanager
def left_to_mlx(when: bool = True) -> Iterator[None]:
    """While open, and if `when`, nothing is handed over to numpy."""
    token = _left_to_mlx.set(when)
    try:
        yield
    finally:
        _left_to_mlx.reset(token)


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """gate * sigmoid(gate) * x."""
    if not _handed_over(gate):
        return _plain_swiglu(gate, x)
    return gate * _sigmoid(gate) * x


def logsumexp(x: mx.array) -> mx.array:
    """log(sum(exp(x))) over the last axis."""
    return _logsumexp(x) if _handed_over(x) else mx.logsumexp(x, axis=-1)


def scaled_dot_product_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None = None,
) -> mx.array:
    """Attention of queries (rows, heads, tokens, width) over keys (rows, kv heads, length, width)
    and values (rows, kv heads, length, value width): (rows, heads, tokens, value width).

    `mask` is "causal", boolean, additive or None, and broadcasts to (rows, heads, tokens,
    length). An additive one may be computed from weights, as the positions' part of the scores
    in DeepSeek-V3's attention is, and has gradients.
    """
    rows, heads, tokens, width = queries.shape
    groups, length = keys.shape[1], keys.shape[2]
    plain = sinks is not None or hasattr(cache, "bits") or queries.dtype != mx.float32
    if plain or not _serves() or rows * heads * tokens * length < LARGE:
        return _plain_attention(
            queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks
        )
    grouped = (queries * scale).reshape(rows, groups, heads // groups * tokens, width)
    scores = (grouped @ keys.swapaxes(-1, -2)).reshape(rows, heads, tokens, length)
    if isinstance(mask, mx.array) and mask.dtype != mx.bool_:
        scores, mask = scores + mask.astype(mx.float32), None
    shares = _softmax(scores, _hiding(mask, tokens, length))
    mixed = shares.reshape(rows, groups, heads // groups * tokens, length) @ values
    return mixed.reshape(rows, heads, tokens, values.shape[-1])


def _hiding(mask: mx.array | str | None, tokens: int, length: int) -> mx.array:
    """A boolean mask as float32 to be added to scores."""
    if mask is None:
        return mx.zeros((1, 1))
    if isinstance(mask, str):
        mask = mx.arange(length - tokens, length)[:, None] >= mx.arange(length)
    return mx.where(mask, mx.array(0.0), mx.array(float(np.finfo(np.float32).min)))


# -- the three functions -------------------------------------------------------------------------


@mx.custom_function
def _sigmoid_function(x: mx.array) -> mx.array:
    def fill(source: np.ndarray, result: np.ndarray) -> None:
        np.negative(source, out=result)
        np.exp(result, out=result)  # infinity for a very negative x, whose sigmoid is then 0
        result += 1
        np.reciprocal(result, out=result)

    return _over_cores(fill, _seen(x))


@_sigmoid_function.vjp
def _sigmoid_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * output * (1 - output)


@mx.custom_function
def _softmax_function(scores: mx.array, mask: mx.array) -> mx.array:
    added = np.broadcast_to(_seen(mask), scores.shape)

    def fill(source: np.ndarray, result: np.ndarray, added: np.ndarray) -> None:
        np.add(source, added, out=result)
        result -= result.max(axis=-1, keepdims=True)
        np.exp(result, out=result)
        result /= result.sum(axis=-1, keepdims=True)

    return _over_cores(fill, _seen(scores), added)


@_softmax_function.vjp
def _softmax_vjp(
    primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    weighted = cotangent * output
    gradient = weighted - output * weighted.sum(axis=-1, keepdims=True)
    return gradient, mx.zeros_like(primals[1])  # what is hidden is never learned


@mx.custom_function
def _logsumexp_function(x: mx.array) -> mx.array:
    def fill(source: np.ndarray, result: np.ndarray) -> None:
        peak = source.max(axis=-1)
        shifted = source - peak[..., None]
        np.exp(shifted, out=shifted)
        np.log(shifted.sum(axis=-1), out=result)
        result += peak

    return _over_cores(fill, _seen(x), shape=x.shape[:-1])


@_logsumexp_function.vjp
def _logsumexp_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    def fill(
        source: np.ndarray, result: np.ndarray, output: np.ndarray, cotangent: np.ndarray
    ) -> None:
        np.subtract(source, output[..., None], out=result)
        np.exp(result, out=result)
        result *= cotangent[..., None]

    return _over_cores(fill, _seen(x), _seen(output), _seen(cotangent))


# MLX's stubs do not know that a custom function returns what its function returns.
_sigmoid: Any = _sigmoid_function
_softmax: Any = _softmax_function
_logsumexp: Any = _logsumexp_function


# -- handing over --------------------------------------------------------------------------------


def _handed_over(x: mx.array) -> bool:
    return x.size >= LARGE and x.dtype == mx.float32 and _serves()


def _serves() -> bool:
    """Whether arrays are computed on a CPU, and may be handed over now."""
    return mx.default_device() == mx.Device(mx.cpu) and not _left_to_mlx.get()


def _seen(x: mx.array) -> np.ndarray:
    """The computed values of an array, not copied."""
    return np.array(x, copy=False)


def _over_cores(
    fill: Callable[..., None],
    source: np.ndarray,
    *others: np.ndarray,
    shape: tuple[int, ...] | None = None,
) -> mx.array:
    """The float32 array of `shape` (by default the source's) that `fill(source, result,
    *others)` writes, with the first axis shared out over the cores."""
    result = np.empty(source.shape if shape is None else shape, np.float32)
    size = -(-len(source) // min(cores(), len(source)))
    with np.errstate(over="ignore"):
        parts = [slice(at, at + size) for at in range(0, len(source), size)]
        tasks = [
            _threads().submit(
                _quietly, fill, source[part], result[part], *(each[part] for each in others)
            )
            for part in parts[1:]
        ]
        fill(source[parts[0]], result[parts[0]], *(each[parts[0]] for each in others))
        for task in tasks:
            task.result()
    return mx.array(result)


def _quietly(fill: Callable[..., None], *arrays: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        fill(*arrays)


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that compute with numpy alone; MLX stays where it is."""
    return ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="cpu-math")
