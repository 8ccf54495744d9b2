"""Prompts -> completions, as token ids.

All completions of all prompts are decoded as one batch from a prompt cache that is computed
once a prompt. Finished rows leave the batch. What is sampled here is kept as ids and scored as
ids; text is only made for judges and people.

A token is drawn by its seed, the index of its prompt, the copy and the position alone: with the
same logits it is the same token, whatever else is decoded beside it, before it or elsewhere.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import mlx.core as mx
import numpy as np

from engine.compute import headway, limits
from engine.data.completion import Completion
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings

# top_p without top_k looks at this many of the likeliest tokens; a wider nucleus ends there.
NUCLEUS_CANDIDATES = 1_024
# Most that logits are multiplied by: a lower temperature takes the likeliest token as well, and
# would overflow.
SHARPEST = 1e30


class Interrupted(Exception):
    """Sampling was asked to stop between two tokens."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """How the next token is drawn: temperature first, then top_k, top_p and min_p.

    temperature 0 takes the likeliest token; top_k 0, top_p 1 and min_p 0 are off.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> "Sampler":
        """How the policy of a run samples."""
        return cls(settings.temperature, settings.top_p, settings.top_k, settings.min_p)

    def draw(self, logits: mx.array, keys: mx.array) -> mx.array:
        """Token ids int32 (rows,) from logits (rows, vocabulary), each row by its own key.

        Args:
            keys: uint32 (rows, 2), as `mx.random.key` gives one.
        """
        if self.temperature == 0:
            return mx.argmax(logits, axis=-1).astype(mx.int32)
        logits = logits.astype(mx.float32) * min(1 / self.temperature, SHARPEST)
        vocabulary = logits.shape[-1]
        narrow = min(self.top_k or vocabulary, vocabulary)
        if self.top_p < 1 and not self.top_k:
            narrow = min(narrow, NUCLEUS_CANDIDATES)
        if narrow == vocabulary and self.top_p >= 1:
            return self._categorical(logits, keys).astype(mx.int32)
        # The candidates, likeliest first; the total mass is that of the tokens top_k leaves.
        if narrow < vocabulary:
            candidates = mx.argpartition(-logits, narrow - 1, axis=-1)[:, :narrow]
        else:
            candidates = mx.broadcast_to(mx.arange(vocabulary), logits.shape)
        values = mx.take_along_axis(logits, candidates, axis=-1)
        order = mx.argsort(-values, axis=-1)
        candidates = mx.take_along_axis(candidates, order, axis=-1)
        values = mx.take_along_axis(values, order, axis=-1)
        if self.top_p < 1:
            everything = values if self.top_k else logits
            mass = mx.exp(values - mx.logsumexp(everything, axis=-1, keepdims=True))
            before = mx.cumsum(mass, axis=-1) - mass
            values = mx.where(before < self.top_p, values, -mx.inf)
        picked = self._categorical(values, keys)
        return mx.take_along_axis(candidates, picked[:, None], axis=-1).squeeze(-1).astype(mx.int32)

    def _categorical(self, logits: mx.array, keys: mx.array) -> mx.array:
        if self.min_p > 0:
            floor = logits.max(axis=-1, keepdims=True) + mx.log(mx.array(self.min_p))
            logits = mx.where(logits >= floor, logits, -mx.inf)
        # The largest of logits with Gumbel noise. Inverting the distribution with one uniform
        # number is cheaper, but rounding, which differs from batch to batch, moves all its bounds.
        return mx.vmap(lambda row, key: mx.random.categorical(row, key=key))(logits, keys)


def sample(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    copies: int,
    max_tokens: int,
    sampler: Sampler,
    seed: int,
    indices: Sequence[int] | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
    written: Callable[[int, Sequence[Sequence[int]]], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[list[Completion]]:
    """Sample `copies` completions of every prompt.

    Args:
        prompts: token ids, each at least one.
        max_tokens: of a completion.
        seed: of this step: the same seed, index, prompt and weights give the same completions.
        indices: of each prompt among those of the step, where not all of them are sampled here;
            0, 1, ... by default.
        progress: told the number of tokens sampled so far, at every position.
        written: told at every position of the first prompt that is not done: its number, and the
            ids of its completions so far.
        stop: asked at every position; True raises `Interrupted`.

    Returns:
        For every prompt its completions, in order.
    """
    results: list[list[Completion]] = []
    streams = np.array(
        [
            stream_seed(seed, index, copy)
            for index in indices or range(len(prompts))
            for copy in range(copies)
        ],
        np.uint64,
    )
    for group in _groups(lm, prompts, copies, max_tokens):
        first = copies * len(results)
        done = sum(len(completion.ids) for row in results for completion in row)
        rows = _decode(
            lm,
            group,
            copies,
            max_tokens,
            sampler,
            streams[first : first + copies * len(group)],
            lambda tokens, done=done: progress(done + tokens),
            written and partial(_after, written, first // copies),
            stop,
        )
        results += [rows[at : at + copies] for at in range(0, len(rows), copies)]
    return results


class Sample(Protocol):
    """What samples as `sample` does."""

    def __call__(
        self,
        lm: LanguageModel,
        prompts: Sequence[Sequence[int]],
        *,
        copies: int,
        max_tokens: int,
        sampler: Sampler,
        seed: int,
        progress: Callable[[int], None] = ...,
        written: Callable[[int, Sequence[Sequence[int]]], None] | None = ...,
        stop: Callable[[], bool] = ...,
    ) -> list[list[Completion]]: ...


def stream(
    lm: LanguageModel, prompt: Sequence[int], *, max_tokens: int, sampler: Sampler, seed: int
) -> Iterator[int]:
    """The tokens of one completion as they are sampled, the end of the turn among them: those that
    `sample` gives for the same seed."""
    streams = np.array([stream_seed(seed, 0, 0)], np.uint64)
    row = lm.backend.decoder([prompt], 1, max_tokens)
    token = sampler.draw(row.logits, _keys(streams, 0))
    for position in range(1, max_tokens + 1):
        (value,) = np.array(token).tolist()
        yield value
        if value in lm.eos_ids or position == max_tokens:
            return
        row.feed(token)
        token = sampler.draw(row.logits, _keys(streams, position))
        mx.async_eval(token)  # while this one is read


def _groups(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], copies: int, max_tokens: int
) -> list[Sequence[Sequence[int]]]:
    """Prompts in the batches that are decoded together."""
    if not lm.backend.decodes_batches:
        return [[prompt] for prompt in prompts]
    longest = max(map(len, prompts))
    size = max(1, limits.SAMPLED_TOKENS // (copies * (longest + max_tokens)))
    return [prompts[at : at + size] for at in range(0, len(prompts), size)]


def _decode(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    copies: int,
    max_tokens: int,
    sampler: Sampler,
    streams: np.ndarray,
    progress: Callable[[int], None],
    tell: Callable[[int, Sequence[Sequence[int]]], None] | None,
    stop: Callable[[], bool],
) -> list[Completion]:
    """Decode one batch; completions prompt by prompt, each seeded by its number of `streams`."""
    batch = lm.backend.decoder(prompts, copies, max_tokens)
    token = sampler.draw(batch.logits, _keys(streams, 0))
    mx.async_eval(token)
    written: list[list[int]] = [[] for _ in range(len(prompts) * copies)]
    finished = [False] * len(written)
    alive = list(range(len(written)))  # which completion each row of the batch is
    sampled = 0
    for position in range(max_tokens):
        headway.sign()
        following = None
        if position + 1 < max_tokens:
            # Asked for before the token at hand is read, so the device does not wait for us.
            batch.feed(token)
            following = sampler.draw(batch.logits, _keys(streams[alive], position + 1))
            mx.async_eval(following)
        for index, value in zip(alive, np.array(token).tolist(), strict=True):
            if not finished[index]:
                written[index].append(value)
                finished[index] = value in lm.eos_ids
                sampled += 1
        progress(sampled)
        if tell and not all(finished):
            prompt = finished.index(False) // copies
            tell(prompt, written[prompt * copies : (prompt + 1) * copies])
        rows = [row for row, index in enumerate(alive) if not finished[index]]
        if following is None or not rows:
            break
        if stop():
            raise Interrupted
        if lm.backend.decodes_batches and len(rows) <= 0.8 * len(alive):
            batch.keep(rows)
            following = mx.take(following, mx.array(rows))
            alive = [alive[row] for row in rows]
        token = following
    return [Completion(tuple(ids), ended) for ids, ended in zip(written, finished, strict=True)]


def _after(
    written: Callable[[int, Sequence[Sequence[int]]], None],
    before: int,
    index: int,
    completions: Sequence[Sequence[int]],
) -> None:
    """`written`, of a prompt in a batch that so many came before."""
    written(before + index, completions)


def _keys(streams: np.ndarray, position: int) -> mx.array:
    """Keys uint32 (rows, 2) of one position. Neighbours are as good as any other keys: a key
    enters MLX's generator, Threefry, as that of a cipher (Salmon et al. 2011)."""
    keys = streams + np.uint64(position)  # wraps around
    return mx.array(keys.view(np.uint32).reshape(-1, 2))


def stream_seed(seed: int, *names: object) -> int:
    """A 64-bit seed for one purpose of a run, such as the sampling of step 7.

    Derived, not drawn: a resumed run needs no saved random state to go on as if unbroken.
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
