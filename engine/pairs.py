"""A pair of sampled completions, and the verdict on it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from engine.events import Choice

if TYPE_CHECKING:
    from engine.sampling import Completion

DECIDED: tuple[Choice, ...] = ("first", "second")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one prompt, as ids for scoring and as text for whoever judges.

    `step` is the training step that consumes the pair, counted from 1; `weights_step` is the
    step after which the weights were that wrote it.
    """

    pair_id: str
    step: int
    weights_step: int
    prompt: str
    prompt_ids: tuple[int, ...]
    first: str
    second: str
    first_ids: tuple[int, ...]
    second_ids: tuple[int, ...]
    first_finished: bool
    second_finished: bool

    def undecidable(self) -> Choice | None:
        """The verdict on a pair that nobody needs to look at, else None."""
        if not self.first.strip() and not self.second.strip():
            return "empty"
        if self.first_ids == self.second_ids or self.first == self.second:
            return "identical"
        return None

    def to_json(self) -> dict[str, Any]:
        """The pair as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Pair":
        """The pair that `to_json` wrote."""
        ids = ("prompt_ids", "first_ids", "second_ids")
        return cls(**{**data, **{key: tuple(data[key]) for key in ids}})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of a pair.

    `q` is the judge's probability that the first completion is better, averaged over both
    orders; `q_orders` the same with the first completion shown first, and shown second.
    Both are None where there is no probability.
    """

    choice: Choice
    q: float | None = None
    q_orders: tuple[float, float] | None = None
    note: str = ""
    flagged: bool = False

    @property
    def decided(self) -> bool:
        """Whether there is a winner, so that the pair may be trained on."""
        return self.choice in DECIDED


def make_pair(
    *,
    step: int,
    index: int,
    weights_step: int,
    prompt: str,
    prompt_ids: Iterable[int],
    completions: "tuple[Completion, Completion]",
    texts: tuple[str, str],
) -> Pair:
    """The `index`th pair of a step's batch."""
    first, second = completions
    return Pair(
        pair_id=f"{step:07d}-{index:03d}",
        step=step,
        weights_step=weights_step,
        prompt=prompt,
        prompt_ids=tuple(prompt_ids),
        first=texts[0],
        second=texts[1],
        first_ids=first.ids,
        second_ids=second.ids,
        first_finished=first.finished,
        second_finished=second.finished,
    )


def record(pair: Pair, verdict: Verdict, judge: str) -> dict[str, Any]:
    """A line of the run's files for a judged pair.

    A decided pair has `chosen` and `rejected`, so that its line is training data as it is; any
    other has `first` and `second`.
    """
    swapped = verdict.choice == "second"
    sides: tuple[str, str] = ("chosen", "rejected") if verdict.decided else ("first", "second")
    order = ("second", "first") if swapped else ("first", "second")
    line: dict[str, Any] = {"prompt": pair.prompt}
    for side, which in zip(sides, order, strict=True):
        line[side] = getattr(pair, which)
    line |= {
        "pair_id": pair.pair_id,
        "step": pair.step,
        "weights_step": pair.weights_step,
        "choice": verdict.choice,
        "judge": judge,
        "q": verdict.q,
        "q_orders": list(verdict.q_orders) if verdict.q_orders else None,
        "note": verdict.note,
        "flagged": verdict.flagged,
    }
    for side, which in zip(sides, order, strict=True):
        line[f"{side}_tokens"] = len(getattr(pair, f"{which}_ids"))
        line[f"{side}_finished"] = getattr(pair, f"{which}_finished")
    return line


def verdict_of(q_orders: tuple[float, float], margin: float) -> Verdict:
    """The verdict on a pair from the probability that its first completion is better, with it
    shown first and shown second.

    Orders that disagree, or a mean closer to 0.5 than `margin`, make a tie; a value that is no
    probability makes the pair invalid.
    """
    shown_first, shown_second = q_orders
    if not all(math.isfinite(q) and 0 <= q <= 1 for q in q_orders):
        return Verdict("invalid")
    q = (shown_first + shown_second) / 2
    if (shown_first - 0.5) * (shown_second - 0.5) <= 0 or abs(q - 0.5) < margin:
        return Verdict("tie", q, q_orders)
    return Verdict("first" if q > 0.5 else "second", q, q_orders)


def verdict_from(line: Mapping[str, Any]) -> Verdict:
    """The verdict that a line of `record` holds."""
    orders = line.get("q_orders")
    return Verdict(
        choice=line["choice"],
        q=line.get("q"),
        q_orders=(orders[0], orders[1]) if orders else None,
        note=line.get("note") or "",
        flagged=bool(line.get("flagged")),
    )
