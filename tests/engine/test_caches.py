"""The prompt cache that completions share: positions, masks, dropped rows, and when not to."""

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.compute import last_logits
from engine.compute.caches import (
    LayerCache,
    completion_caches,
    decode_caches,
    prompt_caches,
)
from engine.compute.choose import supports_sharing
from engine.compute.kv_cache import CompletionCache
from engine.compute.mlx_model import MlxModel
from engine.model.batch import padded
from tests.close import assert_close
from tests.engine.small_models import GEMMA2, GEMMA3, MAMBA2, QWEN2, QWEN3, make_model

pytestmark = pytest.mark.quick


PROMPTS = [[7, 8, 9, 10, 11], [12, 13], [14, 15, 16]]
LENGTHS = mx.array([5, 2, 3])


def filled(model: Any) -> list[LayerCache]:
    caches = prompt_caches(model, [5, 2, 3])
    model(padded(PROMPTS), cache=caches)
    return caches


def test_padding_is_on_the_right() -> None:
    assert padded([[1, 2, 3], [4]]).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert padded([[1], [4]], 3).tolist() == [[1, 0, 0], [4, 0, 0]]


def test_each_completion_starts_where_its_prompt_ends() -> None:
    caches = filled(make_model())
    rows = mx.array([0, 0, 1, 2])
    (cache, *_) = completion_caches(caches, rows, LENGTHS[rows])
    assert isinstance(cache, CompletionCache)
    assert np.array(cache.offset).tolist() == [5, 5, 2, 3]
    cache.update_and_fetch(mx.zeros((4, 1, 2, 16)), mx.zeros((4, 1, 2, 16)))
    assert np.array(cache.offset).tolist() == [7, 7, 4, 5]


def test_the_mask_hides_padding_and_what_is_to_come() -> None:
    caches = filled(make_model())
    (cache, *_) = completion_caches(caches, mx.array([1, 2]), LENGTHS[mx.array([1, 2])])
    assert isinstance(cache, CompletionCache)
    mask = np.array(cache.make_mask(2)).astype(int)
    assert mask[0, 0].tolist() == [[1, 1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1, 1]]
    assert mask[1, 0].tolist() == [[1, 1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 1]]


def test_the_mask_hides_what_lies_outside_of_a_window() -> None:
    model = make_model(GEMMA3 | {"sliding_window": 3})
    caches = filled(model)
    (cache, *_) = completion_caches(caches, mx.array([0, 1]), LENGTHS[mx.array([0, 1])])
    assert isinstance(cache, CompletionCache)
    mask = np.array(cache.make_mask(2)).astype(int)
    assert mask[0, 0].tolist() == [[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1]]
    assert mask[1, 0].tolist() == [[1, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    "config",
    [QWEN3, QWEN2, GEMMA3 | {"sliding_window": 3}, MAMBA2],
    ids=["qwen3", "qwen2", "a window", "states"],
)
def test_shared_prompts_give_the_logits_of_whole_sequences(config: dict[str, Any]) -> None:
    model: Any = make_model(config)
    owners, tail = [0, 0, 1, 2, 2], [[20, 21], [22, 23], [24, 25], [26, 27], [28, 29]]
    rows = mx.array(owners)
    caches = filled(model)
    together = model(padded(tail), cache=completion_caches(caches, rows, LENGTHS[rows]))
    decode = decode_caches(filled(model), rows, LENGTHS[rows], room=2)
    one_by_one = mx.concatenate(
        [model(padded(tail)[:, at : at + 1], cache=decode) for at in (0, 1)], axis=1
    )
    for row, (owner, ids) in enumerate(zip(owners, tail, strict=True)):
        plain = np.array(model(mx.array([[*PROMPTS[owner], *ids]]))[0, len(PROMPTS[owner]) :])
        assert_close(together[row], plain)
        assert_close(one_by_one[row], plain)


@pytest.mark.parametrize("config", [QWEN3, GEMMA3 | {"sliding_window": 3}, MAMBA2])
def test_pairs_that_begin_at_unequal_length_continue_one_prefix(config: dict[str, Any]) -> None:
    model = MlxModel.of(make_model(config))
    starts = [[10], [11, 12, 13], [14, 15]]
    rows = [[*start, *end] for start in starts for end in ([20, 21], [22, 23])]
    prefix = [7, 8, 9]
    found = last_logits.continued(model, last_logits.prefix_caches(model, prefix), rows)
    assert_close(found, last_logits.whole(model, [[*prefix, *row] for row in rows]))


@pytest.mark.parametrize("config", [QWEN3, GEMMA3 | {"sliding_window": 3}, MAMBA2])
def test_rows_that_leave_do_not_change_those_that_stay(config: dict[str, Any]) -> None:
    model: Any = make_model(config)
    rows = mx.array([0, 1, 2])
    caches = decode_caches(filled(model), rows, LENGTHS, room=3)
    model(mx.array([[20], [21], [22]]), cache=caches)
    for cache in caches:
        cache.keep(mx.array([0, 2]))
    left = np.array(model(mx.array([[23], [24]]), cache=caches))
    for row, ids in enumerate(([*PROMPTS[0], 20, 23], [*PROMPTS[2], 22, 24])):
        plain = np.array(model(mx.array([ids]))[0, -1])
        assert_close(left[row, -1], plain)


def test_a_prompt_cache_is_not_changed_by_its_completions() -> None:
    model: Any = make_model()
    caches = filled(model)
    before = [np.array(array) for array in caches[0].state]
    completions = completion_caches(caches, mx.array([0, 1, 2]), LENGTHS)
    model(mx.array([[20], [21], [22]]), cache=completions)
    assert caches[0].width == 5
    for array, old in zip(caches[0].state, before, strict=True):
        np.testing.assert_array_equal(np.array(array), old)


def test_who_can_share() -> None:
    assert supports_sharing(MlxModel.of(make_model(QWEN3)), 512)
    assert supports_sharing(MlxModel.of(make_model(QWEN2)), 512)
    assert supports_sharing(MlxModel.of(make_model(GEMMA3)), 8)
    assert supports_sharing(MlxModel.of(make_model(GEMMA3)), float("inf"))  # its window overflows
    assert supports_sharing(MlxModel.of(make_model(MAMBA2)), 512)
    # Takes no mask of its own for each row.
    assert not supports_sharing(MlxModel.of(make_model(GEMMA2)), 512)


def test_a_model_that_ignores_the_mask_or_positions_is_found_out() -> None:
    """The trial is what protects from architectures that nobody looked at."""

    def careless(drop: str) -> MlxModel:
        def logits(ids: mx.array, caches: Any = None) -> mx.array:
            for each in caches or []:
                if isinstance(each, CompletionCache):
                    if drop == "mask":
                        each.make_mask = lambda *_, **__: None
                    elif drop == "positions":
                        each.lengths = mx.zeros_like(LENGTHS[:2]) + each.prompt_width
            return model(ids, cache=caches)

        return replace(MlxModel.of(model), _backbone=logits, _logits=lambda hidden: hidden)

    model: Any = make_model()
    for drop in ("mask", "positions"):
        assert not supports_sharing(careless(drop), 512)
    assert supports_sharing(careless("nothing"), 512)
