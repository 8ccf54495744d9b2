"""Adapters merged into weights for decoding: the same logits, and when they are left apart."""

from typing import Any

import mlx.core as mx
import pytest

from engine.compute import limits
from engine.compute.decode import SharedDecoder
from engine.compute.merged import merged
from engine.compute.mlx_model import MlxModel
from engine.model import arrays
from engine.model.adapters import add_adapters
from tests.close import assert_close
from tests.engine.small_models import GEMMA2, MAMBA2, QWEN2, QWEN3, make_model, settings, stir

pytestmark = pytest.mark.backends

CONFIGS = {"qwen3": QWEN3, "qwen2": QWEN2, "gemma2": GEMMA2, "mamba2": MAMBA2}


def adapted(config: dict[str, Any] = QWEN3, dtype: mx.Dtype = mx.float32, **values: Any) -> Any:
    """A model with adapters that do something."""
    model = make_model(config)
    model.set_dtype(dtype)
    add_adapters(model, settings(**({"train_type": "lora"} | values)))
    stir(model)
    return MlxModel.of(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_merged_model_is_the_model(name: str) -> None:
    model = adapted(CONFIGS[name])
    together = merged(model)
    assert together is not model
    assert not any("lora_a" in each for each in together.module.modules())
    ids = mx.array([[5, 6, 7, 8]])
    found = together.logits(together.hidden(ids))
    assert_close(found, model.module(ids))
    assert_close(together.module(ids), model.module(ids))


def test_merging_leaves_the_model_as_it_was() -> None:
    model = adapted()
    before = arrays.flat(model.module.parameters())
    trained = arrays.flat(model.module.trainable_parameters())
    merged(model)
    after = arrays.flat(model.module.parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is array for name, array in before.items())
    assert arrays.flat(model.module.trainable_parameters()).keys() == trained.keys()


def test_each_batch_is_decoded_with_the_adapters_of_its_start() -> None:
    model = adapted()
    for seed in (1, 2):
        stir(model.module, seed=seed)
        decoder = SharedDecoder(merged(model), [[5, 6, 7]], 1, 2)
        assert_close(decoder.logits, model.module(mx.array([[5, 6, 7]]))[:, -1])


def test_half_precision_dora_and_large_models_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (
        adapted(dtype=mx.bfloat16),
        adapted(train_type="dora"),
        MlxModel.of(make_model()),
    ):
        assert merged(model) is model
    monkeypatch.setattr(limits, "MERGED_BYTES", 0)
    model = adapted()
    assert merged(model) is model
