"""Models saved by transformers 5 compute here what they compute there, and so do fused ones.

`tests/interop/record.py` recorded a config and some logits of every architecture; the weights
are made again from their names.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import load as load_with_mlx_lm
from transformers import CONFIG_MAPPING

from engine.errors import UserError
from engine.model import arrays, load
from engine.model import config as model_config
from engine.model.adapters import add_adapters
from engine.runs import archive
from engine.runs.folder import ADAPTERS
from engine.settings.schema import Settings
from engine.train.results import fuse_run, readers, write_adapters
from engine.train.roles import load_roles
from tests.engine.small_models import GEMMA2, QWEN3, byte_tokenizer
from tests.interop import weights

RECORDED = Path(__file__).parents[1] / "interop" / "recorded"
ARCHITECTURES = sorted(file.stem for file in RECORDED.glob("*.json"))
# What mlx-lm computes in another way: how far a logit is off, in spreads, and what is said.
UNLIKE = {
    "gemma": (3e-3, "its gelu is exact"),
    "phi3_long": (1e-4, "its rotary positions take the long factors for short texts too"),
    "ernie4_5_moe": (1.0, "its router does without e_score_correction_bias"),
}
# What mlx-lm does not load, and what is said.
REFUSED = {
    "gpt2": "parameters not in model",  # its names begin otherwise
    "gpt_oss": "parameters not in model",  # its experts, where they are not packed
    "solar_open": "parameters not in model",  # its dense layers
}
LOADED = [name for name in ARCHITECTURES if name not in REFUSED]
# A fused model whose tensors have other names or shapes than transformers': experts are stacked,
# convolutions turned, parts joined. mlx-lm only.
MLX_LM_ONLY = {
    *("afmoe", "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "exaone_moe", "glm4_moe"),
    *("falcon_h1", "gemma3", "gemma3n", "granitemoe", "granitemoehybrid", "jamba", "lfm2"),
    *("lfm2_moe", "mamba", "mamba2", "mellum", "mistral3", "mixtral", "nemotron_h", "olmoe"),
    *("phimoe", "qwen2_moe", "qwen3_5", "qwen3_5_text", "qwen3_moe", "qwen3_next", "gpt_neox"),
}


@cache
def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text())


def folder_of(name: str, place: Path, **changes: Any) -> Path:
    """The folder that transformers saved, with the weights of the recording."""
    place.mkdir(parents=True, exist_ok=True)
    facts = recorded(name)
    (place / "config.json").write_text(json.dumps(facts["config"] | changes))
    weights.write(place, weights.unpack(facts["tensors"]))
    byte_tokenizer().save_pretrained(place)
    return place


def logits_of(model: Any, name: str) -> np.ndarray:
    return np.array(model(mx.array([recorded(name)["ids"]]))[0].astype(mx.float32))


def off(logits: np.ndarray, name: str) -> float:
    """Largest distance from what transformers computed, in spreads of its logits."""
    facts = recorded(name)
    far = max(abs(float(logits[token, at]) - value) for token, at, value in facts["logits"])
    return far / facts["spread"]


def loaded(folder: Path) -> Any:
    return load.load(folder, "model", quantization="none")


@pytest.mark.parametrize("name", LOADED)
def test_a_model_saved_by_transformers_computes_its_logits(name: str, tmp_path: Path) -> None:
    model, _, config = loaded(folder_of(name, tmp_path))
    allowed, said = UNLIKE.get(name, (1e-4, ""))
    assert off(logits_of(model, name), name) < allowed
    notes = model_config.differences(config, 24)
    assert [note for note in notes if not said or not note.startswith(said)] == []
    assert bool(notes) == bool(said)


@pytest.mark.parametrize("name", REFUSED)
def test_what_mlx_lm_does_not_load_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=REFUSED[name]):
        loaded(folder_of(name, tmp_path))


@pytest.mark.parametrize("name", LOADED)
def test_a_fused_model_is_read_alike_by_mlx_lm_and_by_transformers(
    name: str, tmp_path: Path
) -> None:
    source = folder_of(name, tmp_path / "source")
    model, _, _ = loaded(source)
    expected = logits_of(model, name)
    settings = Settings(
        model=str(source), judge="human", data="starter", quantization="none", num_layers=-1,
        train_type="full",
    )  # fmt: skip
    run = archive.create(settings)
    add_adapters(model, settings)
    write_adapters(model, settings, run.path / ADAPTERS)
    fused = fuse_run(run, tmp_path / "fused")

    plain: Any = load_with_mlx_lm(str(fused))
    spread = recorded(name)["spread"]
    np.testing.assert_allclose(logits_of(plain[0], name), expected, rtol=0, atol=1e-4 * spread)
    ours, _, _ = loaded(fused)
    np.testing.assert_allclose(logits_of(ours, name), expected, rtol=0, atol=1e-4 * spread)

    assert readers(run, fused).startswith("mlx-lm only") == (name in MLX_LM_ONLY)
    if name not in MLX_LM_ONLY:
        written = arrays.load(fused / "model.safetensors")
        for key, shape in weights.unpack(recorded(name)["tensors"]).items():
            if key in written:  # a tied head is not
                assert np.array_equal(np.array(written[key]), weights.seeded(key, shape)), key
        config = json.loads((fused / "config.json").read_text())
        assert as_transformers_reads(config) == as_transformers_reads(recorded(name)["config"])


def as_transformers_reads(config: dict[str, Any]) -> dict[str, Any]:
    """All that its class makes of a config, but for two names that it reads and does not use."""
    read = CONFIG_MAPPING[config["model_type"]].from_dict(config).to_dict()
    usual = CONFIG_MAPPING[config["model_type"]].default_config_fields().keys()
    rope = read.get("rope_parameters") or {}
    for part in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        part.pop("type", None)
    return {name: read[name] for name in usual & read.keys() - {"sliding_window_pattern"}}


# -- one value at a time ------------------------------------------------------------------------


def told(name: str, **changes: Any) -> dict[str, Any]:
    config = recorded(name)["config"]
    return model_config.for_mlx_lm(config | changes)


def test_rotary_parameters_are_given_under_their_old_names() -> None:
    assert told("llama_tied")["rope_theta"] == 543210.0
    linear = told("llama_linear")["rope_scaling"]
    assert linear == {"factor": 3.0, "type": "linear", "rope_type": "linear"}
    both = told("gemma3_text")
    assert (both["rope_theta"], both["rope_local_base_freq"]) == (543210.0, 4321.0)
    assert both["rope_scaling"]["factor"] == 4.0
    assert both["sliding_window_pattern"] == 2
    assert told("stablelm")["partial_rotary_factor"] == 0.5
    assert told("gpt_neox")["rotary_pct"] == 0.5
    assert told("exaone4")["sliding_window_pattern"] == "LLLG"
    assert told("gemma3")["text_config"]["rope_local_base_freq"] == 4321.0


def test_an_old_config_needs_nothing_and_where_both_forms_differ_transformers_decides() -> None:
    old = {k: v for k, v in recorded("llama_tied")["config"].items() if k != "rope_parameters"}
    assert told_theta(old | {"rope_theta": 777.0}) == 777.0
    both = recorded("llama_tied")["config"] | {"rope_theta": 777.0}
    assert told_theta(both) == 543210.0
    as_read = CONFIG_MAPPING["llama"].from_dict(both)
    assert as_read.rope_parameters["rope_theta"] == 543210.0


def test_a_config_that_transformers_did_not_write_is_left_as_it_is() -> None:
    assert model_config.for_mlx_lm(QWEN3) == {}
    assert model_config.differences(GEMMA2 | {"sliding_window": 8}, 4096) == []


def told_theta(config: dict[str, Any]) -> float:
    return (config | model_config.for_mlx_lm(config))["rope_theta"]


def test_a_config_that_transformers_does_not_know_is_read_by_its_names() -> None:
    rope = {"rope_type": "default", "rope_theta": 777.0}
    config = {"model_type": "mimo", "rope_parameters": rope}  # mlx-lm alone has it
    assert model_config.read_by_transformers(config) is None
    assert model_config.for_mlx_lm(config)["rope_theta"] == 777.0


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("llama", {"hidden_act": "relu"}, "computes llama with silu, not hidden_act: relu"),
        ("helium", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "does not scale"),
        ("glm", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("mamba2", {"layer_norm_epsilon": 1e-3}, "layer_norm_epsilon"),
        ("granitemoehybrid", {"mamba_n_groups": 2}, "mamba_n_groups"),
        ("falcon_h1", {"mamba_n_groups": 2}, "one group"),
        ("cohere2", {"layer_types": ["full_attention", *["sliding_attention"] * 3]}, "layer_types"),
        ("olmo3", {"rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
        }}, "one kind of rotary positions"),
        ("gemma3_text", {"rope_parameters": {
            "full_attention": {"rope_type": "default"},
            "sliding_attention": {"rope_type": "linear", "factor": 2.0},
        }}, "window"),
    ],
)  # fmt: skip
def test_what_mlx_lm_has_no_place_for_is_refused(
    name: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        told(name, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "tokens", "said"),
    [
        ("mistral", {"sliding_window": 16}, 24, "window of 16"),
        ("mistral", {"sliding_window": 16}, 16, ""),
        ("gemma2", {}, 4096, "window of 2,048"),
        ("gemma3_text", {}, 4096, ""),
        ("olmo3", {}, 4096, ""),
        ("qwen2", {"sliding_window": 16, "use_sliding_window": False}, 24, ""),
        ("jamba", {"num_experts_per_tok": 2}, 24, "experts' shares"),
    ],
)
def test_what_mlx_lm_leaves_out_is_named(
    name: str, changes: dict[str, Any], tokens: int, said: str
) -> None:
    config = recorded(name)["config"] | changes
    notes = model_config.differences(config | model_config.for_mlx_lm(config), tokens)
    assert bool(notes) == bool(said)
    assert said in "".join(notes)


def test_a_run_says_what_its_model_is_computed_without(tmp_path: Path) -> None:
    folder = folder_of("mistral", tmp_path / "model", sliding_window=16)
    settings = Settings(
        model=str(folder), judge="human", data="starter", quantization="none", num_layers=-1
    )
    (note,) = load_roles(settings).notes
    assert "window of 16 tokens" in note


def test_turns_end_where_generation_config_says(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path / "model", eos_token_id=7)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    _, tokenizer, config = loaded(folder)
    assert set(tokenizer.eos_token_ids) == {2, 5}
    assert config["eos_token_id"] == [2, 5]


def test_the_type_of_the_weights_is_said_under_both_names(tmp_path: Path) -> None:
    _, _, config = loaded(folder_of("llama", tmp_path / "model"))
    assert config["dtype"] == config["torch_dtype"] == "float32"
