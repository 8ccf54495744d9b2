"""What a model sampled, as token ids, and with its text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completion:
    """Its ids (the end-of-turn token included where the model wrote it), and whether the model
    ended it or the limit cut it."""

    ids: tuple[int, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion with its text, as whoever judges reads it."""

    text: str
    ids: tuple[int, ...]
    finished: bool
