"""Optimizers and learning-rate schedules, as the settings name them.

The optimizers are MLX's own, with their own defaults. Schedules count optimizer updates.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.optimizers as opt
from mlx.optimizers import schedulers
from mlx_lm.tuner.utils import build_schedule

from engine.errors import UserError
from engine.settings.schema import Settings
from engine.settings.sections.training import Optimizer

OPTIMIZERS: dict[Optimizer, Callable[..., opt.Optimizer]] = {
    "sgd": opt.SGD,
    "rmsprop": opt.RMSprop,
    "adagrad": opt.Adagrad,
    "adadelta": opt.AdaDelta,
    "adam": opt.Adam,
    "adamw": opt.AdamW,
    "adamax": opt.Adamax,
    "lion": opt.Lion,
    "adafactor": opt.Adafactor,
    "muon": opt.Muon,
}
# Adafactor would otherwise follow a rate of its own and ignore learning_rate.
DEFAULT_ARGUMENTS: dict[Optimizer, dict[str, Any]] = {"adafactor": {"relative_step": False}}
# Step decay falls in this many equal ratios, or at every update of fewer.
DECAY_STEPS = 10

Rate = float | Callable[[mx.array], mx.array]


def build_optimizer(settings: Settings, updates: int) -> opt.Optimizer:
    """The optimizer of a run of `updates` optimizer updates.

    Raises:
        UserError: `optimizer_config` or the schedule's arguments do not fit.
    """
    name = settings.optimizer
    arguments = DEFAULT_ARGUMENTS.get(name, {}) | settings.optimizer_config.get(name, {})
    try:
        return OPTIMIZERS[name](learning_rate=learning_rate(settings, updates), **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer_config.{name}: {error}.") from error


def learning_rate(settings: Settings, updates: int) -> Rate:
    """The constant rate, or the schedule over `updates` optimizer updates: up from
    `warmup_init` during the warmup, then down to `final_rate`, where it stays.

    Raises:
        UserError: the schedule's own arguments do not fit it.
    """
    schedule, peak = settings.lr_schedule, settings.learning_rate
    warmup = min(schedule.warmup_steps, max(updates - 1, 0))
    if schedule.arguments:
        form = {"name": schedule.name, "arguments": schedule.arguments, "warmup": warmup}
        try:
            return build_schedule(form | {"warmup_init": schedule.warmup_init})
        except TypeError as error:
            raise UserError(f"lr_schedule.arguments: {error}.") from error
    if schedule.name == "constant":
        if not warmup:
            return peak
        after: Callable[[mx.array], mx.array] = lambda step: mx.array(peak)  # noqa: E731
    else:
        after = _decay(
            schedule.name,
            peak,
            schedule.final_rate,
            max(1, round(schedule.decay_fraction * (updates - warmup))),
        )
    if not warmup:
        return after
    up = schedulers.linear_schedule(schedule.warmup_init, peak, warmup)
    return schedulers.join_schedules([up, after], [warmup])


def _decay(name: str, peak: float, final: float, steps: int) -> Callable[[mx.array], mx.array]:
    """From `peak` to `final` in `steps`, then constant."""
    if name == "cosine_decay":
        return schedulers.cosine_decay(peak, steps, final)
    if name == "linear_schedule":
        return schedulers.linear_schedule(peak, final, steps)
    # A ratio cannot reach zero: such a decay ends a thousandth of the way up.
    floor = final or peak / 1000
    if name == "exponential_decay":
        fall = schedulers.exponential_decay(peak, (floor / peak) ** (1 / steps))
    else:
        falls = min(DECAY_STEPS, steps)
        fall = schedulers.step_decay(peak, (floor / peak) ** (1 / falls), steps // falls)
    bound = mx.maximum if floor < peak else mx.minimum
    return lambda step: bound(fall(step), floor)
