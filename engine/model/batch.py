"""What is scored: prompts and their completions, as they are or padded to a shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts, and for each its completions, as token ids.

    Every prompt has the same number of completions, each of at least one token.
    """

    prompts: Sequence[Sequence[int]]
    completions: Sequence[Sequence[Sequence[int]]]

    @property
    def copies(self) -> int:
        """Completions of each prompt."""
        return len(self.completions[0])

    @property
    def rows(self) -> list[Sequence[int]]:
        """All completions, prompt by prompt."""
        return [ids for group in self.completions for ids in group]

    @property
    def completion_tokens(self) -> mx.array:
        """Tokens of each completion, float32 (prompts, copies)."""
        return mx.array([[len(ids) for ids in group] for group in self.completions], mx.float32)

    def total(self, values: mx.array) -> mx.array:
        """The sum of what each prompt has, (prompts,)."""
        return values.sum()


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """A batch in arrays alone, whose shapes say nothing of its lengths: filled up at the right of
    each row, and with prompts that count nothing."""

    prompts: mx.array  # int32 (prompts, tokens)
    prompt_tokens: mx.array  # real ones, int32 (prompts,), at least one
    completions: mx.array  # int32 (prompts x copies, tokens)
    completion_tokens: mx.array  # real ones, float32 (prompts, copies)
    counts: mx.array  # float32 (prompts,): 1 for those of the batch, 0 for the others

    @classmethod
    def of(cls, batch: Batch, prompts: int, prompt: int, completion: int) -> "PaddedBatch":
        """Pad to so many prompts, and tokens of a prompt and of a completion; none is longer."""
        more = prompts - len(batch.prompts)
        rows = [*batch.rows, *[[0]] * (more * batch.copies)]
        return cls(
            prompts=padded([*batch.prompts, *[[0]] * more], prompt),
            prompt_tokens=mx.array([*map(len, batch.prompts), *[1] * more], mx.int32),
            completions=padded(rows, completion),
            completion_tokens=mx.array(list(map(len, rows)), mx.float32).reshape(
                prompts, batch.copies
            ),
            counts=mx.array([1.0] * len(batch.prompts) + [0.0] * more),
        )

    @property
    def arrays(self) -> tuple[mx.array, ...]:
        """What it is made of, in order."""
        return (
            self.prompts,
            self.prompt_tokens,
            self.completions,
            self.completion_tokens,
            self.counts,
        )

    @property
    def copies(self) -> int:
        """Completions of each prompt."""
        return self.completion_tokens.shape[1]

    def total(self, values: mx.array) -> mx.array:
        """The sum of what each prompt of the batch has, (prompts,)."""
        return (values * self.counts).sum()


AnyBatch = Batch | PaddedBatch


def padded(ids: Sequence[Sequence[int]], width: int | None = None) -> mx.array:
    """Token ids right-padded with 0: int32 (rows, width or the longest)."""
    width = max(map(len, ids)) if width is None else width
    return mx.array([[*row, *[0] * (width - len(row))] for row in ids], mx.int32)
