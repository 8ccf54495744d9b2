"""One cache a layer for prompts that several completions share, whatever a layer keeps."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache, make_prompt_cache

from engine.compute.kv_cache import CompletionCache, DecodeCache, PromptCache
from engine.compute.state_cache import CompletionStates, PromptStates

Cache = PromptCache | PromptStates


class SeveralCaches:
    """Those of a layer that has more than one."""

    def __init__(self, caches: Sequence[Cache]) -> None:
        self.caches = list(caches)

    def __getitem__(self, at: int) -> Cache:
        return self.caches[at]

    @property
    def width(self) -> int:
        """Tokens read a row, padding included."""
        return max(each.width for each in self.caches)

    @property
    def continues(self) -> bool:
        """Whether more tokens follow."""
        return any(each.continues for each in self.caches)

    @property
    def read(self) -> Any:
        """That of each."""
        return [each.read for each in self.caches]

    @read.setter
    def read(self, counts: Any) -> None:
        for each, count in zip(self.caches, counts, strict=True):
            each.read = count

    def skip(self, tokens: int) -> None:
        """Count tokens that the layer is not run on."""
        for each in self.caches:
            each.skip(tokens)

    def keep(self, rows: mx.array) -> None:
        """Keep only these rows, int32 (kept,)."""
        for each in self.caches:
            each.keep(rows)

    @property
    def state(self) -> Any:
        """The arrays of each: as that of a cache, but nested once more."""
        return [each.state for each in self.caches]

    @state.setter
    def state(self, states: Any) -> None:
        for each, state in zip(self.caches, states or [[]] * len(self.caches), strict=True):
            each.state = state


LayerCache = Cache | SeveralCaches
LAYER_CACHES = (PromptCache, PromptStates, SeveralCaches)


def windows(model: nn.Module) -> list[int] | None:
    """The windows of a model's layers, or None where a layer keeps what cannot be shared."""
    sizes: list[int] = []
    for cache in _parts(make_prompt_cache(model)):
        if type(cache) is RotatingKVCache and not cache.keep:
            sizes.append(cache.max_size)
        elif type(cache) not in (KVCache, ArraysCache):
            return None
    return sizes


def _parts(caches: Sequence[object]) -> list[object]:
    """Caches, those of a list one by one."""
    return [
        part
        for cache in caches
        for part in (
            _parts(cache.caches) if isinstance(cache, CacheList | SeveralCaches) else [cache]
        )
    ]


def prompt_caches(model: nn.Module, lengths: Sequence[int] | mx.array = ()) -> list[LayerCache]:
    """One empty cache for each that the model wants.

    Args:
        lengths: of the prompts that are going to be read; none: they have one length.
    """
    tokens = lengths if isinstance(lengths, mx.array) else uneven(lengths)
    return [_prompt_cache(cache, tokens) for cache in make_prompt_cache(model)]


def uneven(lengths: Sequence[int]) -> mx.array | None:
    """Lengths int32 (rows,), or None where all are the same."""
    return mx.array(list(lengths)) if len(set(lengths)) > 1 else None


def _prompt_cache(cache: object, tokens: mx.array | None) -> LayerCache:
    if isinstance(cache, CacheList):
        return SeveralCaches([_prompt_part(each, tokens) for each in cache.caches])
    return _prompt_part(cache, tokens)


def _prompt_part(cache: object, tokens: mx.array | None) -> Cache:
    match cache:
        case ArraysCache():
            return PromptStates(len(cache.cache), tokens)
        case RotatingKVCache():
            return PromptCache(cache.max_size)
        case _:
            return PromptCache()


def states(caches: Sequence[LayerCache]) -> list[mx.array]:
    """The recurrent states of all layers that have them."""
    return [
        array
        for cache in _parts(caches)
        if isinstance(cache, PromptStates)
        for array in cache.state
    ]


def reads_whole(caches: Sequence[LayerCache]) -> bool:
    """Whether what these are going to read has to be read at once: some of mlx-lm's layers let
    padding into a state that rows of unequal length had before."""
    return any(isinstance(each, PromptStates) and each.uneven for each in _parts(caches))


def completion_caches(
    prompts: Sequence[LayerCache],
    rows: mx.array,
    lengths: mx.array | None,
    *,
    continues: bool = True,
    tokens: mx.array | None = None,
) -> list[LayerCache]:
    """Caches of completions that continue from prompts.

    Args:
        rows: for each completion the row of its prompt, int32 (completions,).
        lengths: real tokens of each completion's prompt, or None where no prompt has padding.
        continues: whether more tokens follow the next ones.
        tokens: real ones of each completion, where others are going to continue from it.
    """

    def continued(prompt: Cache) -> Cache:
        if isinstance(prompt, PromptStates):
            return CompletionStates(prompt, rows, tokens, continues)
        return CompletionCache(prompt, rows, lengths, continues)

    return [_each(prompt, continued) for prompt in prompts]


def decode_caches(
    prompts: Sequence[LayerCache], rows: mx.array, lengths: mx.array | None, room: int
) -> list[LayerCache]:
    """The same for completions of up to `room` tokens, which are written one by one."""

    def continued(prompt: Cache) -> Cache:
        if isinstance(prompt, PromptStates):
            return CompletionStates(prompt, rows)
        return DecodeCache(prompt, rows, lengths, room)

    return [_each(prompt, continued) for prompt in prompts]


def _each(cache: LayerCache, continued: Callable[[Cache], Cache]) -> LayerCache:
    if isinstance(cache, SeveralCaches):
        return SeveralCaches([continued(part) for part in cache.caches])
    return continued(cache)
