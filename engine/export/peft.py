"""Adapters as a folder that peft loads beside a model of transformers."""

import json
import re
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.data_folder import at_home
from engine.errors import UserError
from engine.model import arrays
from engine.model.adapter_files import ADAPTER_CONFIG, PEFT_WEIGHTS
from engine.model.arrays import Arrays
from engine.model.files import find
from engine.settings.schema import Settings

# Kinds of models whose linear layers have the same names and shapes in transformers as in mlx-lm.
LAYOUTS = ("llama", "qwen2", "qwen3", "mistral", "smollm3")
# mlx-lm's name of each part of an adapter, and peft's.
PARTS = {
    "lora_a": "lora_A.weight",
    "lora_b": "lora_B.weight",
    "m": "lora_magnitude_vector",  # DoRA's length of each row
}


def write(folder: Path, adapters: Arrays, settings: Settings, config: dict[str, Any]) -> None:
    """Write adapters as adapter_model.safetensors and adapter_config.json.

    mlx-lm adds scale * (x @ a) @ b with a (in, rank) and b (rank, out); peft adds
    lora_alpha / rank * B @ A @ x with A (rank, in) and B (out, rank). Both compute DoRA alike.

    Args:
        adapters: by mlx-lm's names, float32.
        config: config.json of the model.

    Raises:
        UserError: the model's layers have other names in transformers, or the adapters are on
            something that is no linear layer.
    """
    kind = config.get("model_type")
    if kind not in LAYOUTS:
        raise UserError(
            f"--peft: a model of the kind {kind} is not written for peft, only {', '.join(LAYOUTS)}"
            "; --fuse writes the whole model"
        )
    weights: Arrays = {}
    for name, array in adapters.items():
        path, _, part = name.rpartition(".")
        if part not in PARTS or "embed" in path:
            raise UserError(
                f"--peft: {name} has no place in an adapter of peft; --fuse writes the whole model"
            )
        weights[f"base_model.model.{path}.{PARTS[part]}"] = array if part == "m" else array.T
    paths = sorted({name.rpartition(".")[0] for name in adapters}, key=_by_layer)
    rank = settings.lora_parameters.rank
    facts = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model(settings),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _whole(settings.lora_parameters.scale * rank),
        "lora_dropout": settings.lora_parameters.dropout,
        "use_dora": settings.train_type == "dora",
        "use_rslora": False,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": _targets(paths, int(config["num_hidden_layers"])),
    }
    mx.save_safetensors(
        str(folder / PEFT_WEIGHTS),
        {name: mx.contiguous(array) for name, array in weights.items()},
        {"format": "pt"},
    )
    (folder / ADAPTER_CONFIG).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def base_model(settings: Settings) -> str:
    """The model that was trained, as other programs find it: a hub id, or a folder's full path."""
    path = at_home(settings.model)
    if settings.model == "starter":
        return str(find("starter", "model"))
    return str(path.resolve()) if path.is_dir() else settings.model


def read(weights: Path) -> Arrays:
    """The adapters of a run.

    Raises:
        UserError: it is no file of adapters.
    """
    try:
        return arrays.load(weights)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{weights} is no safetensors file: it is damaged") from error


def _targets(paths: list[str], layers: int) -> list[str]:
    """The modules with adapters: by their own names where these are adapted in all layers and
    nowhere else, and else by their whole paths."""
    names = {path.rpartition(".")[2] for path in paths}
    inside = all(re.search(r"\.layers\.\d+\.", path) for path in paths)
    return sorted(names) if inside and len(paths) == layers * len(names) else paths


def _by_layer(path: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in path.split(".")]


def _whole(number: float) -> float:
    """A number as an int where it is one, which peft declares it to be."""
    return int(number) if number == int(number) else number
