"""Gated delta rules by MLX's own operation, in training as outside of it.

mlx-lm's layers have a kernel for Metal that has no gradient, and elsewhere and in training mode a
Python loop over tokens. MLX has had one operation with a gradient since 0.32, on every device.
"""

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn

NAME = "gated_delta_update"
# Most that numbers may differ from those of the loop, as a share of the largest of them.
TOLERANCE = 1e-4


def use_fast_gated_delta(model: nn.Module) -> None:
    """Let the layers of a model compute so, where that gives the numbers of the loop here."""
    modules = {sys.modules[type(each).__module__] for each in model.modules()}
    theirs = [each for each in modules if getattr(each, NAME, None) is _rules().gated_delta_update]
    if theirs and _agrees():
        for each in theirs:
            setattr(each, NAME, gated_delta_update)


def _rules() -> ModuleType:
    from mlx_lm.models import gated_delta

    return gated_delta


def gated_delta_update(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    a: mx.array,
    b: mx.array,
    A_log: mx.array,
    dt_bias: mx.array,
    state: mx.array | None = None,
    mask: mx.array | None = None,
    *,
    use_kernel: bool = True,
    lower_bound: float | None = None,
    allow_neg_eigval: bool = False,
) -> tuple[mx.array, mx.array]:
    """As mlx-lm's function of this name; the same for `use_kernel`, so that policy and reference
    are computed in one way."""
    rules: Any = _rules()
    if lower_bound is None:
        g = rules.compute_g(A_log, a, dt_bias)
    else:
        g = rules.compute_lower_bound_g(A_log, a, dt_bias, lower_bound)
    beta = mx.sigmoid(b) * (2.0 if allow_neg_eigval else 1.0)
    if state is None:
        rows, _, heads, width = v.shape
        state = mx.zeros((rows, heads, width, q.shape[-1]), mx.float32)
    if g.ndim > 3:  # a gate for each feature, which the operation does not know
        return rules.gated_delta_ops(q, k, v, g, beta, state, mask)
    out, state = mx.fast.gated_delta_update(q, k, v, g, beta, state, mask)
    return out, state


@cache
def _agrees() -> bool:
    """Whether the operation gives what the loop gives, and its gradient, on a few tokens."""
    operation: Any = getattr(mx.fast, NAME, None)
    if operation is None:
        return False
    keys = mx.random.split(mx.random.key(0), 6)
    shapes = [(2, 5, 1, 32), (2, 5, 1, 32), (2, 5, 2, 32), (2, 5, 2), (2, 5, 2), (2, 2, 32, 32)]
    q, k, v, g, beta, state = (
        mx.random.normal(shape, key=key) / 4 for shape, key in zip(shapes, keys, strict=True)
    )
    inputs = [q, k, v, mx.sigmoid(g + 2), mx.sigmoid(beta), state]
    mask = mx.arange(5) < mx.array([[5], [3]])

    def outputs(rule: Callable[..., Any]) -> list[mx.array]:
        def total(*arrays: mx.array) -> mx.array:
            out, state = rule(*arrays, mask)
            return (mx.sin(out) * mask[..., None, None]).sum() + mx.sin(state).sum()

        out, state = rule(*inputs, mask)
        gradients = mx.grad(total, argnums=list(range(len(inputs))))(*inputs)
        return [out * mask[..., None, None], state, *gradients]

    try:
        pairs = zip(outputs(operation), outputs(_rules().gated_delta_ops), strict=True)
        return all(
            bool(mx.abs(ours - wanted).max() <= TOLERANCE * mx.abs(wanted).max())
            for ours, wanted in pairs
        )
    except (RuntimeError, ValueError):  # an operation that this device does not have
        return False
