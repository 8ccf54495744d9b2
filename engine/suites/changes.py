"""What a model kept, gained and lost between two measurements of the same items."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import comb

from engine.events import SuiteChange

LEAST_RIGHT = 6  # right before; fewer can all be lost without that being beyond chance
LEVEL = 0.05  # below which a loss is beyond chance


def changes(
    before: Mapping[str, Sequence[bool]], after: Mapping[str, Sequence[bool]]
) -> tuple[SuiteChange, ...]:
    """How each suite changed, with p adjusted for how many are tested (Holm 1979, "A simple
    sequentially rejective multiple test procedure"). One that has not as many items in both is
    left out: somebody has changed its file."""
    same = (name for name in before if len(before[name]) == len(after.get(name, ())))
    return _adjusted(_change(name, before[name], after[name]) for name in same)


def lost(changes: Iterable[SuiteChange]) -> list[SuiteChange]:
    """The suites of which more was lost than chance explains, the surest first."""
    beyond = [each for each in changes if each.p is not None and each.p < LEVEL]
    return sorted(beyond, key=lambda each: each.p or 0.0)


def p_value(lost: int, gained: int) -> float:
    """One-sided exact test of McNemar: the probability that of so many items that changed, at
    least `lost` were lost, if a loss were as likely as a gain."""
    changed = lost + gained
    return sum(comb(changed, count) for count in range(lost, changed + 1)) / 2**changed


def _change(name: str, before: Sequence[bool], after: Sequence[bool]) -> SuiteChange:
    both = list(zip(before, after, strict=True))
    kept, gained = both.count((True, True)), both.count((False, True))
    lost = both.count((True, False))
    p = p_value(lost, gained) if kept + lost >= LEAST_RIGHT else None
    return SuiteChange(suite=name, items=len(both), kept=kept, gained=gained, lost=lost, p=p)


def _adjusted(changes: Iterable[SuiteChange]) -> tuple[SuiteChange, ...]:
    changes = list(changes)
    tested = sorted((each.p, at) for at, each in enumerate(changes) if each.p is not None)
    least = 0.0
    for place, (p, at) in enumerate(tested):
        least = max(least, min(1.0, p * (len(tested) - place)))
        changes[at] = replace(changes[at], p=least)
    return tuple(changes)
