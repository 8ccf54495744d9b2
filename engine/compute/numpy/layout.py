"""How prompts and completions lie in the columns of one array, to be scored by numpy.

A prompt and its completions stand together, without padding: a completion's tokens see the prompt
and their own past.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.compute.numpy.model import NumpyModel
from engine.model.batch import Batch

BLOCK = 256  # tokens of a prompt that attend together: of what follows them they see nothing


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens that attend together: columns that follow each other, and the columns they see, of
    which the last are they themselves, each seen by those that follow it."""

    at: slice
    seen: tuple[slice, ...]

    def of(self, array: np.ndarray) -> np.ndarray:
        """The columns that are seen, (..., seen)."""
        parts = [array[..., part] for part in self.seen]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def add(self, values: np.ndarray, to: np.ndarray) -> None:
        """Add values (..., seen) to the columns that are seen."""
        start = 0
        for part in self.seen:
            end = start + part.stop - part.start
            to[..., part] += values[..., start:end]
            start = end


@dataclass(frozen=True, slots=True)
class Layout:
    """How prompts and completions lie in the columns of one array."""

    ids: np.ndarray  # (columns,)
    blocks: Sequence[Block]
    cos_sin: tuple[np.ndarray, np.ndarray]  # cosine and sine, (width / 2, columns) each
    query_positions: np.ndarray  # (queries,) columns whose states predict scored tokens
    predicts: np.ndarray  # (tokens,) which of these predicts each scored token
    targets: np.ndarray  # (tokens,) those tokens
    rows: np.ndarray  # (tokens,) number of the completion that each is of
    copies: int


def lay_out(model: NumpyModel, batch: Batch) -> Layout:
    """Put prompts and the completions' inputs side by side, without padding."""
    ids, positions, predicts, targets, rows = ([] for _ in range(5))
    blocks: list[Block] = []
    row = 0
    for prompt, completions in zip(batch.prompts, batch.completions, strict=True):
        start = len(ids)
        ids += prompt
        positions += range(len(prompt))
        whole = slice(start, len(ids))
        for at in range(start, len(ids), BLOCK):
            end = min(at + BLOCK, len(ids))
            blocks.append(Block(slice(at, end), (slice(start, end),)))
        for completion in completions:
            own = slice(len(ids), len(ids) + len(completion) - 1)
            if own.start < own.stop:
                blocks.append(Block(own, (whole, own)))
            predicts.append(start + len(prompt) - 1)
            predicts += range(len(ids), len(ids) + len(completion) - 1)
            targets += completion
            rows += [row] * len(completion)
            ids += completion[:-1]
            positions += range(len(prompt), len(prompt) + len(completion) - 1)
            row += 1
    cosine, sine = model.cos_sin(max(positions) + 1)
    query_positions, which = np.unique(predicts, return_inverse=True)
    return Layout(
        ids=np.array(ids),
        blocks=blocks,
        cos_sin=(cosine[:, positions], sine[:, positions]),
        query_positions=query_positions,
        predicts=which,
        targets=np.array(targets),
        rows=np.array(rows),
        copies=batch.copies,
    )
