"""Completions as numpy decodes them."""

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engine.compute.numpy.kv_cache import KVCache
from engine.compute.numpy.model import numpy_model
from engine.compute.numpy.packed import FEW


class NumpyDecoder:
    """Decodes a batch."""

    def __init__(
        self, module: nn.Module, prompts: Sequence[Sequence[int]], copies: int, room: int
    ) -> None:
        self._model = numpy_model(module, packs=len(prompts) * copies in FEW)
        self._rows = KVCache(self._model, len(prompts), max(map(len, prompts)))
        owners = [row for row in range(len(prompts)) for _ in range(copies)]
        self.logits = mx.array(self._model.logits(self._rows.feed(prompts))[owners])
        self._rows.keep(owners, room)

    def feed(self, tokens: mx.array) -> None:
        self.logits = mx.array(
            self._model.logits(self._rows.feed(np.array(tokens)[:, None].tolist()))
        )

    def keep(self, rows: Sequence[int]) -> None:
        self._rows.keep(rows)
