"""Exact save and restore of a run's state.

A checkpoint holds what the next step depends on: the trained weights, the optimizer, gradients
that wait for an update, and the loop's own state. There is no random state, because every
chance draw is seeded by its purpose and step (`sampling.stream_seed`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.data.order import PromptOrder
from engine.data.pairs import Pair
from engine.errors import UserError
from engine.model import arrays
from engine.model.adapter_files import WEIGHTS
from engine.model.adapters import load_adapter_file
from engine.runs.folder import SAMPLED
from engine.train.best import BestSoFar
from engine.train.metrics import Averages
from engine.train.update import Update
from engine.train.watch.collapse_watch import CollapseWatch
from engine.train.watch.health import Health
from engine.train.watch.judge_watch import JudgeWatch

OPTIMIZER, GRADIENTS, STATE = (
    "optimizer.safetensors",
    "gradients.safetensors",
    "state.json",
)
# What a line that something else has changed raises when it is read.
DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


@dataclass
class TrainingState:
    """What the loop itself remembers from step to step."""

    order: PromptOrder
    step: int = 0  # batches learned from
    sampled: int = 0  # batches sampled
    evaluated: int = -1  # the last step that was evaluated
    seconds: float = 0.0  # of training, without pauses
    elapsed: float = 0.0  # seconds in all: evaluations, checkpoints and the end too, no pauses
    averages: Averages = field(default_factory=Averages)  # since the last report
    health: Health = field(default_factory=Health)
    judge_watch: JudgeWatch = field(default_factory=JudgeWatch)
    best: BestSoFar = field(default_factory=BestSoFar)
    ended: str | None = None  # why the run ended before its last step, a sentence
    collapse_watch: CollapseWatch = field(default_factory=CollapseWatch)
    # What of each suite of the guard was right at the start; empty until it is first needed.
    could: dict[str, list[bool]] = field(default_factory=dict)
    guarded: int = -1  # the last step that the guard looked at
    given_up: Sequence[Pair] = ()  # a batch whose step was begun and given up

    def to_json(self, pending: Iterable[Sequence[Pair]]) -> dict[str, Any]:
        """Plain JSON values, with the batches that wait to be judged or learned from, that
        of a step that was given up first."""
        return {
            "step": self.step,
            "sampled": self.sampled,
            "evaluated": self.evaluated,
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "order": self.order.state(),
            "means": self.averages.state(),
            "health": self.health.state(),
            "judge_watch": self.judge_watch.state(),
            "best": self.best.state(),
            "ended": self.ended,
            "collapse_watch": self.collapse_watch.state(),
            "could": self.could,
            "guarded": self.guarded,
            "pending": [
                [pair.to_json() for pair in batch] for batch in (self.given_up, *pending) if batch
            ],
        }

    def restore(self, data: Mapping[str, Any]) -> list[list[Pair]]:
        """Become what `to_json` wrote; returns the batches that waited."""
        self.step = data["step"]
        self.sampled = data["sampled"]
        self.evaluated = data["evaluated"]
        self.seconds = data["seconds"]
        self.elapsed = data.get("elapsed", self.seconds)  # older checkpoints do not tell
        self.order.restore(data["order"])
        self.averages = Averages(data["means"])
        # Older checkpoints do not tell; their runs are taken to have learned.
        self.health = Health(data.get("health", {"learned_pairs": self.step}))
        # Nor do they tell of their first pairs, and later ones measure neither a judge nor a start.
        self.judge_watch = JudgeWatch(data.get("judge_watch", {"over": True}))
        self.best = BestSoFar(data.get("best"))
        # Of older checkpoints it is the start before anything else was measured.
        self.health.best_step = best.step if (best := self.best.best) else None
        self.ended = data.get("ended")
        self.collapse_watch = CollapseWatch(data.get("collapse_watch", {"over": True}))
        self.could = data.get("could", {})
        self.guarded = data.get("guarded", self.step)
        return [[Pair.from_json(pair) for pair in batch] for batch in data["pending"]]

    def go_on(self) -> None:
        """Somebody wants the run to go on from here, whatever it ended for."""
        self.ended, self.best.in_vain = None, 0

    def add_samples(
        self,
        pending: Iterable[list[Pair]],
        lines: Iterable[Mapping[str, Any]],
        warn: Callable[[str], None],
    ) -> list[list[Pair]]:
        """Add what a person was asked since the checkpoint, and is not asked again, by the lines
        of the run's file; returns all batches that wait, oldest first."""
        waiting = {batch[0].step: batch for batch in pending}
        for line in lines:
            try:
                step, pairs = int(line["step"]), [Pair.from_json(pair) for pair in line["pairs"]]
                if step > self.sampled:
                    self.order.restore(line["order"])
                    self.sampled = step
                if step > self.step:
                    waiting.setdefault(step, pairs)
            except DAMAGE as error:
                warn(f"{SAMPLED}: a damaged line is left out ({error!r})")
        return [batch for _, batch in sorted(waiting.items())]


def save(folder: Path, update: Update, state: dict[str, Any]) -> None:
    """Write a checkpoint's files into `folder`. `state` is the loop's, plain JSON values."""
    arrays.save(folder / WEIGHTS, arrays.flat(update.policy.model.trainable_parameters()))
    arrays.save(folder / OPTIMIZER, update.optimizer.state)
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
        rate = update.optimizer.learning_rate
        optimizer = arrays.load(folder / OPTIMIZER)
        schedule = update.settings.lr_schedule
        if schedule.name == "constant" and not schedule.warmup_steps:
            # As the settings have it now, which a person may have changed to go on otherwise.
            optimizer["learning_rate"] = rate
        update.optimizer.state = optimizer
        gradients = folder / GRADIENTS
        update.gradients = arrays.load(gradients) if gradients.exists() else None
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        update.gradient_pairs = state["accumulated"]["pairs"]
        update.steps_since_update = state["accumulated"]["steps"]
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"checkpoint: {folder} cannot be read: {error}") from error
    mx.eval(update.policy.model.trainable_parameters(), update.optimizer.state)
    return state
