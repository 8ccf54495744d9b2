"""Keys and values of prompts that several completions share.

Prompts are right-padded, so the first pass over them is plain causal attention and every real
token sits at its own position. Completions continue as further rows: each starts at the length
of its own prompt, and a mask hides the padding between the two. Gradients flow through all of
it, because keys and values are only ever concatenated.

A cache here stands in for mlx-lm's `KVCache` of one layer, or its `RotatingKVCache`: it has
`offset`, `make_mask` and `update_and_fetch`, which is all that a model asks for. Of a window
everything is kept, and what lies outside is masked.
"""

from collections.abc import Sequence

import mlx.core as mx


class PromptCache:
    """Keys and values of one layer over right-padded prompts.

    `keys`, `values`: (rows, kv heads, tokens, head width) or None before the first tokens.

    Args:
        window: the positions that a token sees, itself included, or None for all before it.
    """

    continues = True  # whether more tokens follow

    def __init__(self, window: int | None = None) -> None:
        self.keys: mx.array | None = None
        self.values: mx.array | None = None
        self.window = window
        self.read = 0  # tokens a row that the layer was not run on

    @property
    def width(self) -> int:
        """Tokens read a row, padding included."""
        return self.read if self.keys is None else self.keys.shape[2]

    def skip(self, tokens: int) -> None:
        """Count tokens that the layer is not run on."""
        self.read += tokens

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

    def keep(self, rows: mx.array) -> None:
        """Keep only these rows, int32 (kept,)."""
        self.state = [mx.take(array, rows, axis=0) for array in self.state]

    def make_mask(
        self, tokens: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        """Mask for `tokens` new tokens: causal, and within the window where there is one."""
        window = self._overflowing(tokens, window_size)
        if tokens == 1 and not return_array and window is None:
            return None
        if not return_array and window is None:
            return "causal"
        return _visible(
            mx.arange(self.width, self.width + tokens), mx.arange(self.width + tokens), window
        )

    def _overflowing(self, tokens: int, window_size: int | None) -> int | None:
        """The window, where something lies outside of it once `tokens` are added."""
        window = window_size or self.window
        return window if window is not None and self.width + tokens > window else None

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
        continues: whether more tokens follow the next ones. Under gradient checkpointing a cache
            that none follow is given up with them, and its gradient, all zeros, is never made.
    """

    def __init__(
        self,
        prompt: PromptCache,
        rows: mx.array,
        lengths: mx.array | None,
        continues: bool = True,
    ) -> None:
        super().__init__(prompt.window)
        self.continues = continues
        self.state = prompt.state
        self.read = prompt.width
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
        lengths = self.lengths[:, None]
        keys = mx.arange(self.width + tokens)
        after_prompt = keys >= self.prompt_width
        # Positions (completions, keys) and (completions, tokens); -1: padding.
        positions = mx.where(
            after_prompt,
            lengths + keys - self.prompt_width,
            mx.where(keys < lengths, keys, -1),
        )
        new = lengths + (self.width - self.prompt_width) + mx.arange(tokens)
        visible = _visible(new, positions, self._overflowing(tokens, window_size))
        return visible[:, None] & (positions >= 0)[:, None, None]

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
        super().keep(rows)
        if self.lengths is not None:
            self.lengths = mx.take(self.lengths, rows, axis=0)


def _visible(queries: mx.array, keys: mx.array, window: int | None) -> mx.array:
    """Which keys at positions (..., keys) the queries at positions (..., queries) see: bool
    (..., queries, keys)."""
    ahead = queries[..., :, None] - keys[..., None, :]
    return ahead >= 0 if window is None else (ahead >= 0) & (ahead < window)


def _with_room(array: mx.array, room: int) -> mx.array:
    rows, heads, _, width = array.shape
    return mx.concatenate([array, mx.zeros((rows, heads, room, width), array.dtype)], axis=2)
