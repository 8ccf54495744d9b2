"""A model as one role of a run uses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn

from engine.model.backend import Backend


@dataclass(frozen=True)
class LanguageModel:
    """Policy, reference or judge, with what computes it."""

    model: nn.Module
    tokenizer: Any  # mlx-lm's TokenizerWrapper, which passes on whatever the real one has
    eos_ids: frozenset[int]
    backend: Backend

    def text(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, without its end-of-turn token."""
        return self.tokenizer.decode([each for each in completion_ids if each not in self.eos_ids])
