"""Which step's policy is worth keeping: the best by its held-out win rate, and when no better one
is to be expected."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.runs.checkpoints import Best
from engine.train.evaluation import WinRate, wilson


class BestSoFar:
    """What is remembered of a run's evaluations to tell the best.

    The best has the highest lower bound of its win rate; of equals the one with the smaller kl,
    then the later. The start counts as a win rate of 0.5 on as many prompts: what is measured of
    it is chance. Nothing is the best before a later step was measured.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Empty, or from what `state` gave."""
        known = state or {}
        # As of now; the start alone, until a later step was measured.
        self._leader = Best(**known["best"]) if known.get("best") else None
        self.evaluations = int(known.get("evaluations", 0))  # of steps after the start
        self.in_vain = int(known.get("in_vain", 0))  # since the highest lower bound, in a row
        self._newest = int(known.get("newest", -1))  # step of the newest evaluation

    @property
    def best(self) -> Best | None:
        """The best step so far; None where no step after the start was measured."""
        return self._leader if self.evaluations else None

    def state(self) -> dict[str, Any]:
        """Plain values from which `BestSoFar(state)` is the same."""
        return {
            "best": asdict(self._leader) if self._leader else None,
            "evaluations": self.evaluations,
            "in_vain": self.in_vain,
            "newest": self._newest,
        }

    def add(self, step: int, result: WinRate, kl: float) -> bool:
        """Take in an evaluation; whether its step is the best so far and is to be kept.

        Args:
            kl: of the policy to the reference, in nats a completion.
        """
        if step <= self._newest:  # measured again, on request
            return False
        self._newest = step
        leader = self._leader or Best(0, 0.5, wilson(0.5, result.prompts)[0], 0.0)
        self._leader = leader
        if step == 0:
            return False
        self.evaluations += 1
        higher = result.low > leader.low
        self.in_vain = 0 if higher else self.in_vain + 1
        if not higher and (result.low < leader.low or kl > leader.kl):
            return False
        self._leader = Best(step, result.win_rate, result.low, kl)
        return True
