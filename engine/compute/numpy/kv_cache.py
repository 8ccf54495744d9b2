"""What rows of tokens leave in a model that reads them: they fork, and read on.

The numpy counterpart of `engine.compute.kv_cache`, for models that `engine.compute.numpy.model`
computes.
"""

import copy
from collections.abc import Iterable, Sequence

import numpy as np

from engine.compute.numpy.model import LayerCache, NumpyModel

FIRST_POSITIONS = 256  # positions of the first table of rotary angles


class KVCache:
    """Right-padded rows, each at a position of its own; padding is hidden from what follows."""

    def __init__(self, model: NumpyModel, rows: int, room: int) -> None:
        """Empty rows with room for so many tokens each, padding included."""
        self.model = model
        self._layers: Iterable[LayerCache] = [
            LayerCache.empty(model, rows, room) for _ in model.layers
        ]
        self._at = 0  # tokens that every row holds, padding included
        self._lengths = np.zeros(rows, np.int64)  # of them, those that are not padding
        self._real = np.ones((rows, 0), bool)  # which they are
        self._cos_sin = model.cos_sin(FIRST_POSITIONS)

    @property
    def width(self) -> int:
        """Tokens held a row, padding included."""
        return self._at

    def fork(self, rows: Sequence[int], more_room: int = 0, *, once: bool = False) -> "KVCache":
        """A copy of some rows, in that order, each as often as it is named.

        A copy that is read on `once` holds a layer's cache only while that layer reads.
        """
        forked = copy.copy(self)
        caches = (cache.rows(rows, more_room) for cache in self._layers)
        forked._layers = caches if once else list(caches)
        forked._pick(rows)
        return forked

    def keep(self, rows: Sequence[int], more_room: int = 0) -> None:
        """Become what a fork would be, a layer at a time, so that no two of them are held twice."""
        self._layers = layers = list(self._layers)
        for number, cache in enumerate(layers):
            layers[number] = cache.rows(rows, more_room)
        self._pick(rows)

    def _pick(self, rows: Sequence[int]) -> None:
        self._lengths = self._lengths[list(rows)]
        self._real = self._real[list(rows)]

    def feed(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Append tokens to every row, as many as each has, at least one; returns the hidden states
        of each row's last one, before the last norm, (features, rows)."""
        counts = np.array([len(row) for row in ids])
        tokens = int(counts.max())
        real = np.arange(tokens) < counts[:, None]
        table = np.zeros((len(ids), tokens), np.int64)
        table[real] = np.concatenate([np.asarray(row, np.int64) for row in ids])
        positions = (self._lengths[:, None] + np.arange(tokens)).reshape(-1)
        mask = self._mask(tokens)
        self.reach(tokens)
        cos_sin = self._cos_sin[0][:, positions], self._cos_sin[1][:, positions]
        hidden = self.model.hidden(table, self._layers, self._at, cos_sin, mask, counts - 1)
        self._at += tokens
        self._lengths = self._lengths + counts
        self._real = np.concatenate([self._real, real], axis=1)
        return hidden

    def _mask(self, tokens: int) -> np.ndarray | None:
        """Minus infinity where a new token must not look, (rows or 1, 1, 1, tokens, held and new
        tokens); None where it may look everywhere."""
        padded = not self._real.all()
        if tokens == 1 and not padded:
            return None
        rows = len(self._real) if padded else 1
        seen = np.ones((rows, tokens, self._at + tokens), bool)
        seen[:, :, : self._at] = self._real[:rows, None]
        seen[:, :, self._at :] = np.tri(tokens, dtype=bool)
        return np.where(seen, np.float32(0), np.float32(-np.inf))[:, None, None]

    def reach(self, tokens: int) -> None:
        """Make ready for so many more tokens in every row: feeding them will not need MLX."""
        end = int(self._lengths.max()) + tokens
        if end > self._cos_sin[0].shape[1]:
            self._cos_sin = self.model.cos_sin(2 * end)
