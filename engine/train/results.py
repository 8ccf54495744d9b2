"""What a run leaves for other programs: adapters as mlx-lm reads them, and a model of its own."""

import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import mlx.nn as nn

from engine.errors import UserError
from engine.model import arrays, fuse
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text
from engine.model.adapters import adapter_key
from engine.runs import durable
from engine.runs.folder import ADAPTERS, Run
from engine.runs.run_names import safe_name
from engine.settings.schema import Quantization, Settings


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
        durable.write_file(folder / ADAPTER_CONFIG, config_text(settings, adapted_keys(weights)))
    except (OSError, RuntimeError) as error:
        cause = durable.storage_cause(error, folder)
        temporary.unlink(missing_ok=True)
        if cause:
            raise durable.StorageError(folder / WEIGHTS, cause) from error
        raise


def adapted_keys(weights: Iterable[str]) -> list[str] | None:
    """The keys of the modules that have adapters, from the names of their weights: mlx-lm has to
    know them, since some modules may have been left without. None where there are no adapters."""
    adapted = {name.partition(".lora_a")[0] for name in weights if ".lora_a" in name}
    return sorted(set(map(adapter_key, adapted))) or None


def fuse_run(
    run: Run,
    to: Path,
    *,
    dequantize: bool | None = None,
    quantization: Quantization | None = None,
    replace: bool = False,
    beside: Callable[[Path], None] = lambda folder: None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the trained model as a folder that mlx-lm and transformers load; return `to`.

    Args:
        dequantize: in full precision, which every program reads, even where the run trained on
            quantised weights; by default as the run's `fuse_dequantize` says.
        quantization: quantised in this way, whatever the run trained on.
        replace: take the place of a folder that is there already.
        beside: given the folder to write more into before it is moved into place.
        say: told how trained layers of a model that stays quantised are kept.

    Raises:
        UserError: the run or its model cannot be read, or `to` has something in it.
        StorageError: `to` cannot be written; it is as it was.
    """
    settings, _ = run.known_settings()
    weights = trained_weights(run)
    if quantization:
        settings = settings.model_copy(update={"quantization": quantization})
        dequantize = False
    elif dequantize is None:
        dequantize = settings.fuse_dequantize
    with new_folder(to, replace=replace, private=to.parent == run.path) as folder:
        repacked = fuse.fuse(settings, weights, folder, dequantize=dequantize)
        beside(folder)
    if repacked:
        say(f"the fused model in {to}: {repacked}")
    return to


def readers(run: Run, folder: Path) -> str:
    """Who can read a fused model of this run, in a sentence."""
    return fuse.readers(run.known_settings()[0].model, folder)


# -- LM Studio -----------------------------------------------------------------------------------


def publish_to_lm_studio(model: Path, name: str) -> Path:
    """Copy a fused model to where LM Studio looks for models; return the folder.

    `name` is `publisher/model`, or `model` alone. An earlier model of that name is replaced.

    Raises:
        StorageError: the folder cannot be written.
    """
    publisher, _, title = name.rpartition("/")
    to = _lm_studio_models() / safe_name(publisher or "lora-studio") / safe_name(title)
    with new_folder(to, replace=True) as folder:
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


def new_folder(
    to: Path, *, replace: bool = False, private: bool = False
) -> contextlib.AbstractContextManager[Path]:
    """A folder to write into that becomes `to` when everything in it is on the disk; of a link,
    what it leads to."""
    to = to.expanduser().resolve()
    if not replace and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is there already: choose a new folder, or empty it first")
    return durable.new_folder(to, private=private)
