"""What MLX's optimizers and schedules take besides the learning rate."""

from collections.abc import Iterator
from typing import Any

from engine.settings.schema import Settings

# The arguments that MLX's optimizers take besides the learning rate.
OPTIMIZER_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "weight_decay", "dampening", "nesterov"),
    "rmsprop": ("alpha", "eps"),
    "adagrad": ("eps",),
    "adadelta": ("rho", "eps"),
    "adam": ("betas", "eps", "bias_correction"),
    "adamw": ("betas", "eps", "weight_decay", "bias_correction"),
    "adamax": ("betas", "eps"),
    "lion": ("betas", "weight_decay"),
    "adafactor": (
        "eps",
        "clip_threshold",
        "decay_rate",
        "beta_1",
        "weight_decay",
        "scale_parameter",
        "relative_step",
        "warmup_init",
    ),
    "muon": ("momentum", "weight_decay", "nesterov", "ns_steps"),
}

_SWITCHES = {"nesterov", "bias_correction", "scale_parameter", "relative_step", "warmup_init"}
_PAIRS = {("adafactor", "eps"), *((name, "betas") for name in OPTIMIZER_ARGUMENTS)}

# How many arguments each of MLX's schedules takes: at least, at most.
SCHEDULE_ARGUMENTS = {
    "cosine_decay": (2, 3),
    "linear_schedule": (3, 3),
    "exponential_decay": (2, 2),
    "step_decay": (3, 3),
}
# Which of them, from 0, is a number of updates.
SCHEDULE_STEPS = {"cosine_decay": 1, "linear_schedule": 2, "step_decay": 2}


def optimizer_problems(settings: Settings) -> Iterator[str]:
    """What is wrong with `optimizer_config`, a sentence each that follows its name."""
    for name, arguments in settings.optimizer_config.items():
        known = OPTIMIZER_ARGUMENTS.get(name)
        if known is None:
            yield f"there is no optimizer {name!r}; they are {', '.join(OPTIMIZER_ARGUMENTS)}"
            continue
        for argument, value in arguments.items():
            if argument not in known:
                yield f"{name} has no argument {argument!r}; it takes {', '.join(known)}"
            elif (wanted := _wanted(name, argument, value)) is not None:
                yield f"{argument} of {name} is {ascii(value)[:60]}, but has to be {wanted}"


def _wanted(name: str, argument: str, value: Any) -> str | None:
    """What a value has to be, in words; None where it is that."""
    if argument in _SWITCHES:
        return None if isinstance(value, bool) else "true or false"
    if (name, argument) in _PAIRS:
        two = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        return None if two else "a list of two numbers"
    if argument == "ns_steps":
        return None if isinstance(value, int) and _is_number(value) else "a whole number"
    return None if _is_number(value) else "a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
