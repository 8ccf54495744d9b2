"""The key-value cache of prompts that several completions share.

Prompts are right-padded, so the first pass over them is plain causal attention and every real
token sits at its own position. Completions continue as further rows: each starts at the length
of its own prompt, and a mask hides the padding between the two. Gradients flow through all of
it, because keys and values are only ever concatenated.

A cache here stands in for mlx-lm's `KVCache` of one layer: it has `offset`, `make_mask` and
`update_and_fetch`, which is all that a model asks for.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from engine.compute.layer_calls import replaced_calls


class PromptCache:
    """Keys and values of one layer over right-padded prompts.

    `keys`, `values`: (rows, kv heads, tokens, head width) or None before the first tokens.
    """

    kept = True  # whether more tokens follow

    def __init__(self) -> None:
        self.keys: mx.array | None = None
        self.values: mx.array | None = None
        self._skipped = 0

    @property
    def width(self) -> int:
        """Tokens read a row, padding included."""
        return self._skipped if self.keys is None else self.keys.shape[2]

    def skip(self, tokens: int) -> None:
        """Count tokens that the layer is not run on."""
        self._skipped += tokens

    @property
    def offset(self) -> int | mx.array:
        """Position of the next token."""
        return self.width

    @property
    def state(self) -> list[mx.array]:
        """The arrays of this cache, empty before the first tokens."""
        return [] if self.keys is None or self.values is None else [self.keys, self.values]

    @state.setter
    def state(self, arrays: Sequence[mx.array]) -> None:
        self.keys, self.values = arrays if arrays else (None, None)

    def make_mask(
        self, tokens: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """Causal mask for `tokens` new tokens. The window never overflows here (see
        `engine.compute.choose.supports_sharing`), so it is ignored."""
        if tokens == 1 and not return_array:
            return None
        if not return_array:
            return "causal"
        return _positions(self.width, tokens)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append (rows, kv heads, tokens, head width) and return everything held."""
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values


class CompletionCache(PromptCache):
    """One layer's cache of completions that continue from prompts.

    Until its first tokens it holds the prompts' own arrays; each completion's copy is made with
    them, so that gradient checkpointing keeps no copies.

    Args:
        prompt: the filled cache of the prompts.
        rows: for each completion the row of its prompt, int32 (completions,).
        lengths: real tokens of each completion's prompt, int32 (completions,), or None where
            no prompt has padding.
        kept: whether more tokens follow the next ones. Under gradient checkpointing a cache that
            is not kept is given up with them, and its gradient, all zeros, is never made.
    """

    def __init__(
        self,
        prompt: PromptCache,
        rows: mx.array,
        lengths: mx.array | None,
        kept: bool = True,
    ) -> None:
        super().__init__()
        self.kept = kept
        self.state = prompt.state
        self._skipped = prompt.width
        self.rows = rows
        self.prompt_width = prompt.width
        self.lengths = lengths

    @property
    def offset(self) -> int | mx.array:
        if self.lengths is None:
            return self.width
        return self.lengths + (self.width - self.prompt_width)

    def make_mask(
        self, tokens: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        if self.lengths is None:
            return super().make_mask(tokens, return_array, window_size)
        keys = mx.arange(self.width + tokens)
        in_prompt = keys < self.lengths[:, None, None, None]
        after_prompt = keys >= self.prompt_width
        return in_prompt | (after_prompt & _positions(self.width, tokens))

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.width == self.prompt_width:
            self.state = self.copies()
        return super().update_and_fetch(keys, values)

    def copies(self) -> list[mx.array]:
        """The prompts' keys and values, a row for each completion."""
        return [mx.take(array, self.rows, axis=0) for array in self.state]


class DecodeCache(CompletionCache):
    """A `CompletionCache` that writes new tokens into room made beforehand, and drops rows."""

    def __init__(
        self, prompt: PromptCache, rows: mx.array, lengths: mx.array | None, room: int
    ) -> None:
        super().__init__(prompt, rows, lengths)
        self._filled = self.prompt_width
        self.keys, self.values = (_with_room(array, room) for array in self.copies())

    @property
    def width(self) -> int:
        return self._filled

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        assert self.keys is not None
        assert self.values is not None
        start, self._filled = self._filled, self._filled + keys.shape[2]
        self.keys[:, :, start : self._filled] = keys
        self.values[:, :, start : self._filled] = values
        return self.keys[:, :, : self._filled], self.values[:, :, : self._filled]

    def keep(self, rows: mx.array) -> None:
        """Keep only these rows, int32 (kept,)."""
        assert self.keys is not None
        assert self.values is not None
        self.keys, self.values = (
            mx.take(self.keys, rows, axis=0),
            mx.take(self.values, rows, axis=0),
        )
        if self.lengths is not None:
            self.lengths = mx.take(self.lengths, rows, axis=0)


def _positions(before: int, tokens: int) -> mx.array:
    """Causal mask (tokens, before + tokens), True where a key may be seen."""
    return mx.arange(before, before + tokens)[:, None] >= mx.arange(before + tokens)


def _with_room(array: mx.array, room: int) -> mx.array:
    rows, heads, _, width = array.shape
    return mx.concatenate([array, mx.zeros((rows, heads, room, width), array.dtype)], axis=2)


def prompt_caches(model: nn.Module) -> list[PromptCache]:
    """One empty `PromptCache` for each cache that the model wants."""
    return [PromptCache() for _ in make_prompt_cache(model)]


def padded(ids: Sequence[Sequence[int]], width: int | None = None) -> mx.array:
    """Token ids right-padded with 0: int32 (rows, width or the longest)."""
    width = max(map(len, ids)) if width is None else width
    return mx.array([[*row, *[0] * (width - len(row))] for row in ids], mx.int32)


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """While open, gradients through `model.layers` recompute activations.

    A layer's cache is passed in and out of the recomputed function as arrays, so that it may be
    shared between the passes over prompts and completions. Each layer's draws start from a seed
    of their own, so that the second computation drops out what the first one did.
    """
    seeds = itertools.count(int(mx.random.randint(0, 1 << 30).item()))  # pyright: ignore[reportArgumentType]
    with replaced_calls(model, lambda call: _recomputed(call, seeds)):
        yield


def _recomputed(call: Any, seeds: Iterator[int]) -> Any:
    def layer_call(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        inputs = [*args, *kwargs.values()]
        cache = next((value for value in inputs if isinstance(value, PromptCache)), None)
        arrays = [value for value in inputs if _differentiable(value)]
        seed = next(seeds)

        def inner(parameters: Any, arrays: list[mx.array], state: list[mx.array]) -> Any:
            mx.random.seed(seed)
            layer.update(parameters)
            if cache is not None:
                cache.state = state
            given = iter(arrays)
            values = [next(given) if _differentiable(value) else value for value in inputs]
            positional, named = values[: len(args)], values[len(args) :]
            output = call(layer, *positional, **dict(zip(kwargs, named, strict=True)))
            return output, cache.state if cache is not None and cache.kept else []

        again: Any = mx.checkpoint(inner)
        output, state = again(
            layer.trainable_parameters(), arrays, [] if cache is None else cache.state
        )
        if cache is not None:
            cache.state = state
        return output

    return layer_call


def _differentiable(value: Any) -> bool:
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)
