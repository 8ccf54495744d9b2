"""Models that numpy computes on MLX's CPU backend: with MLX's numbers, or not at all."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import qwen3

from engine.compute import limits
from engine.compute.choose import is_numpy
from engine.compute.mlx_backend import MlxBackend
from engine.compute.numpy.backend import NumpyBackend
from engine.compute.numpy.kv_cache import FIRST_POSITIONS, KVCache
from engine.compute.numpy.model import numpy_model
from engine.judges.llm import LLMJudge
from engine.model import arrays, load
from engine.model.language_model import LanguageModel
from tests.close import assert_close
from tests.engine.small_models import (
    GEMMA2,
    GEMMA3,
    LLAMA,
    MAMBA2,
    QWEN2,
    QWEN3,
    WIDE,
    by_mlx,
    language_model,
    make_model,
    policy_and_reference,
    settings,
)

PLAIN = {
    "qwen3": QWEN3,
    "qwen2": QWEN2,
    "llama": LLAMA,
    "more groups": QWEN3 | {"num_attention_heads": 6, "num_key_value_heads": 2},
}

pytestmark = pytest.mark.skipif(
    not limits.numpy_serves(), reason="MLX computes everything: on a GPU, or where it is to"
)


def logits_of(model: Any, ids: list[int]) -> np.ndarray:
    return np.array(model(mx.array([ids]))[0, -1])


def shake(lm: LanguageModel) -> None:
    """Give the adapters weights as if they had been trained."""
    mx.random.seed(3)
    trained = arrays.flat(lm.model.trainable_parameters())
    lm.model.update(
        arrays.tree({name: a + 0.03 * mx.random.normal(a.shape) for name, a in trained.items()})
    )


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN.keys())
def test_rows_that_fork_and_read_on_have_the_logits_of_whole_sequences(
    config: dict[str, Any],
) -> None:
    model = make_model(config)
    assert is_numpy(model)
    begins, more, last = [[5, 6, 7, 8, 9], [10, 11]], [[12], [13, 14, 15], [16, 17]], [[18]] * 3
    owners = [1, 0, 1]
    rows = KVCache(numpy_model(model), 2, 5)
    rows.feed(begins)
    forked = rows.fork(owners, 4)
    after_more = forked.model.logits(forked.feed(more))
    after_last = forked.model.logits(forked.feed(last))
    for row, owner in enumerate(owners):
        ids = [*begins[owner], *more[row]]
        assert_close(after_more[row], logits_of(model, ids))
        ids += last[row]
        assert_close(after_last[row], logits_of(model, ids))


def test_rows_that_are_kept_are_those_of_a_fork() -> None:
    model = make_model()
    rows = KVCache(numpy_model(model), 2, 5)
    rows.feed([[5, 6, 7, 8, 9], [10, 11]])
    forked = rows.fork([1, 0, 1], 4)
    rows.keep([1, 0, 1], 4)
    more = [[12], [13, 14, 15], [16, 17]]
    np.testing.assert_array_equal(rows.feed(more), forked.feed(more))


def test_positions_beyond_the_first_table_of_angles() -> None:
    model = make_model()
    ids = [5 + at % 90 for at in range(FIRST_POSITIONS + 40)]
    rows = KVCache(numpy_model(model), 1, len(ids))
    rows.feed([ids[:FIRST_POSITIONS]])
    found = rows.model.logits(rows.feed([ids[FIRST_POSITIONS:]]))[0]
    assert_close(found, logits_of(model, ids))


@pytest.mark.parametrize("config", [GEMMA2, GEMMA3, MAMBA2], ids=["gemma2", "gemma3", "mamba2"])
def test_other_architectures_are_left_to_mlx(config: dict[str, Any]) -> None:
    assert not is_numpy(make_model(config))


def test_other_forms_of_weights_are_left_to_mlx() -> None:
    policy, reference = policy_and_reference(settings(train_type="lora"))
    assert isinstance(reference.backend, NumpyBackend)
    assert isinstance(policy.backend, NumpyBackend)
    with_dora, _ = policy_and_reference(settings(train_type="dora"))
    assert isinstance(with_dora.backend, MlxBackend)
    packed = make_model(WIDE)
    load.quantize(packed, "4-bit")
    assert not is_numpy(packed)
    half = make_model()
    half.update(
        arrays.tree({n: a.astype(mx.bfloat16) for n, a in arrays.flat(half.parameters()).items()})
    )
    assert not is_numpy(half)


def test_what_a_model_does_beside_its_layers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    block = qwen3.TransformerBlock
    call = block.__call__
    assert is_numpy(make_model())
    monkeypatch.setattr(block, "__call__", lambda self, *args: 1.01 * call(self, *args))
    assert not is_numpy(make_model())


@pytest.mark.parametrize("most", [limits.MERGED_BYTES, 0], ids=["merged", "apart"])
def test_adapters_count_as_they_are_now(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MERGED_BYTES", most)
    policy, _ = policy_and_reference(settings(train_type="lora"))
    shake(policy)
    ids = [5, 6, 7]
    now = numpy_model(policy.model)
    found = now.logits(KVCache(now, 1, 3).feed([ids]))[0]
    assert_close(found, logits_of(policy.model, ids))


def test_the_judge_says_the_same_by_numpy_and_by_mlx() -> None:
    lm = language_model(scale=1.5)
    assert isinstance(lm.backend, NumpyBackend)
    texts = [(f"question {n}", "yes " * (1 + n), "no, never") for n in range(5)]
    ours, theirs = (LLMJudge(each, settings()).judge(texts) for each in (lm, by_mlx(lm)))
    for one, other in zip(ours, theirs, strict=True):
        assert one.choice == other.choice
        assert (one.q is None) == (other.q is None)
        if one.q is not None and other.q is not None:
            assert one.q == pytest.approx(other.q, abs=1e-5)


@pytest.mark.parametrize("scores", [1, 40, 120])
def test_orders_of_a_pair_that_differ_in_length_are_read_in_pieces(
    scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ATTENTION_SCORES", scores)
    lm = language_model()
    rows = [[5, 6, 7, 8, 9], [5, 6, 8, 9, 10, 11, 12]]
    found = np.array(lm.backend.last_logits([13, 14], rows))
    for row, ids in enumerate(rows):
        assert_close(found[row], logits_of(lm.model, [13, 14, *ids]))
