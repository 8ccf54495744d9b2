"""Log-probabilities of completions: shared prompts, recomputation and chunks change nothing."""

from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.compute import choose, limits, logps
from engine.compute.mlx_backend import MlxBackend
from engine.model import arrays
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel
from tests.close import assert_all_close, assert_close
from tests.engine.small_models import (
    GEMMA2,
    GEMMA3,
    MAMBA2,
    QWEN2,
    QWEN3,
    VOCABULARY,
    by_mlx,
    language_model,
    make_model,
    mlx_of,
    number,
    policy_and_reference,
    settings,
    stir,
    tokenizer,
)

pytestmark = pytest.mark.backends

MODELS = {"qwen3": QWEN3, "qwen2": QWEN2, "gemma2": GEMMA2, "gemma3": GEMMA3, "mamba2": MAMBA2}
UNEVEN = Batch(
    prompts=[[7, 8, 9, 10, 11], [12, 13], [14, 15, 16]],
    completions=[
        [[20, 21, 22, 23], [24, 2]],
        [[25], [26, 27, 28, 29, 30, 31, 2]],
        [[32, 2], [33]],
    ],
)
EVEN = Batch(prompts=[[7, 8, 9], [12, 13, 14]], completions=[[[20, 21], [22]], [[23], [24, 25]]])
SINGLE = Batch(prompts=[[7, 8, 9], [12]], completions=[[[20], [21]], [[22], [2]]])


def token_by_token(lm: LanguageModel, scored: Batch) -> np.ndarray:
    """The plain definition: one sequence at a time, one float64 softmax a token."""
    sums = np.zeros((len(scored.prompts), scored.copies))
    for row, (prompt, group) in enumerate(zip(scored.prompts, scored.completions, strict=True)):
        for column, ids in enumerate(group):
            sequence = [*prompt, *ids]
            logits = np.array(lm.model(mx.array([sequence]))[0].astype(mx.float32), np.float64)
            for place, token in enumerate(ids, start=len(prompt)):
                before = logits[place - 1]
                shifted = before - before.max()
                sums[row, column] += shifted[token] - np.log(np.exp(shifted).sum())
    return sums


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("scored", [UNEVEN, EVEN, SINGLE], ids=["uneven", "even", "single"])
def test_equal_to_a_loop_over_tokens(config: dict[str, Any], scored: Batch) -> None:
    lm = language_model(config)
    wanted = token_by_token(lm, scored)
    assert wanted.std() > 0.1  # a model that tells tokens apart
    ways: list[dict[str, Any]] = [{}, {"step_size": 2}, {"step_size": 1}, {"recompute": True}]
    for each in {lm.backend, by_mlx(lm).backend}:
        for options in ways:
            assert_close(each.logps(scored, **options), wanted)


@pytest.mark.parametrize("vocabulary", [151_936, 128_257])  # the other one is a prime
def test_a_large_vocabulary_is_added_up_without_loss(vocabulary: int) -> None:
    """One number after the other, float32 loses 3e-4 of a sum over so many."""
    model: Any = make_model(QWEN2 | {"vocab_size": vocabulary, "num_hidden_layers": 1}, scale=1.0)
    spread = 3 / np.sqrt(QWEN2["hidden_size"])  # of logits: 3
    model.lm_head.weight = mx.array(
        np.random.default_rng(0).normal(0, spread, model.lm_head.weight.shape), mx.float32
    )
    model.freeze()  # so that numpy scores it
    lm = choose.alone(model, tokenizer())
    wanted = token_by_token(lm, EVEN)
    for each in {lm.backend, by_mlx(lm).backend}:
        assert np.abs(np.array(each.logps(EVEN)) - wanted).max() < 2e-5


def test_the_kernel_of_a_gpu_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it falls back to on a CPU at least, and its gradient."""
    logits = 5 * mx.random.normal((7, 300))
    targets = mx.random.randint(0, 300, (7,))
    weights = mx.random.normal((7,))

    def results() -> tuple[mx.array, mx.array]:
        total = mx.value_and_grad(lambda x: (weights * logps._picked_logps(x, targets)).sum())
        return logps._picked_logps(logits, targets), total(logits)[1]

    wanted = results()
    monkeypatch.setattr(logps, "backend", lambda: "metal")
    for found, each in zip(results(), wanted, strict=True):
        assert_close(found, each)


def test_a_window_that_does_not_overflow_is_shared() -> None:
    lm = language_model(GEMMA3, tokens=8)
    assert lm.backend.decodes_batches
    short = Batch(prompts=[[7, 8, 9], [12]], completions=[[[20, 21], [2]], [[22], [23, 24]]])
    assert_close(lm.backend.logps(short), token_by_token(lm, short))


def loss_and_gradient(lm: LanguageModel, **options: Any) -> tuple[float, arrays.Arrays]:
    """A loss that weighs every completion differently, and its gradient."""
    weights = mx.array([[1.0, -2.0], [3.0, 0.5], [-1.5, 2.5]])

    def loss() -> mx.array:
        return (lm.backend.logps(UNEVEN, **options) * weights).sum()

    value, gradient = nn.value_and_grad(lm.model, loss)()
    return number(value), arrays.flat(gradient)


@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
@pytest.mark.parametrize("config", [QWEN3, QWEN2], ids=["qwen3", "qwen2"])
def test_every_way_gives_the_same_gradient(config: dict[str, Any], train_type: str) -> None:
    policy, _ = policy_and_reference(settings(train_type=train_type, num_layers=2), config)
    stir(policy.model)
    policy = by_mlx(policy)
    plain = replace(policy, backend=MlxBackend(mlx_of(policy).model, shares_prompts=False))
    assert policy.backend.decodes_batches
    wanted, gradient = loss_and_gradient(plain)
    assert max(number(mx.abs(array).max()) for array in gradient.values()) > 1
    ways = [
        (policy, {}),
        (policy, {"recompute": True}),
        (policy, {"step_size": 2}),
        (policy, {"step_size": 1, "recompute": True}),
        (plain, {"recompute": True}),
    ]
    for lm, options in ways:
        found, other = loss_and_gradient(lm, **options)
        assert_close(found, wanted)
        assert_all_close(other, gradient)


def test_recomputation_drops_out_what_the_first_pass_did() -> None:
    parameters = {"rank": 4, "scale": 20.0, "dropout": 0.5}
    policy, _ = policy_and_reference(settings(lora_parameters=parameters))
    stir(policy.model)
    policy.model.train()
    name = next(
        name for name in arrays.flat(policy.model.trainable_parameters()) if "lora_b" in name
    )
    start = arrays.flat(policy.model.trainable_parameters())[name]
    direction = mx.random.normal(start.shape, key=mx.random.key(1))

    def value_at(distance: float) -> float:
        policy.model.update(arrays.tree({name: start + distance * direction}))
        mx.random.seed(3)
        return number(policy.backend.logps(UNEVEN, recompute=True).sum())

    step = 1e-3
    finite = (value_at(step) - value_at(-step)) / (2 * step)
    policy.model.update(arrays.tree({name: start}))
    mx.random.seed(3)
    _, gradient = nn.value_and_grad(
        policy.model, lambda: policy.backend.logps(UNEVEN, recompute=True).sum()
    )()
    slope = number((arrays.flat(gradient)[name] * direction).sum())
    assert slope == pytest.approx(finite, rel=2e-2)
    mx.random.seed(4)
    assert number(policy.backend.logps(UNEVEN).sum()) != value_at(0)  # it does drop out


def test_recomputation_leaves_the_layers_as_they_were() -> None:
    lm = language_model()
    layers: Any = lm.model.layers
    before = type(layers[0]).__call__
    lm.backend.logps(UNEVEN, recompute=True)
    assert type(layers[0]).__call__ is before


def test_logits_in_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, _ = policy_and_reference(settings())
    stir(policy.model)
    whole, gradient = loss_and_gradient(policy)
    monkeypatch.setattr(limits, "LOGIT_VALUES", 3 * VOCABULARY)
    for recompute in (False, True):
        parts, other = loss_and_gradient(policy, recompute=recompute)
        assert_close(parts, whole)
        assert_all_close(other, gradient)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    lm = language_model()
    together = np.array(lm.backend.logps(UNEVEN))
    for row in range(3):
        alone = Batch(UNEVEN.prompts[row : row + 1], UNEVEN.completions[row : row + 1])
        assert_close(lm.backend.logps(alone)[0], together[row])


def test_prompt_tokens_and_their_padding_carry_no_gradient_of_their_own() -> None:
    """The prompt is context only: its own log-probabilities are nowhere in the sums."""
    lm = language_model()
    one = Batch(prompts=[[7, 8, 9]], completions=[[[20], [21]]])
    logits = np.array(lm.model(mx.array([[7, 8, 9]]))[0, -1], np.float64)
    logps = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    assert_close(lm.backend.logps(one)[0], logps[[20, 21]])
