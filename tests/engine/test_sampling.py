"""Sampling: the tokens kept, the distributions drawn from, and what may not change them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.compute import limits, sampling
from engine.compute.sampling import Interrupted, Sampler, sample, stream, stream_seed
from engine.data.completion import Completion
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel
from tests.close import assert_close
from tests.engine.small_models import (
    EOS,
    GEMMA2,
    GEMMA3,
    MAMBA2,
    QWEN2,
    QWEN3,
    VOCABULARY,
    by_mlx,
    language_model,
    number,
)

pytestmark = pytest.mark.backends

CONFIGS = {"qwen3": QWEN3, "qwen2": QWEN2, "gemma2": GEMMA2, "gemma3": GEMMA3, "mamba2": MAMBA2}
PROMPTS = [[7, 8, 9, 10, 11, 12, 13], [14, 15], [16], [17, 18, 19, 20]]
GREEDY = Sampler(temperature=0)


@pytest.fixture(params=[*CONFIGS, "qwen3 by MLX"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of each kind; on a CPU, numpy computes some of them."""
    made = language_model(CONFIGS[request.param.removesuffix(" by MLX")])
    return by_mlx(made) if request.param.endswith("MLX") else made


def greedy_alone(lm: LanguageModel, prompt: list[int], tokens: int) -> list[int]:
    """The plain definition: the whole sequence again for every token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + tokens:
        ids.append(int(np.array(lm.model(mx.array([ids]))[0, -1]).argmax()))
        if ids[-1] in lm.eos_ids:
            break
    return ids[len(prompt) :]


def test_a_batch_decodes_as_each_prompt_alone(lm: LanguageModel) -> None:
    rows = sample(lm, PROMPTS, copies=2, max_tokens=12, sampler=GREEDY, seed=0)
    for prompt, (one, other) in zip(PROMPTS, rows, strict=True):
        assert list(one.ids) == greedy_alone(lm, prompt, 12)
        assert one == other


def test_a_stream_has_the_tokens_of_a_sample(lm: LanguageModel) -> None:
    for sampler in (GREEDY, Sampler(temperature=1.5)):
        for prompt in PROMPTS:
            ((whole,),) = sample(lm, [prompt], copies=1, max_tokens=12, sampler=sampler, seed=3)
            tokens = stream(lm, prompt, max_tokens=12, sampler=sampler, seed=3)
            assert tuple(tokens) == whole.ids


@pytest.fixture(scope="module", params=[True, False], ids=["numpy", "MLX"])
def chatty(request: pytest.FixtureRequest) -> LanguageModel:
    """A model that ends about a tenth of its tokens."""
    made = language_model()
    lm = made if request.param else by_mlx(made)
    embedding = lm.model["model"].embed_tokens  # tied: its rows are the head's
    ends = mx.arange(VOCABULARY) == EOS
    embedding.weight = mx.where(ends[:, None], embedding.weight * 1.2, embedding.weight * 0.4)
    return lm


def test_the_end_is_in_the_ids_exactly_when_it_was_sampled(chatty: LanguageModel) -> None:
    rows = sample(chatty, PROMPTS * 8, copies=2, max_tokens=16, sampler=Sampler(1.0), seed=1)
    completions = [completion for row in rows for completion in row]
    assert {completion.finished for completion in completions} == {True, False}
    for completion in completions:
        assert 1 <= len(completion.ids) <= 16
        assert completion.finished == (completion.ids[-1] == EOS)
        assert EOS not in completion.ids[:-1]
        assert completion.finished or len(completion.ids) == 16


def test_what_is_sampled_is_what_is_scored(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits that the sampler draws from give each completion its score, token by token."""
    lm = replace(lm, eos_ids=frozenset())  # so no row leaves the batch
    logps: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    draw = Sampler.draw

    def watched(self: Sampler, logits: mx.array, keys: mx.array) -> mx.array:
        token = draw(self, logits, keys)
        logps.append(np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True)))
        drawn.append(np.array(token))
        return token

    monkeypatch.setattr(Sampler, "draw", watched)
    prompts = PROMPTS if lm.backend.decodes_batches else PROMPTS[:1]  # one batch
    rows = sample(lm, prompts, copies=2, max_tokens=6, sampler=Sampler(1.0), seed=3)
    ids = [completion.ids for row in rows for completion in row]
    assert [tuple(int(token[row]) for token in drawn) for row in range(len(ids))] == ids
    while_sampling = [
        sum(float(logps[at][row, token]) for at, token in enumerate(each))
        for row, each in enumerate(ids)
    ]
    scored = Batch(prompts, [[completion.ids for completion in row] for row in rows])
    found = np.array(lm.backend.logps(scored)).reshape(-1)
    assert_close(found, while_sampling)


def test_rows_that_end_leave_the_others_as_they_were(chatty: LanguageModel) -> None:
    prompts = [[token] for token in range(5, 45)]
    rows = sample(chatty, prompts, copies=1, max_tokens=12, sampler=GREEDY, seed=0)
    lengths = {len(row[0].ids) for row in rows}
    assert len(lengths) > 2  # they end at different places
    for prompt, (completion,) in zip(prompts, rows, strict=True):
        assert list(completion.ids) == greedy_alone(chatty, prompt, 12)


def test_groups_of_prompts_decode_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = language_model()
    whole = sample(lm, PROMPTS, copies=2, max_tokens=6, sampler=GREEDY, seed=0)
    monkeypatch.setattr(limits, "SAMPLED_TOKENS", 2 * 13)
    parts = sample(lm, PROMPTS, copies=2, max_tokens=6, sampler=GREEDY, seed=0)
    assert parts == whole


@pytest.mark.parametrize("sampler", [Sampler(1.0), Sampler(0.8, top_p=0.95)], ids=repr)
@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_of_any_size_draw_the_same(
    chatty: LanguageModel, sampler: Sampler, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever they are sampled, in whatever groups, and whenever the rows beside them end."""
    prompts = PROMPTS * 4

    def run(indices: list[int]) -> list[list[Completion]]:
        return sample(
            chatty,
            [prompts[index] for index in indices],
            copies=2,
            max_tokens=12,
            sampler=sampler,
            seed=3,
            indices=indices,
        )

    everything = list(range(len(prompts)))
    at_once = run(everything)
    assert len({len(row.ids) for both in at_once for row in both}) > 1
    ranks = [everything[rank::size] for rank in range(size)]
    for indices in ranks:
        assert run(indices) == [at_once[index] for index in indices]
    assert run(everything[::-1]) == at_once[::-1]
    monkeypatch.setattr(limits, "SAMPLED_TOKENS", size * 2 * (12 + 7))
    assert run(everything) == at_once


def test_fewer_tokens_or_copies_are_the_beginning_of_more(chatty: LanguageModel) -> None:
    def run(copies: int, max_tokens: int) -> list[list[Completion]]:
        return sample(
            chatty,
            PROMPTS,
            copies=copies,
            max_tokens=max_tokens,
            sampler=Sampler(1.0),
            seed=3,
        )

    for few, more in zip(run(2, 5), run(3, 9), strict=True):
        assert [row.ids for row in few] == [row.ids[:5] for row in more[:2]]


FEW_LOGITS = [1.0, 0.5, 0.0, -0.5]


class ConstantDecoder:
    """Gives every row the same logits, whatever it is fed."""

    def __init__(self, rows: int) -> None:
        self.logits = mx.broadcast_to(mx.array(FEW_LOGITS), (rows, len(FEW_LOGITS)))

    def feed(self, tokens: mx.array) -> None:
        pass

    def keep(self, rows: Sequence[int]) -> None:
        pass


class ConstantBackend:
    decodes_batches = True

    def decoder(self, prompts: Sequence[Sequence[int]], copies: int, room: int) -> ConstantDecoder:
        return ConstantDecoder(len(prompts) * copies)


def test_draws_that_differ_in_one_thing_have_nothing_to_do_with_each_other() -> None:
    constant: Any = ConstantBackend()
    lm = replace(language_model(), backend=constant, eos_ids=frozenset())

    def run(seed: int) -> np.ndarray:
        rows = sample(
            lm,
            [[5]] * 1000,
            copies=2,
            max_tokens=8,
            sampler=Sampler(1.0),
            seed=stream_seed(0, "sampling", seed),
        )
        return np.array([[completion.ids for completion in row] for row in rows])

    ids = run(1)  # prompts, copies, positions
    assert_independent(ids[:, 0], ids[:, 1])
    assert_independent(ids[..., :-1], ids[..., 1:])
    assert_independent(ids[:-1], ids[1:])
    assert_independent(ids, run(2))
    with pytest.raises(AssertionError):
        assert_independent(ids, ids)


def assert_independent(one: np.ndarray, other: np.ndarray) -> None:
    """Both are drawn from `FEW_LOGITS`, apart from each other: a chi-square test of all pairs."""
    size = len(FEW_LOGITS)
    counts = np.bincount(size * one.reshape(-1) + other.reshape(-1), minlength=size * size)
    shares = softmax(np.array(FEW_LOGITS))
    expected = np.outer(shares, shares).reshape(-1) * one.size
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 44  # 15 degrees of freedom: one in ten thousand is above


def test_the_seed_decides() -> None:
    lm = language_model()

    def run(seed: int) -> list:
        mx.random.seed(int(np.random.default_rng().integers(1 << 30)))  # has no say
        return sample(lm, PROMPTS, copies=2, max_tokens=8, sampler=Sampler(1.0), seed=seed)

    assert run(5) == run(5)
    assert run(5) != run(6)
    first, second = run(5)[0]
    assert first != second


def test_stream_seeds_differ_by_purpose_and_step() -> None:
    names = [
        (),
        ("sampling", 1),
        ("sampling", 2),
        ("dropout", 1),
        ("sampling", 11),
        ("evaluation",),
    ]
    seeds = {stream_seed(seed, *each) for each in names for seed in (0, 1)}
    assert len(seeds) == 2 * len(names)


def test_a_stop_interrupts_between_tokens() -> None:
    lm = language_model()
    seen: list[int] = []

    def stop() -> bool:
        return len(seen) >= 3

    with pytest.raises(Interrupted):
        sample(
            lm,
            PROMPTS,
            copies=2,
            max_tokens=50,
            sampler=Sampler(1.0),
            seed=0,
            progress=seen.append,
            stop=stop,
        )
    assert seen == [8, 16, 24]


def test_what_is_being_written_is_that_of_the_first_prompt_that_is_not_done(
    chatty: LanguageModel,
) -> None:
    told: list[tuple[int, list[tuple[int, ...]]]] = []
    rows = sample(
        chatty,
        PROMPTS,
        copies=2,
        max_tokens=12,
        sampler=Sampler(temperature=1.0),
        seed=3,
        written=lambda index, ids: told.append((index, [tuple(each) for each in ids])),
    )
    assert told
    assert [index for index, _ in told] == sorted(index for index, _ in told)
    for index, ids in told:
        for begun, completion in zip(ids, rows[index], strict=True):
            assert completion.ids[: len(begun)] == begun


def test_progress_counts_all_tokens(chatty: LanguageModel) -> None:
    seen: list[int] = []
    rows = sample(
        chatty,
        PROMPTS,
        copies=2,
        max_tokens=10,
        sampler=Sampler(1.0),
        seed=4,
        progress=seen.append,
    )
    assert seen == sorted(seen)
    assert seen[-1] == sum(len(completion.ids) for row in rows for completion in row)


# -- distributions -------------------------------------------------------------------------------

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0, 1.5])
DRAWS = 40_000


def softmax(values: np.ndarray) -> np.ndarray:
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


def filtered(sampler: Sampler) -> np.ndarray:
    """The distribution in float64: temperature, then top_k, then top_p, then min_p."""
    shares = softmax(LOGITS / sampler.temperature)
    order = np.argsort(-shares)
    if sampler.top_k:
        shares[order[sampler.top_k :]] = 0
        shares /= shares.sum()
    before = np.cumsum(shares[order]) - shares[order]
    shares[order[before >= sampler.top_p]] = 0
    shares[shares < sampler.min_p * shares.max()] = 0
    return shares / shares.sum()


def drawn(sampler: Sampler, seed: int = 0) -> np.ndarray:
    logits = mx.broadcast_to(mx.array(LOGITS, mx.float32), (DRAWS, len(LOGITS)))
    ids = np.array(sampler.draw(logits, mx.random.split(mx.random.key(seed), DRAWS)))
    return np.bincount(ids, minlength=len(LOGITS))


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(1.0),
        Sampler(0.5),
        Sampler(2.0),
        Sampler(1.0, top_k=3),
        Sampler(1.0, top_k=100),
        Sampler(1.0, top_p=0.7),
        Sampler(1.5, top_p=0.9),
        Sampler(1.0, top_p=0.8, top_k=4),
        Sampler(1.0, min_p=0.2),
        Sampler(2.0, min_p=0.5),
        Sampler(0.8, top_p=0.95, top_k=6, min_p=0.1),
        Sampler(1.0, top_p=0.01),
        Sampler(1.0, top_k=1),
    ],
    ids=repr,
)
def test_tokens_are_drawn_as_asked(sampler: Sampler) -> None:
    counts, wanted = drawn(sampler), filtered(sampler) * DRAWS
    assert (counts[wanted == 0] == 0).all()
    kept = wanted > 0
    chi_square = float(((counts[kept] - wanted[kept]) ** 2 / wanted[kept]).sum())
    assert chi_square < 30  # 7 degrees of freedom at most: one in ten thousand is above


def test_the_nucleus_of_a_wide_top_k_is_a_share_of_what_top_k_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "NUCLEUS_CANDIDATES", 2)
    sampler = Sampler(1.0, top_p=0.9, top_k=5)
    assert ((drawn(sampler) > 0) == (filtered(sampler) > 0)).all()


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(1e-39), Sampler(1e-300, top_p=0.5)], ids=repr)
def test_a_temperature_of_zero_or_next_to_it_takes_the_likeliest(sampler: Sampler) -> None:
    logits = mx.array([[1.0, 3.0, 2.0]])
    assert number(sampler.draw(logits, mx.random.split(mx.random.key(0), 1))) == 1


def test_rows_are_drawn_apart() -> None:
    logits = mx.array(np.random.default_rng(0).normal(size=(64, 50)), mx.float32)
    keys = mx.random.split(mx.random.key(0), 64)
    ids = np.array(Sampler(1.0, top_p=0.9).draw(logits, keys))
    assert len(set(ids.tolist())) > 10
    greedy = np.array(GREEDY.draw(logits, keys))
    np.testing.assert_array_equal(greedy, np.array(logits).argmax(-1))
