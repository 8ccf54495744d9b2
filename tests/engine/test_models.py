"""Models: the reference as a view, a first step from an exact zero, quantisation, adapters."""

import json
from math import log
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.compute.caches import prompt_caches
from engine.compute.mlx_model import MlxModel
from engine.data.pairs import JudgedPair, Verdict
from engine.errors import UserError
from engine.model import arrays, packing
from engine.model import load as models
from engine.model.adapters import add_adapters, count_parameters, load_adapter_file, view
from engine.model.language_model import LanguageModel
from engine.model.load import load, quantize
from engine.model.locate import locate
from engine.model.quantizations import QUANTIZATIONS
from engine.settings.schema import Settings
from engine.train.online_dpo import learn, summed_loss
from engine.train.optimizers import build_optimizer
from engine.train.roles import load_roles
from engine.train.update import Update
from tests.close import assert_close
from tests.engine.small_models import (
    GEMMA2,
    GEMMA3,
    MAMBA2,
    QWEN2,
    QWEN3,
    WIDE,
    make_model,
    number,
    pair,
    policy_and_reference,
    settings,
    stir,
    tokenizer,
    write_model,
)
from tests.engine.zoo import write_architecture

DECIDED = [
    JudgedPair(pair(0, first="yes", second="perhaps not"), Verdict("first")),
    JudgedPair(pair(1, prompt="Why? Say more, please.", first="so", second="s"), Verdict("second")),
]


def first_step(settings: Settings, roles: Any) -> dict[str, float]:
    update = Update(roles[0], roles[1], settings, build_optimizer(settings, 10))
    return learn(update, DECIDED, step=1).means


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("config", [QWEN3, QWEN2, GEMMA2, MAMBA2], ids=lambda c: c["model_type"])
@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
def test_a_first_step_starts_from_zero(
    train_type: str, config: dict[str, Any], checkpointed: bool
) -> None:
    chosen = settings(train_type=train_type, grad_checkpoint=checkpointed)
    if config is MAMBA2 and train_type == "dora":
        chosen = settings(train_type="dora", lora_parameters={"keys": ["mixer.out_proj"]})
    means = first_step(chosen, policy_and_reference(chosen, config))
    assert means["margin"] == 0.0
    assert means["kl"] == 0.0
    assert means["loss"] == pytest.approx(log(2), abs=1e-6)


@pytest.mark.parametrize("quantization", ["none", "4-bit", "6-bit", "8-bit", "mxfp4"])
@pytest.mark.parametrize("loss", ["sigmoid", "dpop"])
def test_a_first_step_on_loaded_weights_starts_from_zero(
    quantization: str, loss: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model", WIDE)
    chosen = settings(
        model=str(folder), judge="human", quantization=quantization, dpo_cpo_loss_type=loss
    )
    roles = load_roles(chosen)
    means = first_step(chosen, (roles.policy, roles.reference))
    assert means["margin"] == 0.0
    assert means["loss"] == pytest.approx(log(2), abs=1e-6)
    weight = arrays.flat(roles.reference.model.parameters())["model.embed_tokens.weight"]
    original = arrays.flat(make_model(WIDE).parameters())["model.embed_tokens.weight"]
    differs = not mx.array_equal(weight, original)
    assert differs == (quantization != "none")


@pytest.mark.parametrize("quantization", ["4-bit", "8-bit", "mxfp4"])
def test_packed_weights_are_trained_over_as_they_are(
    quantization: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where quantised layers stay packed."""
    monkeypatch.setattr(models, "compute_dtype", lambda: None)
    folder = write_model(tmp_path / "model", WIDE)
    chosen = settings(model=str(folder), judge="human", quantization=quantization)
    mx.random.seed(0)
    roles = load_roles(chosen)
    layer: Any = roles.policy.model
    assert hasattr(layer.layers[0].self_attn.q_proj.linear, "bits")
    means = first_step(chosen, (roles.policy, roles.reference))
    assert means["margin"] == 0.0
    assert means["loss"] == pytest.approx(log(2), abs=1e-6)


@pytest.mark.parametrize("quantization", ["4-bit", "6-bit", "8-bit", "mxfp4"])
def test_the_cpu_holds_the_numbers_that_packed_weights_stand_for(quantization: Any) -> None:
    packed, plain = make_model(WIDE), make_model(WIDE)
    quantize(packed, quantization)
    quantize(plain, quantization)
    packing.unpack(plain, mx.float32)
    ids = mx.array([[7, 8, 9, 10]])
    unquantised = make_model(WIDE)(ids)
    assert not mx.allclose(plain(ids), unquantised, atol=1e-3)
    assert_close(plain(ids), packed(ids), 1e-3)
    kinds = {array.dtype for array in arrays.flat(plain.parameters()).values()}
    assert kinds == {mx.float32}


@pytest.mark.parametrize("quantization", ["4-bit", "6-bit", "8-bit", "mxfp4"])
def test_packed_weights_count_as_the_numbers_they_hold(quantization: Any) -> None:
    model = make_model(WIDE)
    whole = count_parameters(model)[1]
    quantize(model, quantization)
    model.freeze()
    trainable, total = count_parameters(model)
    biases = 2 if quantization != "mxfp4" else 1
    group = QUANTIZATIONS[quantization]["group_size"]
    assert trainable == 0
    assert whole < total <= whole * (1 + biases / group) + 1


# -- views ---------------------------------------------------------------------------------------


def buffers(model: Any) -> set[int]:
    return {id(array) for array in arrays.flat(model.parameters()).values()}


@pytest.mark.parametrize("config", [QWEN3, QWEN2, GEMMA2, GEMMA3, MAMBA2])
def test_a_view_shares_its_arrays_and_nothing_else(config: dict[str, Any]) -> None:
    model = make_model(config)
    other = view(model)
    assert buffers(other) == buffers(model)
    ids = mx.array([[7, 8, 9]])
    before = np.array(other(ids))
    add_adapters(model, settings(lora_parameters={"scale": 20.0, "rank": 4}))
    stir(model, scale=0.5)
    assert not np.array_equal(np.array(model(ids)), before)
    np.testing.assert_array_equal(np.array(other(ids)), before)
    assert not any("lora" in name for name in arrays.flat(other.parameters()))


def test_a_full_run_leaves_its_reference_alone() -> None:
    chosen = settings(train_type="full", num_layers=1, learning_rate=0.1, optimizer="sgd")
    policy, reference = policy_and_reference(chosen)
    before = {k: np.array(v) for k, v in arrays.flat(reference.model.parameters()).items()}
    update = Update(policy, reference, chosen, build_optimizer(chosen, 10))
    learn(update, DECIDED, step=1)
    changed = set()
    for name, array in arrays.flat(policy.model.parameters()).items():
        if not np.array_equal(np.array(array), before[name]):
            changed.add(".".join(name.split(".")[:3]))
    assert changed == {"model.layers.2"}
    for name, array in arrays.flat(reference.model.parameters()).items():
        np.testing.assert_array_equal(np.array(array), before[name])


def test_roles_of_one_model_share_its_memory(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    chosen = settings(model=str(folder), judge=str(folder), reference_model_path=str(folder))
    roles = load_roles(chosen)
    judge = roles.judges[str(folder)]
    assert isinstance(judge, LanguageModel)
    assert buffers(judge.model) == buffers(roles.reference.model)
    assert buffers(roles.reference.model) < buffers(roles.policy.model)


def test_another_reference_is_another(tmp_path: Path) -> None:
    folder, other = write_model(tmp_path / "a"), write_model(tmp_path / "b", seed=9)
    chosen = settings(model=str(folder), judge="human", reference_model_path=str(other))
    roles = load_roles(chosen)
    assert roles.judges == {}
    assert not buffers(roles.reference.model) & buffers(roles.policy.model)
    assert first_step(chosen, (roles.policy, roles.reference))["margin"] != 0


def test_a_judge_shares_over_a_window(tmp_path: Path) -> None:
    """What it reads is longer than the policy's prompts, by as much as the rubric likes."""
    folder = write_model(tmp_path / "model", GEMMA3)
    chosen = settings(
        model=str(folder), judge=str(folder), max_seq_length=8, max_completion_length=4
    )
    judge = load_roles(chosen).judges[str(folder)]
    assert isinstance(judge, LanguageModel)
    assert judge.backend.decodes_batches
    prefix, rows = [*range(10, 30)], [[5, 6, 7], [5, 8]]
    wanted = [np.array(judge.model(mx.array([prefix + row])))[0, -1] for row in rows]
    np.testing.assert_allclose(
        np.array(judge.backend.last_logits(prefix, rows)), wanted, rtol=1e-4, atol=1e-5
    )


# -- what a model is made of ---------------------------------------------------------------------


@pytest.mark.parametrize("config", [QWEN3, QWEN2, GEMMA2, GEMMA3, MAMBA2])
@pytest.mark.parametrize("scale", [3.0, 0.01])
def test_the_head_is_split_off_only_where_nothing_is_lost(
    config: dict[str, Any], scale: float
) -> None:
    module = make_model(config, scale=scale)
    model = MlxModel.of(module)
    ids = mx.array([[7, 8, 9, 10]])
    np.testing.assert_array_equal(np.array(model.logits(model.hidden(ids))), np.array(module(ids)))
    split = model.hidden(ids).shape[-1] == config["hidden_size"]
    assert split == (config not in (GEMMA2, MAMBA2))  # a soft cap; a body of another name


def test_a_cache_reaches_a_body_that_takes_a_mask_before_it(tmp_path: Path) -> None:
    folder = write_architecture(tmp_path / "model", "minicpm3")
    module, _, _ = load(folder, "model", quantization="none")
    model = MlxModel.of(module)
    caches = prompt_caches(module)
    assert model.hidden(mx.array([[7, 8, 9]]), caches).shape[-1] == 128  # split, so the body itself
    found = model.logits(model.hidden(mx.array([[10, 11]]), caches))
    wanted = module(mx.array([[7, 8, 9, 10, 11]]))[:, 3:]
    np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=1e-4, atol=1e-5)


def test_adapters_do_not_drop_out_until_trained() -> None:
    chosen = settings(lora_parameters={"rank": 4, "scale": 20.0, "dropout": 0.5})
    policy, _ = policy_and_reference(chosen)
    stir(policy.model)
    ids = mx.array([[7, 8, 9]])
    assert mx.array_equal(policy.model(ids), policy.model(ids))
    policy.model.train()
    assert not mx.array_equal(policy.model(ids), policy.model(ids))


def test_adapters_go_to_the_top_layers() -> None:
    for layers, wanted in (
        (1, {"2"}),
        (2, {"1", "2"}),
        (-1, {"0", "1", "2"}),
        (99, {"0", "1", "2"}),
    ):
        model = make_model()
        add_adapters(model, settings(num_layers=layers))
        trainable = arrays.flat(model.trainable_parameters())
        assert {name.split(".")[2] for name in trainable} == wanted
        assert all(array.dtype == mx.float32 for array in trainable.values())


def test_full_fine_tuning_of_half_precision_trains_in_full_precision() -> None:
    model = make_model()
    model.apply(lambda array: array.astype(mx.bfloat16))
    add_adapters(model, settings(train_type="full", num_layers=1))
    kinds = {array.dtype for array in arrays.flat(model.trainable_parameters()).values()}
    assert kinds == {mx.float32}


def test_more_than_ten_layers_keep_their_order() -> None:
    """`layers.10` sorts before `layers.2` as text."""
    config = QWEN3 | {"num_hidden_layers": 12}
    chosen = settings(num_layers=-1, optimizer="sgd", learning_rate=1.0, max_grad_norm=0.0)
    policy, reference = policy_and_reference(chosen, config)
    update = Update(policy, reference, chosen, build_optimizer(chosen, 10))
    before = arrays.flat(policy.model.trainable_parameters())
    update.add_gradients(summed_loss, DECIDED, step=1)
    assert update.gradients is not None
    gradients = dict(update.gradients)
    update.apply()
    for name, array in arrays.flat(policy.model.trainable_parameters()).items():
        wanted = before[name] - gradients[name] / 2
        assert_close(array, wanted, name=name)


@pytest.mark.parametrize(
    ("architecture", "train_type", "left_out"),
    [
        # Weights that are read from outside their layer.
        ("gemma3n", "lora", ["altup.correction_coefs", "altup.prediction_coefs"]),
        ("gemma3n", "dora", ["altup.correction_coefs", "altup.prediction_coefs"]),
        # A layer of three results, in place of which DoRA has one.
        ("afm7", "dora", ["self_attn.qkv_proj"]),
        ("afm7", "lora", []),
    ],
)
def test_what_a_model_does_not_run_with_gets_no_adapters(
    tmp_path: Path, architecture: str, train_type: str, left_out: list[str]
) -> None:
    folder = write_architecture(tmp_path / "model", architecture)
    roles = load_roles(settings(model=str(folder), judge="human", train_type=train_type))
    notes = [note for note in roles.notes if "no adapters" in note]
    assert [f"no adapters on {', '.join(left_out)}:" in note for note in notes] == [True] * bool(
        left_out
    )
    names = set(arrays.flat(roles.policy.model.trainable_parameters()))
    assert names
    assert not [name for name in names if any(f".{each}." in name for each in left_out)]
    ids = mx.array([[7, 8, 9]])
    np.testing.assert_array_equal(
        np.array(roles.policy.model(ids)), np.array(roles.reference.model(ids))
    )


def test_adapters_where_no_model_runs_with_them_are_refused(tmp_path: Path) -> None:
    folder = write_architecture(tmp_path / "model", "gemma3n")
    model, _, _ = load(folder, "model", quantization="none")
    keys = ["altup.prediction_coefs"]
    with pytest.raises(UserError, match=r"does not run with adapters on altup\.prediction_coefs"):
        add_adapters(model, settings(model=str(folder), lora_parameters={"keys": keys}))


# -- what does not fit ---------------------------------------------------------------------------


def test_unknown_adapter_keys_are_named() -> None:
    with pytest.raises(UserError, match=r"lora_parameters\.keys.*self_attn\.nope"):
        add_adapters(make_model(), settings(lora_parameters={"keys": ["self_attn.nope"]}))


def test_dora_that_a_model_cannot_take_is_said() -> None:
    with pytest.raises(UserError, match="choose lora"):
        add_adapters(
            make_model(), settings(train_type="dora", lora_parameters={"keys": ["input_layernorm"]})
        )


def test_adapter_files_have_to_fit(tmp_path: Path) -> None:
    model = make_model()
    add_adapters(model, settings(lora_parameters={"rank": 4}))
    weights = arrays.flat(model.trainable_parameters())
    file = tmp_path / "adapters.safetensors"

    def refused(pattern: str) -> None:
        before = {k: np.array(v) for k, v in arrays.flat(model.trainable_parameters()).items()}
        with pytest.raises(UserError, match=pattern):
            load_adapter_file(model, file)
        for name, array in arrays.flat(model.trainable_parameters()).items():
            np.testing.assert_array_equal(np.array(array), before[name])

    refused("there is no file")
    file.write_bytes(b"this is no safetensors file at all")
    refused("no safetensors file")
    name = next(iter(weights))
    arrays.save(file, {k: v for k, v in weights.items() if k != name})
    refused("has no " + name)
    arrays.save(file, weights | {name: mx.zeros((3, 3))})
    refused(r"has shape \(3, 3\)")
    arrays.save(file, weights | {"model.layers.9.extra": mx.zeros(1)})
    refused("does not train")
    moved = {key: array + 1 for key, array in weights.items()}
    arrays.save(file, moved)
    load_adapter_file(model, file)
    found = arrays.flat(model.trainable_parameters())
    assert number(mx.abs(found[name] - moved[name]).max()) == 0


def test_missing_models_are_named(tmp_path: Path) -> None:
    for name, pattern in (
        (str(tmp_path / "nothing"), "there is no folder"),
        (str(tmp_path), r"no config\.json"),
        ("~nobody-here/model", "there is no folder"),
        ("someone/unknown-model", "HF_HUB_OFFLINE"),
    ):
        with pytest.raises(UserError, match=f"model: .*{pattern}"):
            load_roles(settings(model=name, judge="human"))


@pytest.mark.parametrize(
    ("weights", "whole"),
    [
        ((), False),
        (("model-00001-of-00002.safetensors",), False),
        (("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), True),
    ],
)
def test_a_download_that_broke_off_is_no_model_of_the_cache(
    weights: tuple[str, ...], whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's library gives the folder of a snapshot whatever is in it."""
    shards = {str(n): f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in weights:
        (tmp_path / name).write_bytes(b"")

    def snapshot(name: str, *, local_files_only: bool = False, **_: object) -> str:
        assert local_files_only, "asked"
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    if whole:
        assert locate("me/model", "model") == tmp_path
    else:
        with pytest.raises(UserError, match="me/model is only in part in the local hub cache"):
            locate("me/model", "model")


def test_a_damaged_model_folder_is_said_in_a_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"model: .* cannot be loaded") as caught:
        load(folder, "model", quantization="none")
    assert "\n" not in str(caught.value)


def test_a_reference_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    folder, other = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    added = tokenizer()._tokenizer
    added.add_tokens(["<more>"])
    added.save_pretrained(other)
    with pytest.raises(UserError, match="reference_model_path"):
        load_roles(settings(model=str(folder), judge="human", reference_model_path=str(other)))


def test_dora_refuses_packed_weights_whose_width_mlx_lm_misreads() -> None:
    model = make_model(WIDE)
    quantize(model, "6-bit")
    with pytest.raises(UserError, match="6-bit"):
        add_adapters(model, settings(train_type="dora"))
