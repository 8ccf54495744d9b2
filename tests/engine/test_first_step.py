"""The first update starts from an exact zero: policy and reference are one model, computed in one
way, also in half precision, over packed weights and from trained adapters."""

from importlib import import_module
from math import log
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.compute import limits
from engine.compute.numpy.backend import NumpyBackend
from engine.data.pairs import JudgedPair, Verdict
from engine.model import arrays, load
from engine.model.adapters import add_adapters, learning
from engine.model.batch import Batch
from engine.settings.schema import Settings
from engine.train.online_dpo import learn, summed_loss
from engine.train.optimizers import build_optimizer
from engine.train.results import write_adapters
from engine.train.roles import Roles, load_roles
from engine.train.update import Update
from tests.engine.small_models import (
    QWEN2,
    QWEN3,
    VOCABULARY,
    WIDE,
    make_model,
    number,
    pair,
    policy_and_reference,
    settings,
    stir,
    write_model,
)

pytestmark = pytest.mark.backends

JUDGED = [
    JudgedPair(pair(0, first="yes", second="perhaps not"), Verdict("first")),
    JudgedPair(pair(1, prompt="Why? Say more.", first="so", second="s"), Verdict("second")),
]
SCORED = Batch([pair().prompt_ids], [(pair().first_ids, pair().second_ids)])
KINDS = [
    *(("lora", each) for each in ("none", "4-bit", "6-bit", "8-bit", "mxfp4")),
    *(("dora", each) for each in ("none", "4-bit", "8-bit", "mxfp4")),
    ("full", "none"),
]
ADAPTERS = {"rank": 4, "scale": 10.0}
IDS = mx.array([[5, 90, 30, 7, 41, 110]])


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights stay in the precision of their files, and packed."""
    monkeypatch.setattr(load, "compute_dtype", lambda: None)


def in_half_precision(folder: Path, config: dict[str, Any] = WIDE) -> Path:
    """A model folder in bfloat16."""
    write_model(folder, config)
    weights = arrays.load(folder / "model.safetensors")
    mx.eval(weights)
    halved = {name: array.astype(mx.bfloat16) for name, array in weights.items()}
    arrays.save(folder / "model.safetensors", halved)
    return folder


def update_of(chosen: Settings, roles: Roles) -> Update:
    return Update(roles.policy, roles.reference, chosen, build_optimizer(chosen, 10))


def assert_from_zero(update: Update) -> None:
    """Two steps: the first from an exact zero, the second no longer."""
    first = learn(update, JUDGED, step=1).means
    assert (first["margin"], first["kl"]) == (0.0, 0.0)
    assert first["loss"] == pytest.approx(log(2), abs=1e-6)
    assert learn(update, JUDGED, step=2).means["margin"] != 0.0


@pytest.mark.parametrize(("train_type", "quantization"), KINDS)
@pytest.mark.parametrize("config", [WIDE, WIDE | {"model_type": "qwen2"}], ids=["plain", "biases"])
@pytest.mark.usefixtures("as_on_a_gpu")
def test_in_half_precision(
    config: dict[str, Any], train_type: str, quantization: str, tmp_path: Path
) -> None:
    folder = in_half_precision(tmp_path / "model", config)
    chosen = settings(
        model=str(folder),
        judge="human",
        train_type=train_type,
        quantization=quantization,
        learning_rate=0.01,
    )
    roles = load_roles(chosen)
    layer: Any = roles.reference.model
    inner = layer.layers[0].self_attn.q_proj
    weight: Any = inner.linear if train_type == "dora" else inner
    assert hasattr(weight, "bits") == (quantization != "none")
    assert arrays.flat(roles.policy.model.parameters())["model.norm.weight"].dtype == mx.bfloat16
    assert_from_zero(update_of(chosen, roles))


@pytest.mark.parametrize(("train_type", "quantization"), KINDS)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_from_trained_adapters_in_half_precision(
    train_type: str, quantization: str, tmp_path: Path
) -> None:
    chosen = settings(
        model=str(in_half_precision(tmp_path / "model")),
        judge="human",
        train_type=train_type,
        quantization=quantization,
        learning_rate=0.01,
        lora_parameters=ADAPTERS,
    )
    earlier = load_roles(chosen)
    stir(earlier.policy.model, scale=0.02)
    write_adapters(earlier.policy.model, chosen, tmp_path / "adapters")
    roles = load_roles(chosen, start=tmp_path / "adapters" / "adapters.safetensors")
    start = earlier.policy.backend.logps(SCORED)
    np.testing.assert_array_equal(np.array(roles.reference.backend.logps(SCORED)), start)
    assert number(mx.abs(earlier.reference.backend.logps(SCORED) - start).max()) > 0.1
    assert_from_zero(update_of(chosen, roles))
    # The reference stays what it was.
    np.testing.assert_array_equal(np.array(roles.reference.backend.logps(SCORED)), start)


@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize(
    ("config", "numpy"),
    [(QWEN3, ""), (QWEN2, ""), (QWEN3, "0")],
    ids=["plain", "biases", "plain by MLX"],
)
def test_from_trained_adapters(
    config: dict[str, Any],
    numpy: str,
    checkpointed: bool,
    train_type: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where both share the layers below the lowest adapter; on a CPU numpy computes LoRA."""
    if numpy:
        monkeypatch.setenv("LORA_STUDIO_NUMPY", numpy)
    chosen = settings(
        model=str(write_model(tmp_path / "model", config)),
        judge="human",
        train_type=train_type,
        num_layers=2,
        lora_parameters=ADAPTERS,
        grad_checkpoint=checkpointed,
    )
    earlier = load_roles(chosen)
    stir(earlier.policy.model)
    write_adapters(earlier.policy.model, chosen, tmp_path / "adapters")
    roles = load_roles(chosen, start=tmp_path / "adapters" / "adapters.safetensors")
    update = update_of(chosen, roles)
    by_numpy = train_type == "lora" and limits.numpy_serves()
    assert isinstance(roles.policy.backend, NumpyBackend) or not by_numpy
    assert number(mx.abs(earlier.policy.model(IDS) - roles.reference.model(IDS)).max()) == 0
    assert number(mx.abs(earlier.reference.model(IDS) - roles.reference.model(IDS)).max()) > 0.01
    assert_from_zero(update)
    assert number(mx.abs(earlier.policy.model(IDS) - roles.reference.model(IDS)).max()) == 0


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_adapters_saved_in_half_precision_are_trained_in_full(
    dtype: mx.Dtype, tmp_path: Path
) -> None:
    """A change of 1e-5 would be lost in them."""
    folder, file = write_model(tmp_path / "model"), tmp_path / "adapters.safetensors"
    chosen = settings(model=str(folder), judge="human")
    policy = load_roles(chosen).policy.model
    stir(policy)
    saved = arrays.flat(policy.trainable_parameters())
    arrays.save(file, {name: array.astype(dtype) for name, array in saved.items()})
    loaded = arrays.flat(load_roles(chosen, start=file).policy.model.trainable_parameters())
    assert {array.dtype for array in loaded.values()} == {mx.float32}


# -- layers that are computed in another way in training mode -------------------------------------

HYBRID: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "rope_theta": 1e4,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 1,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 3,
    "full_attention_interval": 2,
}
TWO_WAYS: dict[str, dict[str, Any]] = {
    "qwen3_next": HYBRID
    | {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
        "shared_expert_intermediate_size": 32,
        "partial_rotary_factor": 0.25,
    },
    "qwen3_5": {"text_config": HYBRID | {"model_type": "qwen3_5_text"}},
    "olmo_hybrid": HYBRID
    | {
        "linear_allow_neg_eigval": False,
        "attention_bias": False,
        "layer_types": ["linear_attention", "full_attention"],
    },
}


@pytest.fixture
def with_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Metal, where gated-delta layers have a kernel outside training: it rounds in another
    way, and has no gradient."""
    for name in ("qwen3_next", "qwen3_5", "olmo_hybrid"):
        module: Any = import_module(f"mlx_lm.models.{name}")
        real = module.gated_delta_update

        def update(*args: Any, use_kernel: bool = True, real: Any = real, **kwargs: Any) -> Any:
            out, state = real(*args, use_kernel=False, **kwargs)
            if not use_kernel:
                return out, state
            rounded = out.astype(mx.bfloat16).astype(out.dtype)
            return mx.stop_gradient(rounded), state

        monkeypatch.setattr(module, "gated_delta_update", update)


def two_way_update(name: str, **values: Any) -> Update:
    chosen = settings(optimizer="sgd", learning_rate=0.1, max_grad_norm=0.0, **values)
    policy, reference = policy_and_reference(chosen, TWO_WAYS[name] | {"model_type": name})
    return Update(policy, reference, chosen, build_optimizer(chosen, 10))


@pytest.mark.parametrize("name", TWO_WAYS)
@pytest.mark.usefixtures("with_a_kernel")
def test_layers_that_know_of_training_are_the_same_for_both(name: str) -> None:
    update = two_way_update(name)
    made: Any = update.policy.model
    logits = made(IDS)
    made.train()
    assert not mx.array_equal(made(IDS), logits)  # the case is what it says
    made.eval()
    assert_from_zero(update)
    assert not any(each.training for each in made.modules())
    assert not any(each.training for each in update.reference.model.modules())


@pytest.mark.parametrize("name", TWO_WAYS)
@pytest.mark.usefixtures("with_a_kernel")
def test_their_gradient_is_the_slope(name: str) -> None:
    update = two_way_update(name)
    stir(update.policy.model, scale=0.1)
    _, _, gradients = update._pass(summed_loss, JUDGED)
    before = arrays.flat(update.policy.model.trainable_parameters())
    length = np.sqrt(sum(number(mx.square(each).sum()) for each in gradients.values()))

    def loss_at(step: float) -> float:
        moved = {
            name: before[name] + step / length * gradient for name, gradient in gradients.items()
        }
        update.policy.model.update(arrays.tree(moved))
        return update._pass(summed_loss, JUDGED)[0]

    step = 1e-4
    assert (loss_at(step) - loss_at(-step)) / (2 * step) == pytest.approx(length, rel=2e-2)


def test_of_all_dropout_only_that_of_adapters_is_ever_on() -> None:
    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.5)
            self.inner = make_model()

    body = Body()
    add_adapters(body.inner, settings(lora_parameters=ADAPTERS | {"dropout": 0.5}))
    modules: list[Any] = body.modules()
    adapters = [each.dropout for each in modules if "lora_a" in each]
    assert adapters
    with learning(body, drop_out=True):
        assert body.inner.training
        assert not body.dropout.training
        assert all(each.training for each in adapters)
    with learning(body, drop_out=False):
        assert body.inner.training
        assert not body.dropout.training
        assert not any(each.training for each in adapters)
    assert not any(each.training for each in modules)
