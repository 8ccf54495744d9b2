"""Adapters on disk: a file of weights, and beside it an adapter_config.json that says their shape.

The layout is mlx-lm's, which mlx-lm-lora shares. Nothing here imports MLX.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.data_folder import at_home
from engine.errors import UserError
from engine.file_kinds import is_file
from engine.model import files as model_files
from engine.runs.folder import CHECKPOINTS, CONFIG, START, Run
from engine.settings.files import from_mapping
from engine.settings.schema import Settings, fields, value

WEIGHTS, ADAPTER_CONFIG = "adapters.safetensors", "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
KEY = "resume_adapter_file"
SIZE_LIMIT = 10 << 20  # bytes of an adapter_config.json


def config_text(settings: Settings, keys: list[str] | None = None) -> str:
    """What adapter_config.json says of a run's adapters, which are on the modules that `keys`
    names; by default on those that the settings do."""
    lora = settings.lora_parameters
    parameters: dict[str, Any] = {"rank": lora.rank, "scale": lora.scale, "dropout": lora.dropout}
    if keys := keys or lora.keys:
        parameters["keys"] = keys
    facts = {
        "model": settings.model,
        "fine_tune_type": settings.train_type,
        "num_layers": settings.num_layers,
        "lora_parameters": parameters,
    }
    return json.dumps(facts, indent=2) + "\n"


# -- what a run starts from ----------------------------------------------------------------------


def settled(settings: Settings) -> tuple[Settings, list[str]]:
    """Settings that fit the adapters which `resume_adapter_file` names, and what was changed for
    it, a sentence each: where a setting is at its default, the adapters' own value is taken.

    Raises:
        UserError: there are no such adapters, or a setting contradicts them.
    """
    if not settings.resume_adapter_file:
        return settings, []
    weights = find(settings.resume_adapter_file)
    shape = _shape_of(weights)
    if shape is None:
        return settings, [
            f"{KEY}: no {ADAPTER_CONFIG} stands beside {weights}, so nothing tells whether "
            f"lora_parameters.scale {settings.lora_parameters.scale:g} is what it was trained with"
        ]
    changes: dict[str, Any] = {}
    for key, own in shape.items():
        now = value(settings, key)
        if _agree(key, own, now, settings):
            continue
        if now != _DEFAULTS[key]:
            advice = f"set {key}: {_yaml(own)}" if own is not None else f"leave {key} out"
            raise UserError(
                f"{KEY}: {key} is {_yaml(now)}, but the adapters in {weights.parent} have "
                f"{_yaml(own)}; {advice}"
            )
        changes[key] = own
    if not changes:
        return settings, []
    mapping = settings.model_dump(exclude_defaults=True)
    for key, own in changes.items():
        group, _, name = key.rpartition(".")
        (mapping.setdefault(group, {}) if group else mapping)[name] = own
    return from_mapping(mapping, str(weights.with_name(ADAPTER_CONFIG))), [
        f"{key} is {_yaml(own)}, as that of the adapters it starts from"
        for key, own in changes.items()
        if key != "lora_parameters.keys"  # which every adapter_config.json spells out
    ]


def start_of(run: Run, settings: Settings) -> Path | None:
    """The adapters that a run starts from, which its reference keeps: the run's own copy or, as
    long as it has none, the file that its settings name; None where it starts from the model.

    Raises:
        UserError: they are gone.
    """
    if not settings.resume_adapter_file:
        return None
    copy = run.path / START / WEIGHTS
    if copy.is_file():
        return copy
    if run.latest_checkpoint() is None:
        return find(settings.resume_adapter_file)
    if run.format < 2:  # its reference was the model without them
        return None
    raise UserError(
        f"{copy} is gone, the adapters that the run started from and is compared with; "
        "put the file back, or start a new run"
    )


def find(name: str) -> Path:
    """The file of weights that a path means: itself, or the one in a folder of adapters.

    Raises:
        UserError: there is none.
    """
    path = at_home(name)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{KEY}: there is no file or folder {path}")
    for file in (path / WEIGHTS, path / PEFT_WEIGHTS):
        if file.is_file():
            return file
    raise UserError(f"{KEY}: {path} has no {WEIGHTS}; give the folder or the file of adapters")


_SHAPE = (
    "train_type",
    "num_layers",
    "lora_parameters.rank",
    "lora_parameters.scale",
    "lora_parameters.keys",
)
_DEFAULTS = {field.key: field.default for field in fields() if field.key in _SHAPE}


def _shape_of(weights: Path) -> dict[str, Any] | None:
    """What stands beside weights of their shape, by setting; None where nothing does."""
    run = weights.parent.parent.parent
    if weights.parent.parent.name == CHECKPOINTS and (run / CONFIG).is_file():
        settings = Run(run).settings()
        return {key: value(settings, key) for key in _SHAPE}
    facts = _read(weights.with_name(ADAPTER_CONFIG))
    if weights.name == PEFT_WEIGHTS or "peft_type" in (facts or {}):
        raise UserError(
            f"{KEY}: {weights} is an adapter of peft, which is laid out in another way; merge it "
            "into its model with peft's merge_and_unload, save that, and give its folder as model"
        )
    return None if facts is None else dict(_settings_in(facts))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        if not is_file(file):
            return None
        if file.stat().st_size > SIZE_LIMIT:
            raise ValueError("it is too long")
        facts = json.loads(file.read_bytes())
        if not isinstance(facts, dict):
            raise ValueError("it holds no JSON object")
        return facts
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{KEY}: {file} cannot be read: {error}") from error


def _settings_in(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Settings in an adapter_config.json, older names of mlx-lm's and mlx-lm-lora's included."""
    kind = facts.get("fine_tune_type") or facts.get("train_type")
    kind = kind or ("dora" if facts.get("use_dora") else "lora")
    yield "train_type", kind
    layers = facts.get("num_layers", facts.get("lora_layers"))
    if layers is not None:
        # mlx-lm takes 0 for all layers, as it does anything below.
        yield "num_layers", -1 if isinstance(layers, int) and layers <= 0 else layers
    parameters = facts.get("lora_parameters")
    if kind == "full" or not isinstance(parameters, Mapping):
        return
    for name in ("rank", "scale"):
        if parameters.get(name) is not None:
            yield f"lora_parameters.{name}", parameters[name]
    yield "lora_parameters.keys", parameters.get("keys")


def _agree(key: str, own: Any, now: Any, settings: Settings) -> bool:
    if key == "num_layers" and isinstance(own, int):
        return _covered(own, settings) == _covered(now, settings)
    if isinstance(own, list) and isinstance(now, list):
        return sorted(map(str, own)) == sorted(now)
    return own == now


def _covered(layers: int, settings: Settings) -> float:
    """How many layers a `num_layers` means, of those that the model has if that is known."""
    folder = model_files.find(settings.model, "model")
    facts = model_files.read_config(folder) if folder else None
    shape = model_files.read_shape(facts) if facts else None
    most = shape.layers if shape else math.inf
    return most if layers < 0 else min(layers, most)


def _yaml(own: Any) -> str:
    """A value as a config file writes it, short and harmless to print."""
    text = json.dumps(own, default=str)
    text = text[1:-1] if isinstance(own, str) else "empty" if own is None else text
    return text if len(text) <= 80 else text[:77] + "..."
