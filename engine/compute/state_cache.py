"""Recurrent states of prompts that several completions share.

Prompts are right-padded. A layer is told how many tokens of a row are real, and leaves its state
as it is after the last of them, so a completion simply continues from a copy. Gradients flow
through all of it, because a state is only ever replaced.

A cache here stands in for mlx-lm's `ArraysCache` of one layer: gated delta rules, Mamba, short
convolutions.
"""

from collections.abc import Sequence

import mlx.core as mx


class PromptStates:
    """The arrays of one layer over right-padded rows, a row each.

    Args:
        size: how many arrays there are.
        tokens: the real ones of what is read, int32 (rows,), or None where all are.
    """

    continues = True  # whether more tokens follow

    def __init__(self, size: int, tokens: mx.array | None = None) -> None:
        self.cache: list[mx.array | None] = [None] * size
        self.start = self.read = 0  # tokens a row, padding included: before these, and until now
        self._tokens = tokens

    def __getitem__(self, at: int) -> mx.array | None:
        return self.cache[at]

    def __setitem__(self, at: int, array: mx.array) -> None:
        self.cache[at] = array

    def make_mask(self, tokens: int) -> mx.array | None:
        """Which of so many new tokens are real, bool (rows, tokens), or None where all are."""
        lengths = self.lengths
        return None if lengths is None else mx.arange(tokens) < lengths[:, None]

    @property
    def width(self) -> int:
        """Tokens read a row, padding included."""
        return self.read

    @property
    def lengths(self) -> mx.array | None:
        """Real tokens that are still to come, (rows,); none are left where it is negative."""
        return None if self._tokens is None else self._tokens - (self.read - self.start)

    @property
    def uneven(self) -> bool:
        """Whether rows of unequal length are being read."""
        return self._tokens is not None

    def advance(self, N: int) -> None:
        """Count tokens that the layer was run on."""
        self.read += N

    skip = advance

    @property
    def state(self) -> list[mx.array]:
        """The arrays of this cache, empty before the first tokens."""
        return [array for array in self.cache if array is not None]

    @state.setter
    def state(self, arrays: Sequence[mx.array]) -> None:
        # Where none is left, as after tokens that nothing follows, they are all there were.
        places = [at for at, each in enumerate(self.cache) if each is not None]
        values = dict(zip(places or range(len(self.cache)), arrays, strict=False))
        self.cache = [values.get(at) for at in range(len(self.cache))]

    def keep(self, rows: mx.array) -> None:
        """Keep only these rows, int32 (kept,)."""
        self.cache = [
            array if array is None else mx.take(array, rows, axis=0) for array in self.cache
        ]
        if self._tokens is not None:
            self._tokens = mx.take(self._tokens, rows, axis=0)


class CompletionStates(PromptStates):
    """One layer's states of completions that continue from prompts.

    Args:
        prompt: the cache of the prompts.
        rows: for each completion the row of its prompt, int32 (completions,).
        tokens: the real ones of each completion, or None where nothing follows its padding.
        continues: as of a `CompletionCache`.
    """

    def __init__(
        self,
        prompt: PromptStates,
        rows: mx.array,
        tokens: mx.array | None = None,
        continues: bool = True,
    ) -> None:
        super().__init__(len(prompt.cache))
        self.continues = continues
        self.start = self.read = prompt.read
        self.cache = list(prompt.cache)
        self.keep(rows)
        self._tokens = tokens  # of completions as they are now, not of rows of prompts
