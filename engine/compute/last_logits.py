"""The logits after the last token of each row, by MLX."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from engine.compute.caches import LayerCache, completion_caches, prompt_caches, reads_whole
from engine.compute.mlx_model import MlxModel
from engine.compute.reading import common_starts, piece
from engine.model.batch import padded


def prefix_caches(model: MlxModel, prefix: Sequence[int]) -> list[LayerCache]:
    """The caches of one row of tokens that every other continues."""
    caches = prompt_caches(model.module)
    _last_hidden(model, [prefix], caches)
    mx.eval([cache.state for cache in caches])
    return caches


def continued(
    model: MlxModel, prefix: Sequence[LayerCache], rows: Sequence[Sequence[int]]
) -> mx.array:
    """Logits (rows, vocabulary) of rows in twos that continue a prefix."""
    starts = common_starts(rows)
    alone = mx.zeros((len(starts),), mx.int32)
    tokens = mx.array(starts) if len(set(starts)) > 1 else None
    caches = completion_caches(prefix, alone, None, tokens=tokens)
    _last_hidden(model, [row[:n] for row, n in zip(rows[::2], starts, strict=True)], caches)
    lengths = [prefix[0].width + n for n in starts for _ in range(2)]
    owners = mx.repeat(mx.arange(len(starts)), 2)
    uneven = mx.array(lengths) if len(set(lengths)) > 1 else None
    ends = [row[starts[at // 2] :] for at, row in enumerate(rows)]
    return model.logits(_last_hidden(model, ends, completion_caches(caches, owners, uneven)))


def whole(model: MlxModel, rows: Sequence[Sequence[int]]) -> mx.array:
    """The same of whole rows, each read from its start."""
    return model.logits(_last_hidden(model, rows, None))


def _last_hidden(
    model: MlxModel, rows: Sequence[Sequence[int]], caches: Sequence[LayerCache] | None
) -> mx.array:
    """Hidden states (rows, features) of the last token of each row, which continues from its
    cache; in pieces where the scores of attention would be too many for one pass."""
    ids = padded(rows)
    at = mx.array([len(row) for row in rows])[:, None, None] - 1
    step = piece(len(rows), ids.shape[1], caches[0].width if caches else 0)
    if ids.shape[1] <= step or (caches and reads_whole(caches)):
        return mx.take_along_axis(model.hidden(ids, caches), at, axis=1).squeeze(1)
    own: Any = make_prompt_cache(model.module) if caches is None else caches
    last = mx.array(0.0)
    for start in range(0, ids.shape[1], step):
        hidden = model.hidden(ids[:, start : start + step], own)
        here = mx.take_along_axis(hidden, mx.clip(at - start, 0, hidden.shape[1] - 1), axis=1)
        last = mx.where((at >= start) & (at < start + step), here, last)
        mx.eval(last, [cache.state for cache in own])
    return last.squeeze(1)
