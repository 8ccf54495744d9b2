"""What numpy computes of the models that it can, and MLX of them where it cannot."""

from collections.abc import Sequence
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engine.compute import limits
from engine.compute.frozen_layers import FrozenLayers
from engine.compute.mlx_backend import MlxBackend, sizes
from engine.compute.numpy.decode import NumpyDecoder
from engine.compute.numpy.kv_cache import KVCache
from engine.compute.numpy.logps import completion_logps
from engine.compute.numpy.model import numpy_model
from engine.compute.numpy.threads import side_by_side, split
from engine.compute.reading import common_starts, piece
from engine.model import arrays
from engine.model.backend import Decoder
from engine.model.batch import AnyBatch, PaddedBatch


class NumpyBackend:
    """A `Backend`."""

    decodes_batches = True

    def __init__(
        self,
        module: nn.Module,
        mlx: MlxBackend,
        *,
        scores: bool,
        frozen: FrozenLayers[np.ndarray] | None = None,
        keeps: bool = False,
    ) -> None:
        """
        Args:
            mlx: what scores in place of this one.
            scores: whether this one does, where all of a row is read in one pass.
            frozen, keeps: as of `MlxBackend`.
        """
        self._module = module
        self.mlx = mlx
        self._scores = scores
        self._frozen = frozen
        self._keeps = keeps
        self._prefix: tuple[tuple[int, ...], KVCache | None] = (), None

    def decoder(self, prompts: Sequence[Sequence[int]], copies: int, room: int) -> Decoder:
        return NumpyDecoder(self._module, prompts, copies, room)

    def last_logits(self, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> mx.array:
        begun = self._prefix_rows(tuple(prefix))
        begun.reach(2 * max(map(len, rows)))  # starts and ends, each padded

        def logits(part: slice) -> np.ndarray:
            own = rows[2 * part.start : 2 * part.stop]
            shared = common_starts(own)
            starts = begun.fork([0] * len(shared), max(shared))
            _feed(starts, [row[:n] for row, n in zip(own[::2], shared, strict=True)])
            ends = [row[shared[at // 2] :] for at, row in enumerate(own)]
            owners = [at // 2 for at in range(len(own))]
            longest = max(map(len, ends))
            once = longest <= piece(len(ends), longest, starts.width)
            return begun.model.logits(_feed(starts.fork(owners, longest, once=once), ends))

        parts = split([len(row) for row in rows[::2]])
        return mx.array(np.concatenate(side_by_side([partial(logits, part) for part in parts])))

    def _prefix_rows(self, prefix: tuple[int, ...]) -> KVCache:
        read, rows = self._prefix
        if rows is None or read != prefix or arrays.flat(self._module.trainable_parameters()):
            rows = KVCache(numpy_model(self._module), 1, len(prefix))
            _feed(rows, [prefix])
            self._prefix = prefix, rows
        return rows

    def logps(
        self, batch: AnyBatch, *, recompute: bool = False, step_size: int | None = None
    ) -> mx.array:
        if not self._scores or step_size or isinstance(batch, PaddedBatch):
            return self.mlx.logps(batch, recompute=recompute, step_size=step_size)
        return completion_logps(
            self._module, batch, recompute=recompute, frozen=self._frozen, keeps=self._keeps
        )

    @property
    def traced(self) -> MlxBackend | None:
        return self.mlx.traced

    def tokens_per_pass(self, *, recompute: bool, step_size: int | None = None) -> int:
        if not self._scores or step_size:
            return self.mlx.tokens_per_pass(recompute=recompute, step_size=step_size)
        return limits.scored_tokens(*sizes(self._module), recompute=recompute, cpu=True, numpy=True)


def _feed(rows: KVCache, ids: Sequence[Sequence[int]]) -> np.ndarray:
    """`KVCache.feed`, in pieces where the scores of attention would be too many for one pass; rows
    that are so long are of about one length. The last piece has the last token of each."""
    step = piece(len(ids), max(map(len, ids)), rows.width)
    last = (min(map(len, ids)) - 1) // step * step
    for start in range(0, last, step):
        rows.feed([row[start : start + step] for row in ids])
    return rows.feed([row[last:] for row in ids])
