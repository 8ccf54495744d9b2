"""A model that stands alone: the model that was trained, with its trained weights part of it.

It holds exactly what was trained: the frozen weights as the run saw them, quantised or not, with
the adapters added in float32, in the precision of the model's own files.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.utils import save_config, save_model

from engine.data_folder import at_home
from engine.model import arrays, load, packing
from engine.model import config as model_config
from engine.model.adapters import add_adapters, load_adapter_file
from engine.model.files import read_config, read_tensors
from engine.model.locate import locate
from engine.model.quantizations import QUANTIZATIONS
from engine.settings.schema import Settings

COPIED = (".json", ".jinja", ".txt", ".model", ".tiktoken")  # a tokenizer, whatever it consists of
NOT_NEEDED = ("lm_head.weight", "rotary_emb.inv_freq")  # tied, or computed
NOT_COPIED = ("config.json", "model.safetensors.index.json", "quantization_config.json")


def fuse(settings: Settings, weights: Path, folder: Path, *, dequantize: bool) -> str | None:
    """Write the model of some settings with its trained weights into `folder`, as mlx-lm and
    transformers load it; returns how trained layers of a model that stays quantised are kept.

    Args:
        weights: the file of trained weights, adapters or whole.
        dequantize: in full precision, even where the run trained on quantised weights.

    Raises:
        UserError: the model cannot be read, or the weights do not fit it.
    """
    source = locate(settings.model, "model")
    model, _, config, repacked = trained_model(source, weights, settings, dequantize=dequantize)
    save_model(folder, model, donate_model=True)
    save_config(config, folder / "config.json")
    _copy_tokenizer(source, folder, code=settings.trust_remote_code)
    return packing.in_words(repacked) if repacked else None


def readers(model: str, folder: Path) -> str:
    """Who can read the model that `model` was fused into `folder` as, in a sentence.

    mlx-lm renames, joins and splits the tensors of some architectures, and leaves out parts for
    images and sound; transformers reads what has the names and shapes of the model's own files.
    """
    source = locate(model, "model")
    before, after = (
        {tensor.name: tensor.shape for tensor in read_tensors(each) or ()}
        for each in (source, at_home(folder))
    )
    packed = {name.removesuffix(".scales") for name in before if name.endswith(".scales")}
    left_out = {name for name in before if name.endswith((*NOT_NEEDED, ".scales", ".biases"))}
    same = after.keys() == before.keys() - (left_out - after.keys()) and all(
        shape == before[name] or name.removesuffix(".weight") in packed
        for name, shape in after.items()
    )
    config = read_config(folder) or {}
    if same and not {"text_config", "quantization"} & config.keys():
        return "mlx-lm reads it, and transformers where it reads the model that was trained"
    return "mlx-lm only: transformers has other names or shapes for these tensors"


def trained_model(
    source: Path, weights: Path, settings: Settings, *, dequantize: bool
) -> tuple[nn.Module, Any, dict[str, Any], list[packing.Repacked]]:
    """The trained model, its tokenizer and config, and how trained layers were quantised again,
    unless `dequantize`. Arrays are computed one by one, so that the model never stands in memory as
    a whole in float32.

    Args:
        source: the folder of the model that was trained.
        weights: the file of trained weights, adapters or whole.

    Raises:
        UserError: the weights do not fit the model.
    """
    model, tokenizer, config = model_config.load_folder(
        source, trust_remote_code=settings.trust_remote_code
    )
    if settings.quantization != "none" and "quantization" not in config:
        load.quantize(model, settings.quantization)
        config["quantization"] = dict(QUANTIZATIONS[settings.quantization])
    packed = {name: each for name, each in model.named_modules() if hasattr(each, "bits")}
    dtypes = {
        name: array.dtype
        for name, array in arrays.flat(model.parameters()).items()
        if mx.issubdtype(array.dtype, mx.floating)
    }
    usual = Counter(dtypes.values()).most_common(1)[0][0]
    packing.unpack(model, mx.float32)
    add_adapters(model, settings)
    load_adapter_file(model, weights, key="adapters")
    trained = {
        name: module.fuse() for name, module in model.named_modules() if hasattr(module, "fuse")
    }
    repacked: list[packing.Repacked] = []
    if dequantize:
        packed.clear()  # which lets go of the weights
        config.pop("quantization", None)
        config.pop("quantization_config", None)
    for name in sorted(packed.keys() & trained.keys()):
        dtype = dtypes[f"{name}.weight"] = dtypes.get(f"{name}.scales", usual)
        each = packing.repacked(trained.pop(name), packed.pop(name), dtype)
        model.update_modules(tree_unflatten([(name, each.layer)]))
        config["quantization"][name] = each.form or False
        repacked.append(each)
    model.update_modules(tree_unflatten([*trained.items(), *packed.items()]))
    _cast(model, {name: dtypes.get(name, usual) for name in arrays.flat(model.parameters())})
    for array in arrays.flat(model.parameters()).values():
        mx.eval(array)
    return model, tokenizer, config, repacked


def _cast(model: nn.Module, dtypes: dict[str, mx.Dtype]) -> None:
    """Hold the named floating-point arrays in these types."""
    cast = {
        name: array.astype(dtypes[name])
        for name, array in arrays.flat(model.parameters()).items()
        if name in dtypes and mx.issubdtype(array.dtype, mx.floating)
    }
    model.update(arrays.tree(cast))


def _copy_tokenizer(source: Path, folder: Path, *, code: bool) -> None:
    """Copy what stands beside the weights; code only for a run that was allowed to run it."""
    suffixes = (*COPIED, ".py") if code else COPIED
    for file in source.iterdir():
        if file.suffix in suffixes and file.name not in NOT_COPIED and file.is_file():
            shutil.copyfile(file, folder / file.name)
