"""A model as one role of a run uses it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn


@dataclass(frozen=True)
class LanguageModel:
    """A model as one role of a run uses it: policy, reference or judge."""

    model: nn.Module
    tokenizer: Any
    eos_ids: frozenset[int]
    vocabulary: int
    shares_prompts: bool
    is_plain: bool  # `engine.compute.numpy` computes it
    _backbone: Callable[..., mx.array]
    _head: Callable[[mx.array], mx.array]

    def hidden(self, ids: mx.array, cache: Any = None) -> mx.array:
        """Hidden states (rows, tokens, features) of ids (rows, tokens).

        A model that cannot be split gives its logits here, and `logits` passes them on.
        """
        return self._backbone(ids, cache)

    def logits(self, hidden: mx.array) -> mx.array:
        """Logits (..., vocabulary) of hidden states (..., features)."""
        return self._head(hidden)

    def text(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, without its end-of-turn token."""
        return self.tokenizer.decode([each for each in completion_ids if each not in self.eos_ids])
