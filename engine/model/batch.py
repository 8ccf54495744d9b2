"""What is scored: prompts and their completions."""

from collections.abc import Sequence
from dataclasses import dataclass


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
