"""A model in two parts, as MLX runs it: what makes hidden states, and what makes them logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.compute.cpu_layers import use_cpu_layers
from engine.compute.gated_delta import use_fast_gated_delta


@dataclass(frozen=True)
class MlxModel:
    """A module and its parts, so that logits are made only where they are read."""

    module: nn.Module
    vocabulary: int
    head: nn.Module  # what makes logits, with its own parameters; an empty one where none does
    _backbone: Callable[..., mx.array]
    _logits: Callable[[mx.array], mx.array]

    @classmethod
    def of(cls, module: nn.Module) -> "MlxModel":
        """Split a module. One with a step of its own between the two parts, such as a soft cap,
        is not split, as a trial on a few tokens tells."""
        use_fast_gated_delta(module)
        use_cpu_layers(module)
        return cls(module, module(mx.array([[0]])).shape[-1], *_parts(module))

    def over(self, module: nn.Module) -> "MlxModel":
        """The same parts of a view of this one's module."""
        parts = _split(module) if self.head.parameters() else _whole(module)
        return MlxModel(module, self.vocabulary, *parts)

    def hidden(self, ids: mx.array, caches: Sequence[object] | None = None) -> mx.array:
        """Hidden states (rows, tokens, features) of ids (rows, tokens).

        A model that cannot be split gives its logits here, and `logits` passes them on.
        """
        return self._backbone(ids, caches)

    def logits(self, hidden: mx.array) -> mx.array:
        """Logits (..., vocabulary) of hidden states (..., features)."""
        return self._logits(hidden)


def _parts(
    module: nn.Module,
) -> tuple[nn.Module, Callable[..., mx.array], Callable[[mx.array], mx.array]]:
    """The head, what makes hidden states, and what makes them logits."""
    try:
        parts = _split(module)
        ids = mx.array([[1, 2, 3]])
        if mx.array_equal(parts[2](parts[1](ids)), module(ids)):
            return parts
    except Exception:  # an architecture laid out in another way
        pass
    return _whole(module)


def _split(
    module: nn.Module,
) -> tuple[nn.Module, Callable[..., mx.array], Callable[[mx.array], mx.array]]:
    wrapper: Any = getattr(module, "language_model", module)
    backbone = wrapper.model
    if "lm_head" in wrapper:
        return (
            wrapper.lm_head,
            (lambda ids, caches=None: backbone(ids, cache=caches)),
            (lambda hidden: wrapper.lm_head(hidden)),
        )
    return (
        backbone.embed_tokens,
        (lambda ids, caches=None: backbone(ids, cache=caches)),
        (lambda hidden: backbone.embed_tokens.as_linear(hidden)),
    )


def _whole(
    module: nn.Module,
) -> tuple[nn.Module, Callable[..., mx.array], Callable[[mx.array], mx.array]]:
    return (
        nn.Module(),
        (lambda ids, caches=None: module(ids, cache=caches)),
        (lambda logits: logits),
    )
