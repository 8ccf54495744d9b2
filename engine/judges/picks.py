"""A person's verdict on more than two answers to a prompt -> pairs.

The best one is picked, and where the worst is the rejected one, then the worst. Of equal answers
one is shown; where a cut answer loses (`missing_eos`), only those that ended by themselves are.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.events import Choice, Pick, Shown
from engine.judges.contest import Field
from engine.settings.schema import Settings
from engine.settings.sections.preference import Rejected

Label = Callable[[Choice], Verdict]  # with what the person remarks
UNDECIDED: dict[Shown, Choice] = {"tie": "tie", "both_bad": "both_bad", "skip": "skip"}


@dataclass(frozen=True, slots=True)
class Picking:
    """What a pick becomes: a pair of the best with one other, or with each other; `seed` is the
    run's."""

    rejected: Rejected = "worst"
    all_pairs: bool = False
    seed: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Picking":
        """As a run has it."""
        return cls(settings.rejected, settings.pairs_per_pick == "all", settings.seed)

    def places(self, pair: Pair) -> list[int]:
        """The answers that are shown, in their hidden order."""
        places = Field(pair).players
        random.Random(f"{self.seed} {pair.pair_id}").shuffle(places)
        return places

    def asks_worst(self, shown: int) -> bool:
        """Whether the worst of so many answers has to be picked too."""
        return self.rejected == "worst" and not self.all_pairs and shown > 2

    def judged(self, pair: Pair, shown: Shown | Pick, label: Label) -> tuple[JudgedPair, ...]:
        """The pairs that a verdict makes of the answers to a prompt.

        Raises:
            ValueError: a pick of places that were not shown, or without the worst where that is
                asked for.
        """
        places = self.places(pair)
        match shown:
            case "tie" | "both_bad" | "skip":
                return judged_of(pair, [(pair.between(*places[:2]), label(UNDECIDED[shown]))])
            case "left" | "right":
                pick = Pick(0 if shown == "left" else 1)
            case Pick():
                pick = shown
        chosen = {pick.best} if pick.worst is None else {pick.best, pick.worst}
        if not chosen <= {*range(len(places))} or pick.best == pick.worst:
            raise ValueError(f"pair {pair.pair_id} shows {len(places)} answers: {pick}")
        best = places[pick.best]
        return judged_of(
            pair,
            [
                (pair.between(best, other), label("first" if best < other else "second"))
                for other in self._rejected(pair, pick, places)
            ],
        )

    def _rejected(self, pair: Pair, pick: Pick, places: Sequence[int]) -> list[int]:
        """The answers that become a pair with the best."""
        others = sorted({*places} - {places[pick.best]})
        if self.all_pairs or len(others) == 1:
            return others
        if self.asks_worst(len(places)):
            if pick.worst is None:
                raise ValueError(f"pair {pair.pair_id}: which one is the worst?")
            return [places[pick.worst]]
        return [random.Random(f"{self.seed} rejected {pair.pair_id}").choice(others)]


def pairs_of(pair: Pair) -> list[Pair]:
    """All pairs that the answers to a prompt make."""
    return [pair.between(*two) for two in combinations(range(len(pair.answers)), 2)]


def unasked(pair: Pair) -> JudgedPair | None:
    """What comes of a prompt whose answers nobody has to judge, else None."""
    if not pair.others:
        choice = pair.automatic_choice()
        return JudgedPair(pair, Verdict(choice)) if choice else None
    field = Field(pair)
    return field.unjudged() if len(field.players) < 2 else None


def judged_of(pair: Pair, labels: Sequence[tuple[Pair, Verdict]]) -> tuple[JudgedPair, ...]:
    """Labels of pairs of a prompt's answers, of which the first tells of all answers."""
    if not pair.others:
        return tuple(JudgedPair(each, label) for each, label in labels)
    return tuple(
        JudgedPair(each, label, sampled=() if number else pair.answers)
        for number, (each, label) in enumerate(labels)
    )
