"""The command `export`: what a run trained, in a new folder for another program."""

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.errors import UserError
from engine.model import arrays
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text
from engine.runs.folder import Run
from engine.settings.schema import Keep
from engine.train.results import (
    adapted_keys,
    fuse_run,
    new_folder,
    readers,
    tell_of,
    weights_to_leave,
)

__all__ = ["export", "readers"]


def export(
    run: Run,
    to: Path,
    *,
    fuse: bool,
    keep: Keep | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write a run's adapters, or with `fuse` its model, into the new folder `to`; return it.

    Args:
        keep: of the best or of the last step; by default as the run's settings say.
        say: told what a person should know of it.

    Raises:
        UserError: the run has no trained weights, or none that are better than the start, or `to`
            has something in it.
        StorageError: `to` cannot be written; nothing is left of it.
    """
    if run.state().get("status") == "untrained":
        say(f"{run.name!r} learned nothing: this is the model as it was at the start")
    if fuse:
        return fuse_run(run, to, keep=keep, say=say)
    weights = weights_to_leave(run, keep)
    try:
        config = config_text(run.known_settings()[0], adapted_keys(arrays.load(weights.file)))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{weights.file} is no safetensors file: it is damaged") from error
    with new_folder(to) as folder:
        shutil.copyfile(weights.file, folder / WEIGHTS)
        (folder / ADAPTER_CONFIG).write_text(config, encoding="utf-8")
    tell_of(weights, to, say)
    return to
