"""An LLM judge: the probability it gives to each answer's number, asked in both orders."""

import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from engine.compute import headway, limits
from engine.compute.sampling import Interrupted, Sampler, sample
from engine.data.pairs import Ties, Verdict, verdict_of
from engine.judges import HELD_OUT_PAIR
from engine.judges.once import once
from engine.judges.presentation import Request, render_frame
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings

# A judge whose two answers hold less of the probability than this did not answer.
LEAST_MASS = 0.01
# Room for a judge that writes before it answers.
GENERATED_TOKENS = 1_024

NO_MEMORY = "there was no memory for the judge to read it"
NO_ALLOCATION = re.compile(r"alloc|out of memory", re.IGNORECASE)

ANSWER = re.compile(r"\W*(?:(?:answer|response)\W*)?([12])\W*", re.IGNORECASE)


class LLMJudge:
    """Judges pairs by the rubric of the settings. Lives on the engine's thread alone."""

    def __init__(
        self,
        lm: LanguageModel,
        settings: Settings,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            warn: told, once of each kind, of pairs that are not read as they are.

        Raises:
            UserError: the model has no usable chat template or no tokens for 1 and 2.
        """
        self.name = settings.judge
        self._lm = lm
        self._margin = settings.judge_margin
        self._ties: Ties = settings.judge_ties
        self._generates = settings.judge_mode == "generate"
        self._progress = progress
        self._stop = stop
        self._warn_once = once(warn)
        self._most = settings.judged_tokens
        self._frame = render_frame(
            lm.tokenizer,
            settings.judge_system,
            writes=self._generates,
            enable_thinking=self._generates and settings.enable_thinking,
        )

    def judge(
        self, texts: Sequence[tuple[Request, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion), each asked in both orders;
        `names` are what a warning calls them."""
        if not texts:
            return []
        names = names or [HELD_OUT_PAIR] * len(texts)
        shown = [self._frame.present(*each, self._most) for each in texts]
        for name, each in zip(names, shown, strict=True):
            if each.cut:
                self._warn_once(
                    "cut",
                    f"{name} has more than judge_max_tokens ({self._most:,}): of such a pair the "
                    "judge reads the end of the prompt and the start of each answer; cut_pairs "
                    "counts them",
                )
        rows = [ids for each in shown for ids in (each.as_it_is, each.swapped)]
        log_odds, written, failed = self._ask(rows, names)
        return [
            replace(
                verdict_of(float(l1), float(l2), margin=self._margin, ties=self._ties),
                note=NO_MEMORY if at in failed else "",
                cut=each.cut,
                rationale=tuple(written[2 * at : 2 * at + 2]),
            )
            for at, (each, (l1, l2)) in enumerate(zip(shown, log_odds.reshape(-1, 2), strict=True))
        ]

    def _ask(
        self, rows: list[list[int]], names: Sequence[str]
    ) -> tuple[np.ndarray, list[str], set[int]]:
        """Log-odds of "1" for each row of ids after the prefix, float64 (rows,), NaN where there
        are none; what was written for each, nothing by a judge that does not write; and the pairs
        that there was no memory for. Rows come in twos, the orders of a pair."""
        result = np.full(len(rows), np.nan)
        written = [""] * len(rows) if self._generates else []
        failed: set[int] = set()
        chunks = deque([[*range(len(rows))]] if self._generates else self._chunks(rows))
        done = 0
        while chunks:
            chunk = chunks.popleft()
            try:
                if self._generates:
                    for row, text in zip(
                        chunk, self._write([rows[row] for row in chunk]), strict=True
                    ):
                        result[row], written[row] = written_answer(text), text.strip()
                else:
                    result[chunk] = self._read([rows[row] for row in chunk])
            except (MemoryError, RuntimeError) as error:
                if not is_of_memory(error):
                    raise
                mx.clear_cache()
                if len(chunk) > 2:  # a pair at a time may do
                    chunks.extendleft(chunk[at : at + 2] for at in range(0, len(chunk), 2))
                    continue
                pair = chunk[0] // 2
                failed.add(pair)
                self._warn_once("memory", left_out(names[pair]))
            done += len(chunk)
            headway.sign()
            self._progress(done // 2, len(rows) // 2)
            if self._stop():
                raise Interrupted
        return result, written, failed

    def _chunks(self, rows: list[list[int]]) -> list[list[int]]:
        """Indices of rows, those of a pair beside each other, the shortest pairs first, in chunks
        that one pass takes; a pair that is too long for one is alone."""
        # By what they say, too: the same pairs swapped are then the same batch, with the same q.
        twos = [sorted((at, at + 1), key=rows.__getitem__) for at in range(0, len(rows), 2)]
        twos.sort(key=lambda two: (len(rows[two[0]]), [rows[row] for row in two]))
        chunks: list[list[int]] = [[]]
        for two in twos:
            tokens = (len(chunks[-1]) + 2) * len(rows[two[0]])
            scores = tokens * (len(self._frame.prefix) + len(rows[two[0]]))
            if chunks[-1] and (tokens > limits.JUDGED_TOKENS or scores > limits.ATTENTION_SCORES):
                chunks.append([])
            chunks[-1] += two
        return chunks

    def _read(self, rows: list[list[int]]) -> np.ndarray:
        """Log-odds of "1" against "2" for each row of ids after the prefix, float64 (rows,),
        computed in float32; NaN where the two hold too little of the mass, or are not finite."""
        logits = self._lm.backend.last_logits(self._frame.prefix, rows).astype(mx.float32)
        one, two = (logits[:, token] for token in self._frame.answers)
        mass = mx.logaddexp(one, two) - mx.logsumexp(logits, axis=-1)
        log_odds, mass = (np.array(each, np.float64) for each in (one - two, mx.exp(mass)))
        valid = np.isfinite(log_odds) & (mass >= LEAST_MASS)  # False for NaN too
        return np.where(valid, log_odds, np.nan)

    def _write(self, rows: list[list[int]]) -> list[str]:
        """What the judge writes after each row of ids that follow the prefix."""
        lm = self._lm
        completions = sample(
            lm,
            [[*self._frame.prefix, *row] for row in rows],
            copies=1,
            max_tokens=GENERATED_TOKENS,
            sampler=Sampler(temperature=0),
            seed=0,
            stop=self._stop,
        )
        return [lm.text(row.ids) for (row,) in completions]


def left_out(name: str) -> str:
    """What is said of a pair that there was no memory to read."""
    return f"{name} is left out as invalid: {NO_MEMORY}; lower judge_max_tokens"


def is_of_memory(error: Exception) -> bool:
    """Whether there was not enough memory for something."""
    return isinstance(error, MemoryError) or bool(NO_ALLOCATION.search(str(error)))


def written_answer(text: str) -> float:
    """Infinity for the answer "1", minus infinity for "2", NaN for anything else.

    Thoughts do not count; a template may have opened them already, so only their end is sure.
    """
    answer = text.rpartition("</think>")[2]
    match = ANSWER.fullmatch(answer.strip())
    if match is None:
        return math.nan
    return math.inf if match.group(1) == "1" else -math.inf
