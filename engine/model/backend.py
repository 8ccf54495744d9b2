"""What a model is computed by: the one seam between what a run wants and how it is found.

`engine.compute` has the implementations, and chooses one for each model.
"""

from collections.abc import Sequence
from typing import Protocol

import mlx.core as mx

from engine.model.batch import AnyBatch


class Decoder(Protocol):
    """A batch of completions as they are decoded, a row each."""

    logits: mx.array  # (rows, vocabulary) of every row's next token

    def feed(self, tokens: mx.array) -> None:
        """Append a token to every row, int32 (rows,), and find the logits after it."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone. Their logits are found with the next tokens."""
        ...


class Backend(Protocol):
    """Computes one model, with the weights that it has at each call."""

    @property
    def decodes_batches(self) -> bool:
        """Whether a decoder takes several prompts, and can drop rows."""
        ...

    def decoder(self, prompts: Sequence[Sequence[int]], copies: int, room: int) -> Decoder:
        """Run prompts of at least one token, `copies` rows of each; `room` tokens can follow."""
        ...

    def last_logits(self, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> mx.array:
        """Logits (rows, vocabulary) after the last token of each row, which continues `prefix`.

        Rows come in twos; what both of two begin with is run once. So is the prefix, for as long
        as it is the same, of a model that is not trained.
        """
        ...

    def logps(
        self, batch: AnyBatch, *, recompute: bool = False, step_size: int | None = None
    ) -> mx.array:
        """Sum of the log-probabilities of each completion's tokens.

        Args:
            recompute: trade time for memory in the backward pass (gradient checkpointing).
            step_size: at most this many tokens of a row in one pass, or None for all at once.

        Returns:
            float32 (prompts, completions of each). Differentiable in what the model trains.
        """
        ...

    @property
    def traced(self) -> "Backend | None":
        """What computes `logps` of a padded batch by MLX alone, so that it can be traced into a
        compiled function; None where nothing does."""
        ...

    def tokens_per_pass(self, *, recompute: bool, step_size: int | None = None) -> int:
        """Tokens of prompts and completions that `logps` should be given at once."""
        ...
