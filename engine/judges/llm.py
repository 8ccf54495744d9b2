"""An LLM judge: the probability it gives to each answer's number, asked in both orders."""

import itertools
import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache

from engine.compute import limits
from engine.compute.kv_cache import CompletionCache, PromptCache, padded, prompt_caches
from engine.compute.numpy.kv_cache import Rows
from engine.compute.numpy.model import plain
from engine.compute.numpy.threads import side_by_side, split
from engine.compute.sampling import Interrupted, Sampler, sample
from engine.data.pairs import Pair, Verdict, verdict_of
from engine.judges.presentation import Asked, answer_ids, render_frame
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings

# A judge whose two answers hold less of the probability than this did not answer.
LEAST_MASS = 0.01
# Room for a judge that writes before it answers.
GENERATED_TOKENS = 1_024

NO_MEMORY = "there was no memory for the judge to read it"
NO_ALLOCATION = re.compile(r"alloc|out of memory", re.IGNORECASE)

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
        self._generates = settings.judge_mode == "generate"
        self._progress = progress
        self._stop = stop
        self._warn = warn
        self._warned: set[str] = set()
        self._most = settings.judged_tokens
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
        asked = [pair for pair in pairs if pair.undecidable() is None]
        verdicts = self.judge(
            [(pair.asked, pair.first, pair.second) for pair in asked],
            [f"pair {pair.pair_id}" for pair in asked],
        )
        self._batches.popleft()
        found = {pair.pair_id: verdict for pair, verdict in zip(asked, verdicts, strict=True)}
        return [
            (pair, found.get(pair.pair_id) or Verdict(pair.undecidable() or "invalid"))
            for pair in pairs
        ]

    def judge(
        self, texts: Sequence[tuple[Asked, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion), each asked in both orders;
        `names` are what a warning calls them."""
        if not texts:
            return []
        names = names or ["the pair of a held-out prompt"] * len(texts)
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
        first, failed = self._ask(rows, names)
        return [
            replace(
                verdict_of((float(shown_first), float(1 - shown_second)), self._margin),
                note=NO_MEMORY if at in failed else "",
                cut=each.cut,
            )
            for at, (each, (shown_first, shown_second)) in enumerate(
                zip(shown, first.reshape(-1, 2), strict=True)
            )
        ]

    def _ask(self, rows: list[list[int]], names: Sequence[str]) -> tuple[np.ndarray, set[int]]:
        """Probability of "1" for each row of ids after the prefix, float64 (rows,), NaN where
        there is none; and the pairs that there was no memory for. Rows come in twos, the orders
        of a pair."""
        result = np.full(len(rows), np.nan)
        failed: set[int] = set()
        chunks = deque([[*range(len(rows))]] if self._generates else self._chunks(rows))
        done = 0
        while chunks:
            chunk = chunks.popleft()
            try:
                asked = [rows[row] for row in chunk]
                result[chunk] = self._generated(asked) if self._generates else self._read(asked)
            except (MemoryError, RuntimeError) as error:
                if not _is_of_memory(error):
                    raise
                mx.clear_cache()
                if len(chunk) > 2:  # a pair at a time may do
                    chunks.extendleft(chunk[at : at + 2] for at in range(0, len(chunk), 2))
                    continue
                pair = chunk[0] // 2
                failed.add(pair)
                self._warn_once(
                    "memory",
                    f"{names[pair]} is left out as invalid: {NO_MEMORY}; lower judge_max_tokens",
                )
            done += len(chunk)
            self._progress(done // 2, len(rows) // 2)
            if self._stop():
                raise Interrupted
        return result, failed

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)

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
        """Probability of "1" for each row of ids after the prefix, float64 (rows,); NaN where
        the two answers hold too little of the mass."""
        assert self._answers is not None
        mass = mx.softmax(self._last_logits(rows).astype(mx.float32), axis=-1)
        one, two = (mass[:, mx.array(list(ids))].sum(axis=-1) for ids in self._answers)
        share = np.array(mx.stack([one, two]), np.float64)
        total = share.sum(axis=0)
        valid = total >= LEAST_MASS  # False for NaN too
        return np.where(valid, share[0] / np.where(valid, total, 1), np.nan)

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
            continued = [CompletionCache(cache, owners, uneven) for cache in caches]
            return lm.logits(self._last_hidden(asked, continued))
        return lm.logits(self._last_hidden([[*prefix, *row] for row in rows], None))

    def _last_hidden(self, rows: list[list[int]], caches: Sequence[PromptCache] | None) -> mx.array:
        """Hidden states (rows, features) of the last token of each row, which continues from its
        cache; in pieces where the scores of attention would be too many for one pass."""
        lm, ids = self._lm, padded(rows)
        at = mx.array([len(row) for row in rows])[:, None, None] - 1
        step = _piece(len(rows), ids.shape[1], caches[0].width if caches else 0)
        if ids.shape[1] <= step:
            return mx.take_along_axis(lm.hidden(ids, caches), at, axis=1).squeeze(1)
        held: Any = make_prompt_cache(lm.model) if caches is None else caches
        last = mx.array(0.0)
        for start in range(0, ids.shape[1], step):
            hidden = lm.hidden(ids[:, start : start + step], held)
            here = mx.take_along_axis(hidden, mx.clip(at - start, 0, hidden.shape[1] - 1), axis=1)
            last = mx.where((at >= start) & (at < start + step), here, last)
            mx.eval(last, [cache.state for cache in held])
        return last.squeeze(1)

    def _plain_logits(self, rows: list[list[int]]) -> np.ndarray:
        """As `_last_logits`, of a plain model."""
        if self._plain_prefix is None:
            model = plain(self._lm.model)
            self._plain_prefix = Rows(model, 1, len(self._frame.prefix))
            _feed(self._plain_prefix, [list(self._frame.prefix)])
        prefix = self._plain_prefix
        prefix.reach(2 * max(map(len, rows)))  # starts and ends, each padded

        def logits(part: slice) -> np.ndarray:
            own = rows[2 * part.start : 2 * part.stop]
            shared = [_shared(*own[at : at + 2]) for at in range(0, len(own), 2)]
            starts = prefix.fork([0] * len(shared), max(shared))
            _feed(starts, [row[:n] for row, n in zip(own[::2], shared, strict=True)])
            ends = [row[shared[at // 2] :] for at, row in enumerate(own)]
            owners = [at // 2 for at in range(len(own))]
            longest = max(map(len, ends))
            once = longest <= _piece(len(ends), longest, starts.width)
            return prefix.model.logits(_feed(starts.fork(owners, longest, once=once), ends))

        parts = split([len(row) for row in rows[::2]])
        return np.concatenate(side_by_side([partial(logits, part) for part in parts]))

    def _caches_of(self, starts: list[list[int]]) -> list[CompletionCache]:
        """The caches of the rubric and then `starts`, a row each."""
        owners = mx.zeros((len(starts),), mx.int32)
        caches = [CompletionCache(cache, owners, None) for cache in self._prefix_caches()]
        self._last_hidden(starts, caches)
        return caches

    def _prefix_caches(self) -> list[PromptCache]:
        """The cache of the rubric, computed once a run."""
        if self._prefix is None:
            caches = prompt_caches(self._lm.model)
            self._last_hidden([list(self._frame.prefix)], caches)
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
        return np.array([_parsed(lm.text(row.ids)) for (row,) in completions])


def _piece(rows: int, tokens: int, held: int) -> int:
    """How many of their tokens so many rows read in one pass, where each holds some already."""
    return max(1, limits.ATTENTION_SCORES // (rows * (held + tokens)))


def _feed(rows: Rows, ids: list[list[int]]) -> np.ndarray:
    """`Rows.feed`, in pieces where the scores of attention would be too many for one pass; rows
    that are so long are of one length."""
    longest = max(map(len, ids))
    step = _piece(len(ids), longest, rows.width)
    if longest > step:
        for start in range(0, longest - step, step):
            rows.feed([row[start : start + step] for row in ids])
        ids = [row[(longest - 1) // step * step :] for row in ids]
    return rows.feed(ids)


def _is_of_memory(error: Exception) -> bool:
    """Whether there was not enough memory for something."""
    return isinstance(error, MemoryError) or bool(NO_ALLOCATION.search(str(error)))


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
