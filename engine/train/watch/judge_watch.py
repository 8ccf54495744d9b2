"""A run watches its judge: whether what it says of the first pairs is worth learning from.

A judge that is consistently wrong passes: that can be seen with a person's labels alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.data.pairs import JudgedPair
from engine.judges.card import LEAST_USABLE, reading, shared_bound

WATCHED = 32  # valid pairs that are looked at

_MODEL = "try a stronger judge or a more concrete rubric"
_FUNCTION = "mend the function or the rule, whose faults the log names"
_ADVICE = (
    "{remedy}; `lora-studio judge CONFIG` tells what a judge is worth, and judge_watch: off trains "
    "all the same"
)


class JudgeWatch:
    """What is remembered of the first pairs, of those that the judge was asked about."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Empty, or from what `state` gave."""
        known = state or {}
        self.over = bool(known.get("over", False))  # it has spoken, or has nothing to say
        self._valid = int(known.get("valid", 0))
        self._invalid = int(known.get("invalid", 0))
        self._usable = int(known.get("usable", 0))
        self._orders = [(float(one), float(two)) for one, two in known.get("orders", ())]

    def state(self) -> dict[str, Any]:
        """Plain values from which `JudgeWatch(state)` is the same."""
        return {
            "over": self.over,
            "valid": self._valid,
            "invalid": self._invalid,
            "usable": self._usable,
            "orders": [list(both) for both in self._orders],
        }

    def add(self, judged: Sequence[JudgedPair]) -> None:
        """Take in the verdicts of a batch, as long as there are too few."""
        asked = [each for each in judged if each.judgements or not each.pair.automatic_choice()]
        for verdict in (verdict for each in asked for verdict in each.readings):
            if self.over or self._full:
                return
            if verdict.choice == "invalid":
                self._invalid += 1
                continue
            self._valid += 1
            self._usable += verdict.decided
            if verdict.q_orders is not None:
                self._orders.append(verdict.q_orders)

    def fault(self, *, by_model: bool = True) -> str | None:
        """What is wrong with the judge and what to try, once enough pairs were seen; None where
        nothing is, or too few were. `by_model`: a model is among those who judge."""
        if self.over or not self._full:
            return None
        more = ""
        if self._valid < WATCHED:
            seen = self._valid + self._invalid
            what = f"{self._invalid} of the judge's first {seen} verdicts are not valid"
            more = ", or judge_mode: generate"
        elif self._usable < LEAST_USABLE * self._valid:
            what = f"the judge finds a winner in {self._usable} of its first {self._valid} pairs"
            more = ", or a lower judge_margin"
        elif self._shares_nothing():
            what = (
                f"what the judge reads in its first {self._valid} pairs and in the same pairs with "
                "their answers swapped has nothing in common, so its winners are chance"
            )
        else:
            return None
        remedy = f"{_MODEL}{more}" if by_model else _FUNCTION
        return f"{what}; {_ADVICE.format(remedy=remedy)}"

    def _shares_nothing(self) -> bool:
        """Never of a judge that reads a pair once, such as a function."""
        bound = shared_bound([reading(*both) for both in self._orders])
        return bound is not None and bound <= 0

    @property
    def _full(self) -> bool:
        return self._valid >= WATCHED or self._invalid >= WATCHED
