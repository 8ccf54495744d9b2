"""A model with its adapters merged into its weights, while a batch is decoded.

Apart, an adapter is nine of the thirteen operations of its layer, which for a handful of tokens
take longer to start than to compute.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.tuner.lora import LoRALinear

from engine.compute import limits
from engine.compute.mlx_model import MlxModel
from engine.model.adapters import view


def merged(model: MlxModel) -> MlxModel:
    """A view of a model as it is now, its LoRA adapters part of float32 weights; the model itself
    where it has none, or where the copies would take too much memory.

    Half precision would round away what an adapter adds, and packed weights hold no sum.
    """
    adapted = _adapted(model.module)
    if not adapted:
        return model
    module = view(model.module)
    parts: dict[str, Any] = dict(module.named_modules())
    layers = {path: parts[path].linear for path in adapted}
    for path, each in adapted.items():
        # Held as (in, out), which BLAS reads as it is.
        total = mx.addmm(each.linear.weight.T, each.lora_a, each.lora_b, alpha=each.scale)
        layers[path].weight = total.T
    module.update_modules(tree_unflatten([*layers.items()]))
    mx.eval([layer.weight for layer in layers.values()])
    return model.over(module)


def _adapted(module: nn.Module) -> dict[str, Any]:
    """The layers whose adapters can be merged, by their paths; none where they are too many."""
    modules: list[tuple[str, Any]] = module.named_modules()
    found = {path: each for path, each in modules if type(each) is LoRALinear and _is_bare(each)}
    size = sum(each.linear.weight.nbytes for each in found.values())
    return found if size <= limits.MERGED_BYTES else {}


def _is_bare(adapter: Any) -> bool:
    return type(adapter.linear) is nn.Linear and adapter.linear.weight.dtype == mx.float32
