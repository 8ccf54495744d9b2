"""Completions as MLX decodes them, a row each: from prompts run once, a token at a time."""

from collections.abc import Sequence

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from engine.compute.caches import decode_caches, prompt_caches
from engine.compute.mlx_model import MlxModel
from engine.model.batch import padded


class SharedDecoder:
    """Of a model whose prompts can be shared, by MLX."""

    def __init__(
        self, model: MlxModel, prompts: Sequence[Sequence[int]], copies: int, room: int
    ) -> None:
        self._model = model
        owners = mx.repeat(mx.arange(len(prompts)), copies)
        lengths = [len(prompt) for prompt in prompts]
        shared = prompt_caches(model.module, lengths)
        hidden = model.hidden(padded(prompts), shared)
        last = mx.take_along_axis(hidden, mx.array(lengths)[:, None, None] - 1, axis=1).squeeze(1)
        uneven = mx.array(lengths)[owners] if len(set(lengths)) > 1 else None
        self.logits = mx.take(model.logits(last), owners, axis=0)
        self._caches = decode_caches(shared, owners, uneven, room)

    def feed(self, tokens: mx.array) -> None:
        self.logits = _logits_after(self._model, tokens, self._caches)

    def keep(self, rows: Sequence[int]) -> None:
        for cache in self._caches:
            cache.keep(mx.array(list(rows)))


class UnsharedDecoder:
    """Of any other model: one prompt, and a cache of the model's own kind."""

    def __init__(self, model: MlxModel, prompt: Sequence[int], copies: int) -> None:
        self._model = model
        self._caches = make_prompt_cache(model.module)
        ids = mx.broadcast_to(mx.array(list(prompt))[None], (copies, len(prompt)))
        self.logits = model.logits(model.hidden(ids, self._caches)[:, -1])

    def feed(self, tokens: mx.array) -> None:
        self.logits = _logits_after(self._model, tokens, self._caches)

    def keep(self, rows: Sequence[int]) -> None:
        """Such a cache cannot drop rows: the batch stays as it is."""


def _logits_after(model: MlxModel, tokens: mx.array, caches: Sequence[object]) -> mx.array:
    return model.logits(model.hidden(tokens[:, None], caches)[:, -1])
