"""Weights laid out for decoding: the same numbers, once a weight, and no more than allowed."""

import gc

import mlx.core as mx
import numpy as np
import pytest

from engine.compute import limits
from engine.compute.numpy import packed
from engine.compute.numpy.decode import NumpyDecoder
from engine.compute.numpy.model import numpy_model
from engine.compute.numpy.packed import PackedWeight, can_pack
from engine.compute.numpy.products import MANY
from engine.settings.schema import Settings
from tests.close import assert_close
from tests.engine.small_models import make_model, policy_and_reference, settings
from tests.engine.test_numpy_model import logits_of, shake

pytestmark = [
    pytest.mark.skipif(not limits.numpy_serves(), reason="MLX computes everything here"),
    pytest.mark.skipif(not can_pack(), reason="numpy multiplies by a BLAS of its own here"),
]


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (7, 3), (64, 48), (1000, 96), (96, 1000)])
def test_products_are_right_and_no_token_changes_anothers(outputs: int, inputs: int) -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(outputs, inputs)).astype(np.float32)
    x = generator.normal(size=(inputs, MANY)).astype(np.float32)
    laid_out = PackedWeight.of(weight)
    together = laid_out.by_token(x)
    assert_close(together, (weight @ x).T, size=(np.abs(weight) @ np.abs(x)).max())
    for tokens in (1, 2, 3, 8, 17, 33):
        np.testing.assert_array_equal(laid_out.by_token(x[:, :tokens]), together[:tokens])


@pytest.mark.parametrize("merged", [True, False])
def test_a_batch_is_decoded_to_the_models_own_logits(
    merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MERGED_BYTES", limits.MERGED_BYTES if merged else 0)
    policy, _ = policy_and_reference(settings(train_type="lora"))
    shake(policy)
    prompts, then = [[5, 6, 7], [8, 9]], [[10], [11], [12], [13]]
    decoder = NumpyDecoder(policy.model, prompts, copies=2, room=4)
    decoder.feed(mx.array([each[0] for each in then]))
    for row, tokens in enumerate(then):
        whole = prompts[row // 2] + tokens
        assert_close(np.array(decoder.logits[row]), logits_of(policy.model, whole))


def packed_parts(config: Settings) -> list[bool]:
    policy, _ = policy_and_reference(config)
    model = numpy_model(policy.model, packs=True)
    layer = model.layers[-1]
    return [each.packed is not None for each in (layer.q, layer.down, model.head)]


def test_frozen_weights_alone_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed_parts(settings(train_type="lora")) == [False, False, True]
    assert packed_parts(settings(train_type="full")) == [False, False, True]
    monkeypatch.setattr(limits, "MERGED_BYTES", 0)
    assert packed_parts(settings(train_type="lora")) == [True, True, True]
    monkeypatch.setattr(limits, "PACKED_BYTES", 1)
    assert packed_parts(settings(train_type="lora")) == [False, False, False]


def test_one_row_is_decoded_with_the_weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    model.freeze()
    monkeypatch.setattr(packed, "_kept", {})
    NumpyDecoder(model, [[5, 6]], copies=1, room=4)
    assert not packed._kept
    NumpyDecoder(model, [[5, 6]], copies=2, room=4)
    assert packed._kept


def test_a_weight_is_laid_out_once_and_goes_with_its_array(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MERGED_BYTES", 0)
    monkeypatch.setattr(packed, "_kept", {})
    policy, reference = policy_and_reference(settings(train_type="lora"))
    ours, theirs = (numpy_model(each.model, packs=True) for each in (policy, reference))
    assert ours.head.packed is theirs.head.packed
    assert ours.layers[0].q.packed is theirs.layers[0].q.packed
    count = len(packed._kept)
    assert count == 7 * len(ours.layers) + 1
    del policy, reference, ours, theirs
    gc.collect()
    assert not packed._kept
