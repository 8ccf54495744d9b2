"""Adapters written for peft: its names, shapes and numbers, without peft. What it computes of them
is compared in `tests/interop/test_peft.py`."""

import json
import shlex
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest

from engine.errors import UserError
from engine.export import export_peft
from engine.export.readme import peft_lines
from engine.model import arrays, load
from engine.model.adapters import add_adapters
from engine.runs import archive
from engine.runs.folder import ADAPTERS, Run
from engine.settings.schema import Settings
from engine.starter import POLICY
from engine.train.results import fuse_run, write_adapters
from tests.command import Command
from tests.engine.small_models import GEMMA2, LLAMA, QWEN2, QWEN3, stir, write_model

LAYOUTS = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3}


def trained(model: Path | str, **changes: Any) -> tuple[Run, nn.Module]:
    """A run whose adapters matter, and its policy."""
    given: dict[str, Any] = {
        "model": str(model),
        "judge": "human",
        "data": "starter",
        "num_layers": -1,
        "quantization": "none",
        "lora_parameters": {"rank": 4, "scale": 6.5},
        "run_name": "trial",
    }
    settings = Settings(**given | changes)
    run = archive.create(settings)
    folder = POLICY if model == "starter" else Path(model)
    policy, _, _ = load.load(folder, "model", quantization=settings.quantization)
    add_adapters(policy, settings)
    stir(policy)
    write_adapters(policy, settings, run.path / ADAPTERS)
    return run, policy


def numbers(file: Path) -> dict[str, np.ndarray]:
    return {name: np.array(array, np.float64) for name, array in arrays.load(file).items()}


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_sum_that_peft_makes_is_the_fused_weight(
    layout: str, kind: str, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model", LAYOUTS[layout])
    run, _ = trained(model, train_type=kind)
    to = tmp_path / "peft"
    export_peft(run, to)
    facts = json.loads((to / "adapter_config.json").read_text())
    assert (facts["peft_type"], facts["task_type"]) == ("LORA", "CAUSAL_LM")
    assert (facts["r"], facts["lora_alpha"], facts["use_dora"]) == (4, 26, kind == "dora")
    assert facts["base_model_name_or_path"] == str(model)
    linear = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert facts["target_modules"] == linear
    adapters = numbers(to / "adapter_model.safetensors")
    before = numbers(model / "model.safetensors")
    after = numbers(fuse_run(run, tmp_path / "fused") / "model.safetensors")
    beginning = "base_model.model."
    paths = {name.removeprefix(beginning).partition(".lora_")[0] for name in adapters}
    assert {path.rpartition(".")[2] for path in paths} == set(linear)
    assert len(paths) == 3 * len(linear)
    for path in paths:
        a, b = (adapters[f"{beginning}{path}.lora_{part}.weight"] for part in "AB")
        assert (a.shape[0], b.shape[1]) == (4, 4)
        weight = before[f"{path}.weight"] + facts["lora_alpha"] / facts["r"] * (b @ a)
        if kind == "dora":
            length = adapters[f"{beginning}{path}.lora_magnitude_vector"]
            weight *= (length / np.linalg.norm(weight, axis=1))[:, None]
        np.testing.assert_allclose(weight, after[f"{path}.weight"], rtol=1e-5, atol=1e-5)
        assert abs(weight - before[f"{path}.weight"]).max() > 1e-2


def test_adapters_on_some_layers_are_named_by_their_whole_paths(tmp_path: Path) -> None:
    run, _ = trained(write_model(tmp_path / "model"), num_layers=1)
    export_peft(run, tmp_path / "peft")
    targets = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())["target_modules"]
    assert len(targets) == 7
    assert all(each.startswith("model.layers.2.") for each in targets)


def test_the_command_writes_them_and_says_how_they_are_used(
    tmp_path: Path, command: Command
) -> None:
    trained("starter")
    to = tmp_path / "peft"
    done = command("export", "trial", "--to", str(to), "--peft")
    assert done.status == 0, done.err
    assert sorted(file.name for file in to.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    facts = json.loads((to / "adapter_config.json").read_text())
    assert facts["base_model_name_or_path"] == str(POLICY)
    assert f"--lora-modules trial={to}" in done.out
    assert "AutoPeftModelForCausalLM" in (to / "README.md").read_text()
    again = command("export", "trial", "--to", str(to), "--peft")
    assert again.status == 2
    assert "is there already" in again.err


def test_a_run_of_a_sweep_is_named_as_vllm_can() -> None:
    (line,) = peft_lines("me/base", ".", "mine-01-beta=0.1")
    assert json.loads(shlex.split(line)[-1]) == {"name": "mine-01-beta=0.1", "path": "."}


def test_what_peft_has_no_place_for_is_refused_in_a_sentence(tmp_path: Path) -> None:
    models = {"gemma2": GEMMA2, "qwen3": QWEN3}
    folders = {name: write_model(tmp_path / name, each) for name, each in models.items()}
    embedding = {"rank": 4, "scale": 6.5, "keys": ["model.embed_tokens", "self_attn.q_proj"]}
    for name, changes, reason in (
        ("gemma2", {}, "a model of the kind gemma2 is not written for peft"),
        ("qwen3", {"train_type": "full"}, "trained the weights themselves and has no adapters"),
        ("qwen3", {"lora_parameters": embedding}, "embed_tokens.lora_a has no place"),
    ):
        run, _ = trained(folders[name], run_name=f"run-{len(reason)}", **changes)
        with pytest.raises(UserError, match=reason):
            export_peft(run, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_adapters_of_quantised_weights_say_that_others_differ(tmp_path: Path) -> None:
    for quantization in ("none", "8-bit"):
        run, _ = trained("starter", quantization=quantization, run_name=f"run-{quantization}")
        said: list[str] = []
        export_peft(run, tmp_path / quantization, say=said.append)
        assert any("trained on quantised weights" in each for each in said) == (
            quantization != "none"
        )


def test_damaged_adapters_are_refused(tmp_path: Path) -> None:
    run, _ = trained("starter")
    (run.path / ADAPTERS / "adapters.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="is no safetensors file"):
        export_peft(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
