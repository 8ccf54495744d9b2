"""What is known of a judge that is tried: its verdicts, a person's labels, and the card of both.

A pair is shown as answers 1 and 2, in an order that is drawn for each: what a file calls the first
may always be the better one. Verdicts are told in terms of what is shown.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from engine.data.pairs import Verdict
from engine.events import Choice, Log, Progress, Writing
from engine.judge_trial import TrialDone, TrialEvent, TrialFailed, TrialJudged, TrialPairs
from engine.judges.card import Card, CardPair, Label, card
from engine.runs.card_labels import pair_id

if TYPE_CHECKING:
    from engine.judge_card import TrialPair

Side = Literal["left", "right", "tie"]
Whose = Literal["you", "the file", ""]
Each = TypeVar("Each")
_SWAPPED: dict[Choice, Choice] = {"first": "second", "second": "first"}
_LABELS: dict[Side, Label] = {"left": "first", "right": "second", "tie": "tie"}


@dataclass(slots=True)
class TrialRow:
    """A pair as it is shown. `label` is a person's, in the pair's own order; `revealed` says that
    the judge's verdict was shown without one."""

    number: int
    pair: "TrialPair"
    id: str
    swapped: bool
    askable: bool  # whether there is anything to prefer
    verdict: Verdict | None = None
    label: Label | None = None
    revealed: bool = False

    @property
    def visible_verdict(self) -> Verdict | None:
        """What the judge says, where the first is answer 1; None while that is hidden, or not
        there."""
        if self.verdict is None or not (self.revealed or self.label or not self.askable):
            return None
        return _turned(self.verdict) if self.swapped else self.verdict

    @property
    def side(self) -> Side | None:
        """The person's label in terms of what is shown."""
        return self._side_of(self.label)

    @property
    def file_side(self) -> Side | None:
        """The label that came with the pair in terms of what is shown."""
        return self._side_of(self.pair.label)

    def _side_of(self, label: Label | None) -> Side | None:
        return next((side for side in _LABELS if self.meant(side) == label), None)

    def meant(self, side: Side) -> Label:
        """The label that a side stands for."""
        label = _LABELS[side]
        if self.swapped and label != "tie":
            return "second" if label == "first" else "first"
        return label

    def in_order(self, both: tuple[Each, Each]) -> tuple[Each, Each]:
        """What belongs to both answers, in the order in which they are shown."""
        return (both[1], both[0]) if self.swapped else both


def _turned(verdict: Verdict) -> Verdict:
    """The same verdict with the two answers called by each other's name."""
    orders = verdict.q_orders
    return replace(
        verdict,
        choice=_SWAPPED.get(verdict.choice, verdict.choice),
        q=None if verdict.q is None else 1 - verdict.q,
        q_orders=(1 - orders[1], 1 - orders[0]) if orders else None,
    )


class JudgeTrialView:
    """What a screen shows of a trial, told by its events."""

    def __init__(self, known: Mapping[str, Choice], seed: int) -> None:
        """`known` are a person's labels of earlier sittings, by the id of the pair."""
        self.rows: list[TrialRow] = []
        self.progress: Progress | None = None
        self.writing: Writing | None = None  # the answers that are being sampled
        self.notes: list[Log] = []
        self.seconds_per_pair: float | None = None
        self.error = ""
        self.over = False  # nothing more is to come
        self._known = known
        self._seed = seed
        self._judged = 0

    def take_in(self, event: TrialEvent) -> None:
        """Learn of an event."""
        match event:
            case Progress():
                self.progress = event
            case Writing():
                self.writing = event
            case Log():
                self.notes.append(event)
            case TrialPairs():
                self.rows = [self._row(at, pair) for at, pair in enumerate(event.pairs, 1)]
            case TrialJudged():
                self.rows[self._judged].verdict = event.pair.verdict
                self._judged += 1
            case TrialDone():
                self.seconds_per_pair, self.over = event.seconds_per_pair, True
            case TrialFailed():
                self.error, self.over = event.error, True

    def _row(self, number: int, pair: "TrialPair") -> TrialRow:
        texts = pair.prompt, pair.first, pair.second
        row = TrialRow(
            number,
            pair,
            pair_id(*texts),
            swapped=random.Random(f"{self._seed} {pair_id(*texts)}").random() < 0.5,
            askable=pair.undecidable() is None,
        )
        known = self._known.get(row.id)
        if row.askable and (known == "first" or known == "second" or known == "tie"):
            row.label = known
        return row

    @property
    def done(self) -> int:
        """How many pairs have their verdict."""
        return self._judged

    # -- labels ----------------------------------------------------------------------------------

    @property
    def labelled(self) -> int:
        """How many pairs a person has labelled."""
        return sum(row.label is not None for row in self.rows)

    @property
    def blind(self) -> list[TrialRow]:
        """The pairs that can still be labelled without knowing what the judge says."""
        return [row for row in self.rows if row.askable and not row.label and not row.revealed]

    def reveal(self) -> None:
        """Show what the judge says of all pairs."""
        for row in self.rows:
            row.revealed = True

    # -- the card --------------------------------------------------------------------------------

    @property
    def judged(self) -> list[TrialRow]:
        """The pairs that the judge was asked about and has answered."""
        return [row for row in self.rows if row.askable and row.verdict]

    @property
    def whose(self) -> Whose:
        """Whose labels the judge is held against: those of the person, or else the file's."""
        if any(row.label for row in self.judged):
            return "you"
        return "the file" if any(row.pair.label for row in self.judged) else ""

    def card(self) -> Card:
        """The card of what is judged so far."""
        return card([_card_pair(row, self.whose) for row in self.judged], seed=self._seed)


def _card_pair(row: TrialRow, whose: Whose) -> CardPair:
    """A pair as the card counts it. For a person's labels, its first answer is the one shown as 1:
    in a file the better answer may always come first, and kappa needs labels of both kinds."""
    assert row.verdict
    lengths = len(row.pair.first), len(row.pair.second)
    if whose != "you":
        return CardPair(row.verdict, lengths, row.pair.label)
    verdict = _turned(row.verdict) if row.swapped else row.verdict
    return CardPair(verdict, row.in_order(lengths), row.side and _LABELS[row.side])
