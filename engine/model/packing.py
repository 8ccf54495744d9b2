"""Quantised layers: unpacked into plain ones, and packed again once something was trained.

Rounding a trained layer to 4 bits takes most of its training away: the change is smaller than a
step between two numbers that 4 bits can hold. So it is packed in 8 bits where these keep what it
learned, and stays unpacked where they do not.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.models.mla import MultiLinear, QuantizedMultiLinear
from mlx_lm.utils import dequantize_model

from engine.model import arrays

# Most that rounding may change the weights of a layer, as a share of what training changed them.
# Rounding to 8 bits then took back at most about that share's square of the distance that training
# took the predictions (Kullback-Leibler): random models the whole of it, SmolLM2-135M and the
# starter's policy an eighth and less. To 4 bits a layer of theirs never came near that share.
MOST_ROUNDING = 0.25
# Below this share of the weights a change is float32's own rounding, and nothing was trained.
LEAST_TRAINING = 1e-6

Form = dict[str, Any]  # group_size, bits and mode, as mlx-lm's config names them


def unpack(model: nn.Module, dtype: mx.Dtype) -> None:
    """Replace in place quantised layers by plain ones of the same numbers, and hold all weights in
    `dtype`. Scales are widened first, so that the numbers are not rounded on the way."""
    _cast(model, dtype)
    dequantize_model(model)
    plain = []
    for path, module in model.named_modules():
        if isinstance(module, QuantizedMultiLinear):  # which mlx-lm passes over
            weight = unpacked(module)
            heads, output_dims, input_dims = weight.shape
            layer = MultiLinear(input_dims, output_dims, heads)
            layer.weight = weight
            plain.append((path, layer))
    model.update_modules(tree_unflatten(plain))
    _cast(model, dtype)


def _cast(model: nn.Module, dtype: mx.Dtype) -> None:
    floats = {
        name: array.astype(dtype)
        for name, array in arrays.flat(model.parameters()).items()
        if mx.issubdtype(array.dtype, mx.floating)
    }
    model.update(arrays.tree(floats))


def unpacked(packed: Any) -> mx.array:
    """The weights that a quantised layer stands for."""
    return mx.dequantize(packed.weight, packed.scales, packed.get("biases"), **form_of(packed))


def form_of(packed: Any) -> Form:
    """How a layer is quantised."""
    return {"group_size": packed.group_size, "bits": packed.bits, "mode": packed.mode}


@dataclass(frozen=True)
class Repacked:
    """A trained layer as it is kept."""

    layer: nn.Module
    form: Form | None  # None: unpacked
    training: float  # norm of what training changed the weights by
    rounding: float  # norm of what this form then changes them by
    bytes: int
    bytes_before: int


def repacked(trained: Any, before: Any, dtype: mx.Dtype) -> Repacked:
    """A trained plain layer (float32), packed so that it keeps what it learned.

    Args:
        before: the quantised layer that it came from; kept where nothing was learned.
        dtype: of scales, and of weights that stay unpacked.
    """
    weight = trained.weight
    training = _norm(weight - unpacked(before).astype(mx.float32))
    if training <= LEAST_TRAINING * _norm(weight):
        return Repacked(before, form_of(before), 0.0, 0.0, _bytes(before), _bytes(before))
    trained.weight = weight.astype(dtype)
    layer, form = trained, None
    rounding = _norm(trained.weight.astype(mx.float32) - weight)
    eight: Form = {"group_size": max(32, before.group_size), "bits": 8, "mode": "affine"}
    if weight.shape[-1] % eight["group_size"] == 0:
        packed = trained.to_quantized(**eight)
        error = _norm(unpacked(packed).astype(mx.float32) - weight)
        if error <= MOST_ROUNDING * training:
            layer, form, rounding = packed, eight, error
    mx.eval(layer.parameters())
    return Repacked(layer, form, training, rounding, _bytes(layer), _bytes(before))


def in_words(layers: Iterable[Repacked]) -> str:
    """What was done to the trained layers of a model, and what it costs."""
    trained = [each for each in layers if each.training]
    unquantised = sum(each.form is None for each in trained)
    counts = {"in 8 bits": len(trained) - unquantised, "unquantised": unquantised}
    kept = " and ".join(f"{count} {how}" for how, count in counts.items() if count)
    rounding, training = (
        math.hypot(*(getattr(each, name) for each in trained)) for name in ("rounding", "training")
    )
    size, before = (
        sum(getattr(each, name) for each in trained) / 1e6 for name in ("bytes", "bytes_before")
    )
    return (
        f"trained layers are kept with more bits, {kept}, so that rounding leaves them their "
        f"training: {size:.1f} MB instead of {before:.1f} MB, and rounding is "
        f"{rounding / training if training else 0:.0%} of what was trained"
    )


def _norm(array: mx.array) -> float:
    return float(mx.linalg.norm(array.reshape(-1)).item())  # pyright: ignore[reportArgumentType]


def _bytes(module: nn.Module) -> int:
    return sum(array.nbytes for array in arrays.flat(module.parameters()).values())
