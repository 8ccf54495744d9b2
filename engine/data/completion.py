"""A sampled completion."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completion:
    """Its ids (the end-of-turn token included where the model wrote it), and whether the model
    ended it or the limit cut it."""

    ids: tuple[int, ...]
    finished: bool
