"""What is trained of a model, and views of one.

The frozen reference of a run is a view of its policy: a second module tree over the same
arrays, taken before adapters are added. It costs no memory, and stays what it was when the
policy's own arrays are replaced by trained ones.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from engine.errors import UserError
from engine.model import arrays
from engine.settings.schema import Settings


def view(model: nn.Module) -> nn.Module:
    """A second module tree over the same arrays.

    What is later added to or replaced in one tree is not seen in the other.
    """
    shared = {}
    for module in model.modules():
        values = [*arrays.flat(dict(module)).values(), *vars(module).values()]
        shared |= {id(value): value for value in values if isinstance(value, mx.array)}
    return copy.deepcopy(model, shared)


def add_adapters(model: nn.Module, settings: Settings) -> list[str]:
    """Make `model` trainable in place: LoRA or DoRA adapters, or the top layers themselves.

    Adapters start as no change at all. Trained weights are held in float32 whatever the model
    is in, since updates are far smaller than half precision resolves.

    Returns:
        The names, within a layer, of what was left without adapters, because the model does not
        run with them there: some read a part's weights from outside it.

    Raises:
        UserError: the keys or the kind of adapter do not fit this model.
    """
    model.freeze()
    layers: Any = model.layers
    if settings.train_type == "full":
        trained = layers if settings.num_layers < 0 else layers[len(layers) - settings.num_layers :]
        for layer in trained:
            layer.unfreeze()
            layer.apply(lambda array: array.astype(mx.float32))
        return []
    # mlx-lm's DoRA layer takes the width of packed weights to be a multiple of 32 // bits.
    packed: list[Any] = [each for each in model.modules() if isinstance(each, nn.QuantizedLinear)]
    if settings.train_type == "dora" and any(32 % each.bits for each in packed):
        raise UserError(
            "train_type: dora does not fit 6-bit weights; choose lora, or quantization 4-bit or "
            "8-bit."
        )
    before, parts = view(model), dict(model.named_modules())
    _put_adapters(model, settings, settings.lora_parameters.keys)
    adapters = [path for path, module in model.named_modules() if "lora_a" in module]
    left_out = []
    if not _runs_as(before, model):
        for name in sorted(set(map(adapter_key, adapters))):
            trial = view(before)
            _put_adapters(trial, settings, [name])
            if not _runs_as(before, trial):
                left_out.append(name)
        back = [(path, parts[path]) for path in adapters if adapter_key(path) in left_out]
        model.update_modules(tree_unflatten(back))
    if not arrays.flat(model.trainable_parameters()):
        reason = "does not run with adapters on" if left_out else "has no modules named"
        wanted = ", ".join(settings.lora_parameters.keys or left_out)
        raise UserError(f"lora_parameters.keys: {settings.model} {reason} {wanted}.")
    return left_out


def adapter_key(path: str) -> str:
    """How `lora_parameters.keys` names a module of the model: by its name within its layer; one
    outside all layers by its whole path."""
    return re.sub(r"^.*?\.\d+\.", "", path)


def _put_adapters(model: nn.Module, settings: Settings, keys: list[str] | None) -> None:
    """Put adapters on what these keys name, by default on all that can have them."""
    parameters = settings.lora_parameters.model_dump() | {"keys": keys}
    try:
        linear_to_lora_layers(
            model, settings.num_layers, parameters, use_dora=settings.train_type == "dora"
        )
    except ValueError as error:
        raise UserError(f"train_type: {str(error).rstrip('.')}; choose lora.") from error
    model.eval()  # new modules drop out until told otherwise


def _runs_as(model: nn.Module, adapted: nn.Module) -> bool:
    """Whether the model with adapters runs as it does without. Nothing is computed: one that
    does not fails while its graph is built."""
    ids = mx.array([[0, 0]])
    try:
        return adapted(ids).shape == model(ids).shape
    except Exception:  # whatever an unknown model raises
        return False


def trainable_and_frozen(
    model: nn.Module, settings: Settings, start: Path | None = None
) -> tuple[nn.Module, list[str]]:
    """Make `model` trainable in place, from a file of adapters where `start` names one.

    Returns:
        What it starts as, frozen and computed in the same way, so that both give the same
        numbers; and what was left without adapters, as `add_adapters` names it.

    Raises:
        UserError: as `add_adapters` and `load_adapter_file`.
    """
    bare = view(model)
    left_out = add_adapters(model, settings)
    if start:
        load_adapter_file(model, start)
    # What fresh LoRA adds is exactly nothing; fresh DoRA is no change, but rounds in its own way.
    frozen = bare if settings.train_type == "lora" and not start else view(model)
    frozen.freeze()
    return frozen, left_out


@contextmanager
def learning(model: nn.Module, *, drop_out: bool) -> Iterator[None]:
    """Puts the model in training mode while open; in it some layers of mlx-lm compute in another
    way, which has a gradient. Of all dropout only that of adapters is ever on, if `drop_out`.
    """
    model.train()
    modules: list[Any] = model.modules()
    dropouts = {id(each.dropout) for each in modules if drop_out and "lora_a" in each}
    for module in modules:
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            module.train(id(module) in dropouts)
    try:
        yield
    finally:
        model.eval()


def load_adapter_file(model: nn.Module, path: Path, key: str = "resume_adapter_file") -> None:
    """Set trainable weights of `model` from a safetensors file, in the precision that they are
    trained in whatever the file has.

    Raises:
        UserError: it is missing, unreadable, or of another shape of adapters.
    """
    if not path.is_file():
        raise UserError(f"{key}: there is no file {path}.")
    try:
        weights = arrays.load(path)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{key}: {path} is no safetensors file.") from error
    trainable = arrays.flat(model.trainable_parameters())
    for name, array in trainable.items():
        if name not in weights:
            raise UserError(
                f"{key}: {path} has no {name}; its layers, keys or train_type differ from this "
                "run's: set num_layers, lora_parameters.keys and train_type alike."
            )
        if weights[name].shape != array.shape:
            raise UserError(
                f"{key}: {name} in {path} has shape {tuple(weights[name].shape)}, but this run's "
                f"has {tuple(array.shape)}; set lora_parameters.rank alike."
            )
    if unknown := sorted(set(weights) - set(trainable)):
        raise UserError(f"{key}: {path} has {unknown[0]}, which this run does not train.")
    values = [(name, weights[name].astype(array.dtype)) for name, array in trainable.items()]
    model.load_weights(values, strict=False)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable and all parameters. Packed weights count as the numbers that they hold."""
    trainable = sum(array.size for array in arrays.flat(model.trainable_parameters()).values())
    total = sum(
        array.size * 32 // module.bits
        if name == "weight" and hasattr(module, "bits")
        else array.size
        for module in model.modules()
        for name, array in module.items()
        if isinstance(array, mx.array)
    )
    return trainable, total
