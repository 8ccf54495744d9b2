"""Completions as they are decoded, a row each: from prompts run once, a token at a time."""

from collections.abc import Sequence
from typing import Protocol

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from engine.compute.kv_cache import DecodeCache, padded, prompt_caches
from engine.compute.numpy.kv_cache import Rows
from engine.compute.numpy.model import plain
from engine.model.language_model import LanguageModel


class Decoder(Protocol):
    """A batch of completions."""

    logits: mx.array  # (rows, vocabulary) of every row's next token

    def feed(self, tokens: mx.array) -> None:
        """Append a token to every row, int32 (rows,), and find the logits after it."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone. Their logits are found with the next tokens."""
        ...


def decoder(lm: LanguageModel, prompts: Sequence[Sequence[int]], copies: int, room: int) -> Decoder:
    """Run prompts of at least one token, `copies` rows of each; `room` tokens can follow."""
    if not lm.shares_prompts:
        return UnsharedDecoder(lm, prompts[0], copies)
    return (NumpyDecoder if lm.is_plain else SharedDecoder)(lm, prompts, copies, room)


class SharedDecoder:
    """Of a model whose prompts can be shared, by MLX."""

    def __init__(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], copies: int, room: int
    ) -> None:
        self._lm = lm
        owners = mx.repeat(mx.arange(len(prompts)), copies)
        lengths = [len(prompt) for prompt in prompts]
        shared = prompt_caches(lm.model)
        hidden = lm.hidden(padded(prompts), shared)
        last = mx.take_along_axis(hidden, mx.array(lengths)[:, None, None] - 1, axis=1).squeeze(1)
        uneven = mx.array(lengths)[owners] if len(set(lengths)) > 1 else None
        self.logits = mx.take(lm.logits(last), owners, axis=0)
        self._caches = [DecodeCache(cache, owners, uneven, room) for cache in shared]

    def feed(self, tokens: mx.array) -> None:
        self.logits = _logits_after(self._lm, tokens, self._caches)

    def keep(self, rows: Sequence[int]) -> None:
        for cache in self._caches:
            cache.keep(mx.array(list(rows)))


class UnsharedDecoder:
    """Of any other model: one prompt, and a cache of the model's own kind."""

    def __init__(self, lm: LanguageModel, prompt: Sequence[int], copies: int) -> None:
        self._lm = lm
        self._caches = make_prompt_cache(lm.model)
        ids = mx.broadcast_to(mx.array(list(prompt))[None], (copies, len(prompt)))
        self.logits = lm.logits(lm.hidden(ids, self._caches)[:, -1])

    def feed(self, tokens: mx.array) -> None:
        self.logits = _logits_after(self._lm, tokens, self._caches)

    def keep(self, rows: Sequence[int]) -> None:
        """Such a cache cannot drop rows: the batch stays as it is."""


def _logits_after(lm: LanguageModel, tokens: mx.array, caches: Sequence[object]) -> mx.array:
    return lm.logits(lm.hidden(tokens[:, None], caches)[:, -1])


class NumpyDecoder:
    """Of a plain model on MLX's CPU backend."""

    def __init__(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], copies: int, room: int
    ) -> None:
        self._model = plain(lm.model)
        self._rows = Rows(self._model, len(prompts), max(map(len, prompts)))
        owners = [row for row in range(len(prompts)) for _ in range(copies)]
        self.logits = mx.array(self._model.logits(self._rows.feed(prompts))[owners])
        self._rows.keep(owners, room)

    def feed(self, tokens: mx.array) -> None:
        self.logits = mx.array(
            self._model.logits(self._rows.feed(np.array(tokens)[:, None].tolist()))
        )

    def keep(self, rows: Sequence[int]) -> None:
        self._rows.keep(rows)
