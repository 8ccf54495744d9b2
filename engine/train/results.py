"""What a run leaves for other programs: adapters as mlx-lm reads them, and a model of its own."""

import contextlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import mlx.nn as nn

from engine.data_folder import at_home
from engine.errors import UserError
from engine.json_number import count
from engine.model import arrays, fuse
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text
from engine.model.adapters import adapter_key
from engine.runs import durable
from engine.runs.checkpoints import Best, checkpoint_damage
from engine.runs.folder import ADAPTERS, CHECKPOINTS, Run
from engine.runs.run_names import safe_name
from engine.settings.schema import Settings
from engine.settings.sections.fine_tune import Quantization
from engine.settings.sections.output import Keep


@dataclass(frozen=True, slots=True)
class TrainedWeights:
    """A file of weights that a run has trained, and which: `step` is None where nothing tells."""

    file: Path
    step: int | None
    best: Best | None  # where the step is the best of the run
    note: str | None = None  # why it is not what was asked for, a sentence

    @property
    def name(self) -> str:
        """The same in three words, for a line of a screen."""
        which = "best" if self.best else "last"
        return f"{which} step" if self.step is None else f"{which} step {self.step:,}"

    @property
    def in_words(self) -> str:
        """Which weights these are, for a sentence."""
        if self.best:
            return f"step {self.best.step:,}, the best by its win rate ({self.best.win_rate:.0%})"
        return "the last step" if self.step is None else f"step {self.step:,}, the last"


def trained_weights(run: Run, keep: Keep | None = None) -> TrainedWeights:
    """The weights of the best step of a run or of its last; by default as its settings say. Where
    no step is better than the start the last are given, with a note.

    Raises:
        UserError: it has none yet.
    """
    if keep is None:
        keep = run.known_settings()[0].keep
    best = run.best() if keep == "best" else None
    note = None
    if best and best.is_start:
        note = f"no step of {run.name!r} was better than the start by its held-out win rate"
    elif best:
        folder = run.path / CHECKPOINTS / f"{best.step:07d}"
        if not checkpoint_damage(folder):
            return TrainedWeights(folder / WEIGHTS, best.step, best)
        note = f"the checkpoint of step {best.step:,}, the best, is gone or damaged"
    checkpoint = run.latest_checkpoint()
    if checkpoint:
        return TrainedWeights(checkpoint / WEIGHTS, int(checkpoint.name), None, note)
    if (file := run.path / ADAPTERS / WEIGHTS).is_file():
        return TrainedWeights(file, count(run.state().get("step")), None, note)
    raise UserError(f"the run {run.name!r} has no trained weights yet: let it save a checkpoint")


def weights_to_leave(run: Run, keep: Keep | None = None) -> TrainedWeights:
    """`trained_weights` for other programs, for which the start is nothing to keep.

    Raises:
        UserError: it has none yet, or none that is better than the start.
    """
    weights = trained_weights(run, keep)
    best = run.best()
    if weights.note and best and best.is_start:
        raise UserError(f"{weights.note}; --keep last takes the last all the same")
    return weights


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
    keep: Keep | None = None,
    dequantize: bool | None = None,
    quantization: Quantization | None = None,
    replace: bool = False,
    beside: Callable[[Path, TrainedWeights], None] = lambda folder, weights: None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write the trained model as a folder that mlx-lm and transformers load; return `to`.

    Args:
        keep: the best or the last step; by default as the run's settings say.
        dequantize: in full precision, which every program reads, even where the run trained on
            quantised weights; by default as the run's `fuse_dequantize` says.
        quantization: quantised in this way, whatever the run trained on.
        replace: take the place of a folder that is there already.
        beside: given the folder to write more into before it is moved into place, and which
            weights are in it.
        say: told which step it is of, and how trained layers of a model that stays quantised are
            kept.

    Raises:
        UserError: the run or its model cannot be read, or `to` has something in it.
        StorageError: `to` cannot be written; it is as it was.
    """
    settings, _ = run.known_settings()
    weights = weights_to_leave(run, keep)
    if quantization:
        settings = settings.model_copy(update={"quantization": quantization})
        dequantize = False
    elif dequantize is None:
        dequantize = settings.fuse_dequantize
    with new_folder(to, replace=replace, private=to.parent == run.path) as folder:
        repacked = fuse.fuse(settings, weights.file, folder, dequantize=dequantize)
        beside(folder, weights)
    if repacked:
        say(f"the fused model in {to}: {repacked}")
    tell_of(weights, to, say)
    return to


def tell_of(weights: TrainedWeights, to: Path, say: Callable[[str], None]) -> None:
    """Say which step's weights were written."""
    if weights.note:
        say(weights.note)
    say(f"{to} has the weights of {weights.in_words}")


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
    to = at_home(to).resolve()
    if not replace and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} is there already: choose a new folder, or empty it first")
    return durable.new_folder(to, private=private)
