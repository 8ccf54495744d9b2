"""An LLM judge: the probability it gives to each answer's number, asked in both orders."""

import itertools
import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import mlx.core as mx
import numpy as np

from engine.caches import CompletionCache, PromptCache, padded, prompt_caches
from engine.judges.presentation import answer_ids, render_frame
from engine.models import LanguageModel
from engine.pairs import Pair, Verdict, verdict_of
from engine.plain.model import plain
from engine.plain.rows import Rows
from engine.plain.threads import side_by_side, split
from engine.sampling import Interrupted, Sampler, sample
from engine.settings import Settings

# A judge whose two answers hold less of the probability than this did not answer.
LEAST_MASS = 0.01
# Tokens in one forward pass over pairs.
TOKENS_PER_PASS = 16_384
# Room for a judge that writes before it answers.
GENERATED_TOKENS = 1_024

ANSWER = re.compile(r"\W*(?:answer\W*)?([12])\W*", re.IGNORECASE)


class LLMJudge:
    """Judges pairs by the rubric of the settings. Lives on the engine's thread alone."""

    stores_labels = False

    def __init__(
        self,
        lm: LanguageModel,
        settings: Settings,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Raises:
            UserError: the model has no usable chat template or no tokens for 1 and 2.
        """
        self.name = settings.judge
        self._lm = lm
        self._margin = settings.judge_margin
        self._generates = settings.judge_mode == "generate"
        self._progress = progress
        self._stop = stop
        self._frame = render_frame(
            lm.tokenizer,
            settings.judge_system,
            enable_thinking=self._generates and settings.enable_thinking,
        )
        self._answers = None if self._generates else answer_ids(lm.tokenizer)
        self._prefix: list[PromptCache] | None = None
        self._plain_prefix: Rows | None = None
        self._batches: deque[list[Pair]] = deque()

    def submit(self, pairs: Sequence[Pair]) -> None:
        """Hand over a batch."""
        self._batches.append(list(pairs))

    def resubmit(self, pairs: Sequence[Pair]) -> None:
        """Hand over a batch that was not judged before a restart."""
        self.submit(pairs)

    def open_batches(self) -> int:
        """Batches that wait."""
        return len(self._batches)

    def settles_in(self) -> float:
        """Seconds until `collect` may have a batch."""
        return 0.0 if self._batches else math.inf

    def pending(self) -> list[Sequence[Pair]]:
        """Batches that wait, oldest first."""
        return list(self._batches)

    def collect(self) -> list[tuple[Pair, Verdict]] | None:
        """Judge the oldest batch now; None where nothing waits.

        Raises:
            Interrupted: asked to stop; the batch keeps waiting.
        """
        if not self._batches:
            return None
        pairs = self._batches[0]
        texts = [(pair.prompt, pair.first, pair.second) for pair in pairs]
        asked = [index for index, pair in enumerate(pairs) if pair.undecidable() is None]
        verdicts = dict(zip(asked, self.judge([texts[index] for index in asked]), strict=True))
        self._batches.popleft()
        return [
            (pair, verdicts.get(index) or Verdict(pair.undecidable() or "invalid"))
            for index, pair in enumerate(pairs)
        ]

    def judge(self, texts: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion), each asked in both orders."""
        if not texts:
            return []
        both = [order for prompt, a, b in texts for order in ((prompt, a, b), (prompt, b, a))]
        rows = [self._frame.pair_ids(*each) for each in both]
        first = self._generated(rows) if self._generates else self._read(rows)
        return [
            verdict_of((float(shown_first), float(1 - shown_second)), self._margin)
            for shown_first, shown_second in first.reshape(-1, 2)
        ]

    def _read(self, rows: list[list[int]]) -> np.ndarray:
        """Probability of "1" for each row of ids after the prefix, float64 (rows,); NaN where
        the two answers hold too little of the mass. Rows come in twos, the orders of a pair."""
        assert self._answers is not None
        # By what they say, too: the same pairs swapped are then the same batch, with the same q.
        twos = [sorted((at, at + 1), key=rows.__getitem__) for at in range(0, len(rows), 2)]
        twos.sort(key=lambda two: (len(rows[two[0]]), [rows[row] for row in two]))
        result = np.full(len(rows), np.nan)
        done = 0
        for chunk in _chunks(twos, [len(row) for row in rows]):
            logits = self._last_logits([rows[row] for row in chunk]).astype(mx.float32)
            mass = mx.softmax(logits, axis=-1)
            one, two = (mass[:, mx.array(list(ids))].sum(axis=-1) for ids in self._answers)
            share = np.array(mx.stack([one, two]), np.float64)
            total = share.sum(axis=0)
            valid = total >= LEAST_MASS  # False for NaN too
            result[np.array(chunk)[valid]] = (share[0] / np.where(valid, total, 1))[valid]
            done += len(chunk)
            self._progress(done // 2, len(rows) // 2)
            if self._stop():
                raise Interrupted
        return result

    def _last_logits(self, rows: list[list[int]]) -> mx.array:
        """Logits (rows, vocabulary) after the last token of each row, where two rows that follow
        each other are the orders of a pair: what both begin with is run once."""
        lm, prefix = self._lm, self._frame.prefix
        if lm.is_plain:
            return mx.array(self._plain_logits(rows))
        if lm.shares_prompts:
            shared = [_shared(*rows[at : at + 2]) for at in range(0, len(rows), 2)]
            starts = [len(prefix) + length for length in shared for _ in range(2)]
            asked = [row[start - len(prefix) :] for row, start in zip(rows, starts, strict=True)]
            caches = self._caches_of([row[:n] for row, n in zip(rows[::2], shared, strict=True)])
            owners = mx.repeat(mx.arange(len(shared)), 2)
            uneven = mx.array(starts) if len(set(starts)) > 1 else None
            hidden = lm.hidden(
                padded(asked), [CompletionCache(cache, owners, uneven) for cache in caches]
            )
        else:
            asked = [[*prefix, *row] for row in rows]
            hidden = lm.hidden(padded(asked))
        lengths = mx.array([len(row) for row in asked])
        last = mx.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)
        return lm.logits(last.squeeze(1))

    def _plain_logits(self, rows: list[list[int]]) -> np.ndarray:
        """As `_last_logits`, of a plain model."""
        if self._plain_prefix is None:
            model = plain(self._lm.model)
            self._plain_prefix = Rows(model, 1, len(self._frame.prefix))
            self._plain_prefix.feed([self._frame.prefix])
        prefix = self._plain_prefix
        prefix.reach(2 * max(map(len, rows)))  # starts and ends, each padded

        def logits(part: slice) -> np.ndarray:
            own = rows[2 * part.start : 2 * part.stop]
            shared = [_shared(*own[at : at + 2]) for at in range(0, len(own), 2)]
            starts = prefix.fork([0] * len(shared), max(shared))
            starts.feed([row[:n] for row, n in zip(own[::2], shared, strict=True)])
            ends = [row[shared[at // 2] :] for at, row in enumerate(own)]
            owners = [at // 2 for at in range(len(own))]
            both = starts.fork(owners, max(map(len, ends)), once=True)
            return both.model.logits(both.feed(ends))

        parts = split([len(row) for row in rows[::2]])
        return np.concatenate(side_by_side([partial(logits, part) for part in parts]))

    def _caches_of(self, starts: list[list[int]]) -> list[CompletionCache]:
        """The caches of the rubric and then `starts`, a row each."""
        owners = mx.zeros((len(starts),), mx.int32)
        caches = [CompletionCache(cache, owners, None) for cache in self._prefix_caches()]
        self._lm.hidden(padded(starts), caches)
        return caches

    def _prefix_caches(self) -> list[PromptCache]:
        """The cache of the rubric, computed once a run."""
        if self._prefix is None:
            caches = prompt_caches(self._lm.model)
            self._lm.hidden(mx.array([self._frame.prefix]), caches)
            mx.eval([cache.state for cache in caches])
            self._prefix = caches
        return self._prefix

    def _generated(self, rows: list[list[int]]) -> np.ndarray:
        """1 or 0 for each row by the answer that the judge writes, NaN where it is no answer."""
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
        texts = [
            lm.tokenizer.decode([each for each in row.ids if each not in lm.eos_ids])
            for (row,) in completions
        ]
        self._progress(len(rows) // 2, len(rows) // 2)
        return np.array([_parsed(text) for text in texts])


def _chunks(twos: list[list[int]], lengths: list[int]) -> list[list[int]]:
    """Rows of pairs, shortest first, in chunks whose size stays under `TOKENS_PER_PASS`."""
    chunks: list[list[int]] = [[]]
    for two in twos:
        if chunks[-1] and (len(chunks[-1]) + 2) * lengths[two[0]] > TOKENS_PER_PASS:
            chunks.append([])
        chunks[-1] += two
    return chunks


def _shared(one: list[int], other: list[int]) -> int:
    """How many tokens two rows both begin with, less than all of either."""
    same = itertools.takewhile(
        lambda ids: ids[0] == ids[1], zip(one[:-1], other[:-1], strict=False)
    )
    return sum(1 for _ in same)


def _parsed(text: str) -> float:
    """1 for the answer "1", 0 for "2", NaN for anything else.

    Thoughts do not count; a template may have opened them already, so only their end is sure.
    """
    answer = text.rpartition("</think>")[2]
    found = ANSWER.fullmatch(answer.strip())
    return float("nan") if found is None else float(found.group(1) == "1")
