"""The command `export`: what a run trained, in a new folder for another program."""

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.errors import UserError
from engine.model import arrays
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text
from engine.runs.folder import Run
from engine.train.results import adapted_keys, fuse_run, new_folder, readers, trained_weights

__all__ = ["export", "readers"]


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
        config = config_text(run.known_settings()[0], adapted_keys(arrays.load(weights)))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{weights} is no safetensors file: it is damaged") from error
    with new_folder(to) as folder:
        shutil.copyfile(weights, folder / WEIGHTS)
        (folder / ADAPTER_CONFIG).write_text(config, encoding="utf-8")
    return to
