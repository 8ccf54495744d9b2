"""How rows that come in twos are read: what two begin with once, and in pieces that fit."""

import itertools
from collections.abc import Sequence

from engine.compute import limits


def common_starts(rows: Sequence[Sequence[int]]) -> list[int]:
    """For each two rows, how many tokens both begin with, less than all of either."""
    return [
        sum(
            1
            for _ in itertools.takewhile(
                lambda ids: ids[0] == ids[1],
                zip(rows[at][:-1], rows[at + 1][:-1], strict=False),
            )
        )
        for at in range(0, len(rows), 2)
    ]


def piece(rows: int, tokens: int, before: int) -> int:
    """How many of their tokens so many rows read in one pass, `before` which each has read some:
    the scores of attention would be too many for all."""
    return max(1, limits.ATTENTION_SCORES // (rows * (before + tokens)))
