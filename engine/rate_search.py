"""A short search of the learning rate: a few short runs, each from the start, with margin and kl.

Each run takes the first updates of a real one. The rate that is picked is the largest whose policy
is still near its reference then: a smaller one learns the same more slowly, a larger one soon
leaves the reference behind, and with it the text.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import NothingLearned, UserError
from engine.events import Event, StepDone
from engine.notebook import train
from engine.settings.fields import MANY
from engine.settings.schema import Settings
from engine.settings.sections.training import LrSchedule

RUNS = 8  # at most
UPDATES = 10  # that each run takes before it is looked at
LATE = 3  # updates that the figures are means of
WIDE, CLOSE = 10.0, 2.0  # factors between rates: while looking for both sides, and at the end
MOST_RATE = 10.0  # that the setting allows
# kl, in nats a completion, after `UPDATES` of them: DPO asks for a lead of about 1/beta nats in the
# whole run.
KL_OF_LEAD, KL_MOST = 0.5, 2.0
KL_BROKEN = 8.0  # of one step, or a multiple of the limit: nothing is left to be seen

Outcome = Literal["sound", "far", "broken"]


@dataclass(frozen=True, slots=True)
class ShortRun:
    """What a few updates at a rate have done. Margin in nats times beta, kl in nats a completion;
    None where no pair had a winner any more."""

    rate: float
    outcome: Outcome
    updates: int  # that it came to
    margin: float | None
    kl: float | None


@dataclass(frozen=True, slots=True)
class RateSearch:
    """The short runs, by rate, and the rate that they speak for; None where none was sound."""

    runs: tuple[ShortRun, ...]
    picked: float | None
    reason: str
    kl_limit: float


def search_rate(
    settings: Settings,
    on_run: Callable[[ShortRun], None] = lambda run: None,
    on_update: Callable[[float, int, int], None] = lambda rate, run, update: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> RateSearch:
    """Search the learning rate of a run with these settings, in the calling thread. Nothing is left
    on the disk.

    Args:
        on_run: given each short run when it is over.
        on_update: given the rate, the number of the run from 1, and the updates that are done.

    Raises:
        UserError: settings, models or data do not serve, or a person is to judge.
        RunError: it could not go on.
    """
    if settings.asks_person:
        raise UserError("judge: a person cannot judge a search; name a model or a rule")
    limit = kl_limit(settings)
    runs: dict[float, ShortRun] = {}
    rate: float | None = settings.learning_rate
    while rate is not None and len(runs) < RUNS:
        number = len(runs) + 1
        run = _try(settings, rate, limit, lambda r, u, n=number: on_update(r, n, u), on_event)
        runs[rate] = run
        on_run(run)
        rate = next_rate(list(runs.values()))
    ordered = tuple(sorted(runs.values(), key=lambda each: each.rate))
    picked, reason = pick(ordered, limit)
    return RateSearch(ordered, picked, reason, limit)


def kl_limit(settings: Settings) -> float:
    """How far the policy may be from its reference after a few updates, in nats a completion."""
    return min(KL_OF_LEAD / settings.beta, KL_MOST)


def next_rate(runs: list[ShortRun]) -> float | None:
    """The rate to try next: wide steps until one is sound and a larger one is not, then between
    these two; None where they are close, or there is nowhere to go."""
    sound = [run.rate for run in runs if run.outcome == "sound"]
    unsound = [run.rate for run in runs if run.outcome != "sound"]
    if not unsound:
        most = max(sound)
        return None if most >= MOST_RATE else min(_round(most * WIDE), MOST_RATE)
    if not sound:
        return _round(min(unsound) / WIDE)
    low = max(rate for rate in sound if rate < min(unsound)) if min(sound) < min(unsound) else None
    high = min(unsound)
    if low is None:  # a larger rate was sound by luck
        return _round(high / WIDE)
    return _round(math.sqrt(low * high)) if high / low > CLOSE else None


def pick(runs: tuple[ShortRun, ...], limit: float) -> tuple[float | None, str]:
    """The largest rate below all that went too far, and why it is that one.

    Args:
        runs: by rate, the smallest first.
    """
    below: list[ShortRun] = []
    above: ShortRun | None = None
    for run in runs:
        if run.outcome != "sound":
            above = run
            break
        below.append(run)
    if not below:
        least = runs[0].rate
        return None, (
            f"even {least:g} goes too far within {UPDATES} updates: set learning_rate to "
            f"{_round(least / WIDE**2):g} or so, and search again"
        )
    best = below[-1]
    reason = (
        f"the largest rate whose kl stays below {limit:g} nats a completion after {UPDATES} updates"
        f"{_figure(best.kl, ' ({})')}"
    )
    if above is None:
        return best.rate, f"{reason}; a larger one was not found"
    if above.outcome == "broken":
        return best.rate, f"{reason}; {above.rate:g} broke at update {above.updates}"
    return best.rate, f"{reason}; at {above.rate:g} it was{_figure(above.kl, ' {}')}"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else form.format(f"{value:.2g}")


def _round(rate: float) -> float:
    """To two digits, as a person would write it."""
    return float(f"{rate:.1e}")


class _Enough(Exception):
    """The run has shown what there is to be seen."""


def _try(
    settings: Settings,
    rate: float,
    limit: float,
    on_update: Callable[[float, int], None],
    on_event: Callable[[Event], None],
) -> ShortRun:
    """The first updates of a run at a rate."""
    every = settings.gradient_accumulation_steps
    steps: list[dict[str, float]] = []

    def take(event: Event) -> None:
        on_event(event)
        if not isinstance(event, StepDone):
            return
        steps.append(event.metrics)
        # A step is measured before its own update.
        on_update(rate, (event.step - 1) // every)
        if _broken(steps, limit, every):
            raise _Enough

    broken = False
    try:
        train(settings.model_copy(update=_short(settings, rate)), take)
    except _Enough:
        broken = True
    except NothingLearned as nothing:
        raise UserError(f"no pair has a winner, so no rate can be told: {nothing}") from nothing
    late = steps[-LATE * every :]
    margin, kl = (_mean(late, name) for name in ("margin", "kl"))
    outcome: Outcome = "broken" if broken or kl is None else "far" if kl > limit else "sound"
    return ShortRun(rate, outcome, (len(steps) - 1) // every, margin, kl)


def _short(settings: Settings, rate: float) -> dict[str, Any]:
    """What a short run has otherwise than the run that a rate is wanted for: nothing is measured,
    kept or told beside its steps, and nothing ends it but this search."""
    return {
        "learning_rate": rate,
        "lr_schedule": LrSchedule(),
        "iters": (UPDATES + 1) * settings.gradient_accumulation_steps,
        "epochs": 0.0,
        "warm_start": None,
        "steps_per_report": MANY,
        "steps_per_eval": -1,
        "test": False,
        "save_every": MANY,
        "max_kl": 0.0,
        "max_growth": 0.0,
        "guard": "off",
        "collapse_watch": "off",
        "judge_watch": "off",
        "report_to": [],
        "notify_env": None,
        "fuse": False,
    }


def _broken(steps: list[dict[str, float]], limit: float, every: int) -> bool:
    """Whether nothing is left to be seen: far beyond the limit, not finite, or no winner left."""
    newest = steps[-1]
    if newest.get("dropped_steps") or newest.get("kl", 0.0) > max(KL_BROKEN, 4 * limit):
        return True
    late = steps[-LATE * every :]
    begun = any(step.get("trained_pairs") for step in steps)
    silent = not any(step.get("trained_pairs") for step in late)
    return begun and silent and len(late) == LATE * every


def _mean(steps: list[dict[str, float]], name: str) -> float | None:
    values = [step[name] for step in steps if name in step]
    return math.fsum(values) / len(values) if values else None
