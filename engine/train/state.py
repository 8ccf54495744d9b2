"""Exact save and restore of a run's state.

A checkpoint holds what the next step depends on: the trained weights, the optimizer, gradients
that wait for an update, and the loop's own state. There is no random state, because every
chance draw is seeded by its purpose and step (`sampling.stream_seed`).
"""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.errors import UserError
from engine.model import arrays
from engine.model.adapter_files import WEIGHTS
from engine.model.adapters import load_adapter_file
from engine.train.update import Update

OPTIMIZER, GRADIENTS, STATE = (
    "optimizer.safetensors",
    "gradients.safetensors",
    "state.json",
)


def save(folder: Path, update: Update, state: dict[str, Any]) -> None:
    """Write a checkpoint's files into `folder`. `state` is the loop's, plain JSON values."""
    arrays.save(folder / WEIGHTS, arrays.flat(update.policy.model.trainable_parameters()))
    arrays.save(folder / OPTIMIZER, arrays.flat(update.optimizer.state))
    if update.gradients is not None:
        arrays.save(folder / GRADIENTS, update.gradients)
    counts = {"pairs": update.gradient_pairs, "steps": update.steps_since_update}
    (folder / STATE).write_text(json.dumps({**state, "accumulated": counts}), encoding="utf-8")


def restore(folder: Path, update: Update) -> dict[str, Any]:
    """Load a checkpoint into the policy and its optimizer; returns the loop's state.

    Raises:
        UserError: the checkpoint does not fit the run's settings.
    """
    load_adapter_file(update.policy.model, folder / WEIGHTS, key="checkpoint")
    try:
        update.optimizer.state = arrays.tree(arrays.load(folder / OPTIMIZER))
        gradients = folder / GRADIENTS
        update.gradients = arrays.load(gradients) if gradients.exists() else None
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        update.gradient_pairs = state["accumulated"]["pairs"]
        update.steps_since_update = state["accumulated"]["steps"]
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"checkpoint: {folder} cannot be read: {error}") from error
    mx.eval(update.policy.model.trainable_parameters(), update.optimizer.state)
    return state
