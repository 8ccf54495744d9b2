"""The policy as it samples: its adapters merged into the weights that they adapt.

A small model is bound by the number of operations, not by their size, and adapters more than
double it. Merging costs one small product a layer and step, and a copy of the adapted weights.
"""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from engine.models import LanguageModel, as_language_model, view

# Adapted weights up to this size in bytes are merged; a larger model is bound by its matrices.
MOST_BYTES = 256 << 20


class MergedPolicy:
    """A copy of a policy without adapters, brought up to date when asked for.

    Only float32 weights are merged, where rounding stays below what sampling can tell; any
    other policy samples as it is.
    """

    def __init__(self, policy: LanguageModel, tokens: int) -> None:
        """`tokens` is the longest sequence that is going to be sampled."""
        self._policy = policy
        self._adapters = {
            name: module for name, module in policy.model.named_modules() if hasattr(module, "fuse")
        }
        weights = [_base_weight(module) for module in self._adapters.values()]
        fits = all(weight.dtype == mx.float32 for weight in weights)
        self._merged: LanguageModel | None = None
        if weights and fits and sum(weight.nbytes for weight in weights) <= MOST_BYTES:
            model = view(policy.model)
            model.update_modules(self._fused())
            self._merged = as_language_model(model, policy.tokenizer, tokens)

    def now(self) -> LanguageModel:
        """A model with the policy's weights as they are now, good until its next update."""
        if self._merged is None:
            return self._policy
        self._merged.model.update_modules(self._fused())
        mx.eval(self._merged.model.parameters())
        return self._merged

    def _fused(self) -> Any:
        return tree_unflatten([(name, each.fuse()) for name, each in self._adapters.items()])


def _base_weight(module: Any) -> mx.array:
    """The frozen weight under an adapter."""
    return (module.linear if "linear" in module else module.embedding).weight
