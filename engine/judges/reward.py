"""A reward model as judge: the better of two completions is the one with the higher score.

q = sigmoid(score of the first - score of the second), after Bradley and Terry 1952.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from engine.compute import headway, limits
from engine.compute.sampling import Interrupted
from engine.data import chat_template
from engine.data.pairs import Ties, Verdict, verdict_of
from engine.data.prompts import Prompt
from engine.data.rendering import render_answered
from engine.errors import UserError
from engine.judges import HELD_OUT_PAIR, Score
from engine.judges.llm import NO_MEMORY, is_of_memory, left_out
from engine.judges.once import once
from engine.judges.presentation import Request
from engine.message import Message
from engine.model.reward import RewardModel
from engine.settings.schema import Settings


class RewardJudge:
    """Judges pairs by their scores. Lives on the engine's thread alone."""

    def __init__(
        self,
        model: RewardModel,
        settings: Settings,
        name: str,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            warn: told, once of each kind, of pairs that are not read as they are.

        Raises:
            UserError: the model has no chat template.
        """
        if not chat_template.has_one(model.tokenizer):
            raise UserError(f"judge: the reward model {name} has no chat template.")
        self.name = name
        self._model = model
        self._margin = settings.judge_margin
        self._ties: Ties = settings.judge_ties
        self._most = settings.judged_tokens
        self._progress, self._stop, self._warn_once = progress, stop, once(warn)

    def judge(
        self, texts: Sequence[tuple[Request, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion).

        Raises:
            Interrupted: asked to stop.
        """
        names = names or [HELD_OUT_PAIR] * len(texts)
        answers = [(prompt, answer) for prompt, *both in texts for answer in both]
        scores = self.score(answers, [name for name in names for _ in range(2)])
        return [
            self.verdict_on(first, second)
            for first, second in zip(scores[::2], scores[1::2], strict=True)
        ]

    @property
    def gives_scores(self) -> bool:
        """Whether it scores answers one at a time: always."""
        return True

    def score(
        self, answers: Sequence[tuple[Request, str]], names: Sequence[str] = ()
    ) -> list[Score]:
        """Scores of (prompt, completion); NaN where there was no memory to read it.

        Raises:
            Interrupted: asked to stop.
        """
        rows = [self._ids(prompt, answer) for prompt, answer in answers]
        values = self._scores([row[-self._most :] for row in rows])
        scores = []
        for row, value, name in zip(rows, values, names or [""] * len(rows), strict=True):
            cut = len(row) > self._most
            if cut:
                self._warn_once(
                    "cut",
                    f"{name} has more than judge_max_tokens ({self._most:,}): of such a pair the "
                    "reward model reads the end; cut_pairs counts them",
                )
            if value is None:
                self._warn_once("memory", left_out(name))
            scores.append(Score(math.nan, cut, NO_MEMORY) if value is None else Score(value, cut))
        return scores

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        """The verdict on two answers with these scores."""
        lead = first.value - second.value if _finite(first, second) else math.nan
        verdict = verdict_of(lead, -lead, margin=self._margin, ties=self._ties)
        # There is one reading, not one of each order.
        cut, note = first.cut or second.cut, first.note or second.note
        return replace(verdict, q_orders=None, cut=cut, note=note)

    def _ids(self, prompt: Request, answer: str) -> list[int]:
        """A prompt with its answer, as the model's chat template has them."""
        if isinstance(prompt, str):
            prompt = Prompt((Message("user", prompt),), prompt)
        turns = (*prompt.messages, Message("assistant", answer))
        return render_answered(self._model.tokenizer, turns, prompt.tools)

    def _scores(self, rows: Sequence[list[int]]) -> list[float | None]:
        """The score of each row; None where there was no memory to read it."""
        scores: list[float | None] = [None] * len(rows)
        chunks = self._chunks(rows)
        done = 0
        while chunks:
            chunk = chunks.popleft()
            try:
                of_chunk = np.array(self._model.scores([rows[row] for row in chunk]), np.float64)
                for row, score in zip(chunk, of_chunk, strict=True):
                    scores[row] = float(score)
            except (MemoryError, RuntimeError) as error:
                if not is_of_memory(error):
                    raise
                mx.clear_cache()
                if len(chunk) > 1:  # a row at a time may do
                    chunks.extendleft([row] for row in chunk)
                    continue
            done += len(chunk)
            headway.sign()
            self._progress(done // 2, len(rows) // 2)
            if self._stop():
                raise Interrupted
        return scores

    @staticmethod
    def _chunks(rows: Sequence[list[int]]) -> deque[list[int]]:
        """Indices of rows, the shortest first, in chunks that one pass takes."""
        chunks: deque[list[int]] = deque()
        for row in sorted(range(len(rows)), key=lambda row: (len(rows[row]), rows[row])):
            tokens = (len(chunks[-1]) + 1) * len(rows[row]) if chunks else 0
            scores = tokens * len(rows[row])
            if not chunks or tokens > limits.JUDGED_TOKENS or scores > limits.ATTENTION_SCORES:
                chunks.append([])
            chunks[-1].append(row)
        return chunks


def _finite(*scores: Score) -> bool:
    return all(math.isfinite(score.value) for score in scores)
