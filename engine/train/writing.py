"""Tells a person who waits for the next pair what is being written of it."""

import time
from collections.abc import Sequence

from engine.data.prompts import Prompt
from engine.events import Writing
from engine.model.language_model import LanguageModel
from engine.train.journal import Journal

SECONDS = 0.2  # between two tellings


class WritingTeller:
    """Emits the texts of completions as they are sampled, at most once in `SECONDS`."""

    def __init__(self, policy: LanguageModel, prompts: Sequence[Prompt], journal: Journal) -> None:
        self._policy, self._prompts, self._journal = policy, prompts, journal
        self._sent_at = 0.0

    def __call__(self, index: int, completions: Sequence[Sequence[int]]) -> None:
        """Take the ids that are sampled so far of one of the prompts' completions."""
        now = time.monotonic()
        if now - self._sent_at < SECONDS:
            return
        self._sent_at = now
        prompt = self._prompts[index]
        # Without a character of which bytes are still to come.
        texts = tuple(self._policy.text(ids).rstrip("\ufffd") for ids in completions)
        self._journal.emit(Writing(prompt=prompt.text, messages=prompt.conversation, texts=texts))
