"""What is known of learning rates before a run: where one worked, and where one broke the text.

The facts are measured (tests/benchmarks/README.md). Of the rates between the one that works and the
one that breaks few were tried, with few losses, so that silence there is no promise. Adaptive
optimizers move each weight by about the rate an update, whatever the gradient's size, so that what
counts for adapters is rate times scale; plain gradient steps can be compared for one model alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engine.data.order import total_steps
from engine.settings.schema import Settings

ADAPTIVE = {"adam", "adamw", "adamax", "lion", "rmsprop", "adagrad", "muon"}
NEAR = 4.0  # factor between the sizes of models within which one tells of the other
# Of what worked, in all updates together: the starter moves by 0.001 nats in ten updates at this
# share of its preset's rate.
STILL = 1 / 16


@dataclass(frozen=True, slots=True)
class Measurement:
    """What runs of a model with adapters have shown. `breaks`: the least rate, at this scale, that
    was seen to break its text; `updates` is how many it took at the rate that works."""

    name: str  # as `model` has it
    model: str  # in a sentence
    parameters: int
    optimizer: str
    scale: float
    works: float
    breaks: float
    updates: int


MEASURED = (
    Measurement("starter", "the starter", 1_526_000, "sgd", 2.0, 0.8, breaks=2.4, updates=80),
    Measurement(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "SmolLM2-135M",
        134_515_000,
        "adamw",
        20.0,
        3e-6,
        breaks=1e-4,
        updates=64,
    ),
)


@dataclass(frozen=True, slots=True)
class RateAdvice:
    """What is to be said of the rate of a run; `warning` where it is not likely to do."""

    text: str
    warning: bool = False


def training_prompts(settings: Settings, count: Mapping[str, int]) -> int | None:
    """Prompts that a run trains on, of the distinct ones of each split (`DataPreview.count`): those
    that it holds out of the training split and those beyond `max_prompts` apart. None where the
    weights of several sources decide.
    """
    if any("weight" in source for source in settings.data_mix):
        return None
    train = count.get("train", 0)
    train = min(train, settings.max_prompts or train)
    if "valid" not in count and settings.measures:
        train -= min(settings.eval_prompts, train // 2)
    return train


def expected_updates(settings: Settings, prompts: int | None = None) -> int | None:
    """Updates of the run's own steps, over so many prompts; None where their number decides and
    is not known."""
    if settings.epochs > 0 and not prompts:
        return None
    return math.ceil(total_steps(settings, prompts or 0) / settings.gradient_accumulation_steps)


def peak_rate(settings: Settings) -> float:
    """The highest learning rate of a run: `lr_schedule.arguments` have it first, where they are
    given, and `learning_rate` has no effect then."""
    schedule = settings.lr_schedule
    if not schedule.arguments:
        return settings.learning_rate
    # A line may rise: from its first argument to its second.
    return max(schedule.arguments[: 2 if schedule.name == "linear_schedule" else 1])


def rate_advice(
    settings: Settings, parameters: int | None, prompts: int | None = None
) -> RateAdvice:
    """What was measured that tells of the rate of a run.

    Args:
        parameters: of the model; None where it is not on this machine.
        prompts: that it trains on; None where that is not known.
    """
    updates = expected_updates(settings, prompts)
    begin = "" if updates is None else f"{updates:,} update{'s' * (updates != 1)} · "
    if parameters is None:  # the package of a preset's model may not be unpacked yet
        parameters = next((e.parameters for e in MEASURED if e.name == settings.model), None)
    if parameters is None:
        return RateAdvice(f"{begin}rates are compared once the model is here")
    if settings.train_type == "full":
        return RateAdvice(f"{begin}no rate of full training was measured")
    fact = min(MEASURED, key=lambda each: _factor(each.parameters, parameters))
    near = _factor(fact.parameters, parameters) <= NEAR
    if not _comparable(fact, settings, near=near):
        return RateAdvice(
            f"{begin}no rate of {settings.optimizer} was measured for {_size(parameters)}: "
            "`lora-studio rates` searches one"
        )
    scale = settings.lora_parameters.scale
    rate = peak_rate(settings)
    strength, worked = rate * scale, fact.works * fact.scale
    here = f"rate {rate:g} x scale {scale:g}"
    known = f"{fact.works:g} x {fact.scale:g} worked for {fact.model} in {fact.updates:,} updates"
    if strength >= fact.breaks * fact.scale * (1 - 1e-9):
        return RateAdvice(
            f"{here} is likely to break the text, as {fact.breaks:g} x {fact.scale:g} did "
            f"{fact.model}'s; {known}",
            warning=True,
        )
    if updates is not None and near and strength * updates < STILL * worked * fact.updates:
        return RateAdvice(
            f"{here} cannot move the model in {updates:,} updates: {known}", warning=True
        )
    return RateAdvice(
        f"{begin}rate x scale: {known}{'' if near else ', and no other size was measured'}"
    )


def _comparable(fact: Measurement, settings: Settings, *, near: bool) -> bool:
    """Whether a rate of the settings can be held against a measured one."""
    if fact.optimizer in ADAPTIVE:
        return settings.optimizer in ADAPTIVE and (near or fact.parameters > 10**8)
    return near and settings.optimizer == fact.optimizer


def _factor(one: int, other: int) -> float:
    return max(one, other) / max(1, min(one, other))


def _size(parameters: int) -> str:
    if parameters >= 10**9:
        return f"{parameters / 1e9:.1f} B parameters"
    return f"{parameters / 1e6:.0f} M parameters"
