"""What a run leaves for other programs: adapters as mlx-lm reads them, and a model of its own.

A fused model holds exactly what was trained: the frozen weights as the run saw them, quantised
or not, with the adapters added in float32, in the precision of the model's own files.
"""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.utils import save_config, save_model

from engine.errors import UserError
from engine.model import arrays, load, packing
from engine.model import config as model_config
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text
from engine.model.adapters import adapter_key, add_adapters, load_adapter_file
from engine.model.files import read_config, read_tensors
from engine.model.locate import locate
from engine.model.quantizations import QUANTIZATIONS
from engine.runs import durable
from engine.runs.archive import safe_name
from engine.runs.folder import ADAPTERS, Run
from engine.settings.schema import Settings

COPIED = (".json", ".jinja", ".txt", ".model", ".tiktoken")  # a tokenizer, whatever it consists of
NOT_NEEDED = ("lm_head.weight", "rotary_emb.inv_freq")  # tied, or computed
NOT_COPIED = ("config.json", "model.safetensors.index.json", "quantization_config.json")


def export(
    run: Run, to: Path, *, fuse: bool, say: Callable[[str], None] = lambda text: None
) -> Path:
    """Write a run's adapters, or with `fuse` its model, into the new folder `to`; return it.
    `say` is told what a person should know of it.

    Raises:
        UserError: the run has no trained weights, or `to` has something in it.
        StorageError: `to` cannot be written; nothing is left of it.
    """
    if run.state().get("status") == "untrained":
        say(f"{run.name!r} learned nothing: this is the model as it was at the start")
    if fuse:
        return fuse_run(run, to, say=say)
    weights = trained_weights(run)
    try:
        config = config_text(run.known_settings()[0], _keys(arrays.load(weights)))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{weights} is no safetensors file: it is damaged") from error
    with _new_folder(to) as folder:
        shutil.copyfile(weights, folder / WEIGHTS)
        (folder / ADAPTER_CONFIG).write_text(config, encoding="utf-8")
    return to


def trained_weights(run: Run) -> Path:
    """The file with the newest weights that the run has trained.

    Raises:
        UserError: it has none yet.
    """
    checkpoint = run.latest_checkpoint()
    for folder in (checkpoint, run.path / ADAPTERS):
        if folder and (folder / WEIGHTS).is_file():
            return folder / WEIGHTS
    raise UserError(f"the run {run.name!r} has no trained weights yet: let it save a checkpoint")


def write_adapters(model: nn.Module, settings: Settings, folder: Path) -> None:
    """Write the trained weights of `model` as mlx-lm's `--adapter-path` takes them.

    Each file is replaced in one step.

    Raises:
        StorageError: the files are as they were.
    """
    temporary = folder / f".{WEIGHTS}.tmp.safetensors"
    try:
        folder.mkdir(exist_ok=True, mode=durable.PRIVATE_FOLDER)
        weights = arrays.flat(model.trainable_parameters())
        arrays.save(temporary, weights)
        durable.make_private(temporary)
        durable.sync_file(temporary)
        temporary.replace(folder / WEIGHTS)
        durable.write_file(folder / ADAPTER_CONFIG, config_text(settings, _keys(weights)))
    except (OSError, RuntimeError) as error:
        cause = durable.storage_cause(error, folder)
        temporary.unlink(missing_ok=True)
        if cause:
            raise durable.StorageError(folder / WEIGHTS, cause) from error
        raise


def _keys(weights: Iterable[str]) -> list[str] | None:
    """The keys of the modules that have adapters, from the names of their weights: mlx-lm has to
    know them, since some modules may have been left without. None where there are no adapters."""
    adapted = {name.partition(".lora_a")[0] for name in weights if ".lora_a" in name}
    return sorted(set(map(adapter_key, adapted))) or None


# -- fusing --------------------------------------------------------------------------------------


def fuse_run(
    run: Run,
    to: Path,
    *,
    dequantize: bool | None = None,
    replace: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the trained model as a folder that mlx-lm and transformers load; return `to`.

    Args:
        dequantize: in full precision, which every program reads, even where the run trained on
            quantised weights; by default as the run's `fuse_dequantize` says.
        replace: take the place of a folder that is there already.
        say: told how trained layers of a model that stays quantised are kept.

    Raises:
        UserError: the run or its model cannot be read, or `to` has something in it.
        StorageError: `to` cannot be written; it is as it was.
    """
    settings, _ = run.known_settings()
    weights = trained_weights(run)
    source = locate(settings.model, "model")
    if dequantize is None:
        dequantize = settings.fuse_dequantize
    with _new_folder(to, replace=replace, private=to.parent == run.path) as folder:
        model, config, repacked = _fused(source, weights, settings, dequantize)
        save_model(folder, model, donate_model=True)
        save_config(config, folder / "config.json")
        _copy_tokenizer(source, folder, code=settings.trust_remote_code)
    if repacked:
        say(f"the fused model in {to}: {packing.in_words(repacked)}")
    return to


def readers(run: Run, folder: Path) -> str:
    """Who can read a fused model of this run, in a sentence.

    mlx-lm renames, joins and splits the tensors of some architectures, and leaves out parts for
    images and sound; transformers reads what has the names and shapes of the model's own files.
    """
    source = locate(run.known_settings()[0].model, "model")
    before, after = (
        {tensor.name: tensor.shape for tensor in read_tensors(each) or ()}
        for each in (source, folder.expanduser())
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


def _fused(
    source: Path, weights: Path, settings: Settings, dequantize: bool
) -> tuple[nn.Module, dict[str, Any], list[packing.Repacked]]:
    """The trained model, its config, and how trained layers were quantised again, unless
    `dequantize`. Arrays are computed one by one, so that the model never stands in memory as a
    whole in float32."""
    model, _, config = model_config.load_folder(
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
    return model, config, repacked


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


# -- LM Studio -----------------------------------------------------------------------------------


def publish_to_lm_studio(model: Path, name: str) -> Path:
    """Copy a fused model to where LM Studio looks for models; return the folder.

    `name` is `publisher/model`, or `model` alone. An earlier model of that name is replaced.

    Raises:
        StorageError: the folder cannot be written.
    """
    publisher, _, title = name.rpartition("/")
    to = _lm_studio_models() / safe_name(publisher or "lora-studio") / safe_name(title)
    with _new_folder(to, replace=True) as folder:
        for file in filter(Path.is_file, model.iterdir()):
            shutil.copyfile(file, folder / file.name)
    return to


def _lm_studio_models() -> Path:
    """LM Studio's models folder; it keeps the place of its own folder in a file in the home."""
    home = Path.home() / ".lmstudio"
    with contextlib.suppress(OSError, ValueError):
        pointer = (Path.home() / ".lmstudio-home-pointer").read_text(encoding="utf-8").strip()
        home = Path(pointer) if pointer else home
    return home / "models"


# -- folders -------------------------------------------------------------------------------------


def _new_folder(
    to: Path, *, replace: bool = False, private: bool = False
) -> contextlib.AbstractContextManager[Path]:
    """A folder to write into that becomes `to` when everything in it is on the disk; of a link,
    what it leads to."""
    to = to.expanduser().resolve()
    if not replace and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is there already: choose a new folder, or empty it first")
    return durable.new_folder(to, private=private)
