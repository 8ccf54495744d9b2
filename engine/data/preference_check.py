"""What a set of preference pairs is worth before something is trained on it: how many there are,
and how many of them are doubtful."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.data.chat_messages import Message, as_mapping, spoken
from engine.data.files import Unusable
from engine.data.preferences import PlacedPreference, Preference


@dataclass(slots=True)
class Tally:
    """How many pairs something is true of, and the place of the first of them."""

    count: int = 0
    first: str = ""

    def add(self, place: str) -> None:
        self.count += 1
        self.first = self.first or place


@dataclass(slots=True)
class Share:
    """How many pairs something is true of, among those of which it is known."""

    count: int = 0
    of: int = 0

    def add(self, count: int, of: int = 1) -> None:
        self.count += count
        self.of += of

    @property
    def share(self) -> float | None:
        """None where it is known of no pair."""
        return self.count / self.of if self.of else None


@dataclass(slots=True)
class PreferenceCheck:
    """What `check` counts. A pair with a winner is one of `pairs`, any other one of `ties`.

    `duplicates` say again what an earlier pair says; `conflicts` are couples of answers to one
    prompt of which either has won, `conflicting` the pairs that say so. `longer_wins` is among
    pairs of different length, in characters; `first_shown_wins` among the readings of a judge that
    has read pairs, ties too, in both orders.
    """

    pairs: int = 0
    ties: int = 0
    unreadable: Tally = field(default_factory=Tally)
    unreadable_reason: str = ""
    duplicates: Tally = field(default_factory=Tally)
    identical: Tally = field(default_factory=Tally)
    empty_chosen: Tally = field(default_factory=Tally)
    empty_rejected: Tally = field(default_factory=Tally)
    conflicts: Tally = field(default_factory=Tally)
    conflicting: int = 0
    longer_wins: Share = field(default_factory=Share)
    first_shown_wins: Share = field(default_factory=Share)

    def to_json(self) -> dict[str, Any]:
        """The counts as plain JSON values; shares with their number beside them."""
        facts = asdict(self)
        for name in ("longer_wins", "first_shown_wins"):
            facts[name]["share"] = getattr(self, name).share
        return facts


def check(preferences: Iterable[PlacedPreference]) -> PreferenceCheck:
    """Count what is in some pairs; 100 bytes of memory or so are taken for each."""
    result = PreferenceCheck()
    seen: dict[bytes, tuple[str, int]] = {}  # a pair as it stands -> its place, and how often
    for place, preference in preferences:
        if isinstance(preference, Unusable):
            result.unreadable.add(place)
            result.unreadable_reason = result.unreadable_reason or str(preference)
            continue
        if preference.first_shown is not None:
            result.first_shown_wins.add(preference.first_shown, of=2)
        if preference.tie:
            result.ties += 1
        else:
            _add(result, seen, place, preference)
    return result


def _add(
    result: PreferenceCheck,
    seen: dict[bytes, tuple[str, int]],
    place: str,
    preference: Preference,
) -> None:
    result.pairs += 1
    chosen, rejected = (
        answer_text(answer).strip() for answer in (preference.chosen, preference.rejected)
    )
    if not chosen:
        result.empty_chosen.add(place)
    if not rejected:
        result.empty_rejected.add(place)
    if len(chosen) != len(rejected):
        result.longer_wins.add(len(chosen) > len(rejected))
    if chosen == rejected:
        result.identical.add(place)
    digest = _digest(preference, chosen, rejected)
    first, count = seen.get(digest, (place, 0))
    seen[digest] = (first, count + 1)
    if count:
        result.duplicates.add(place)
    if chosen == rejected:
        return
    opposite, against = seen.get(_digest(preference, rejected, chosen), ("", 0))
    if against:
        # The first pair of one side makes the conflict, and brings in all of the other.
        if count == 0:
            result.conflicts.add(f"{place}, against {opposite}")
            result.conflicting += against
        result.conflicting += 1


def answer_text(answer: Sequence[Message]) -> str:
    """All that an answer says, its calls of tools too; several turns one after the other."""
    return "\n\n".join(spoken(turn) for turn in answer)


def _digest(preference: Preference, winner: str, loser: str) -> bytes:
    prompt = [as_mapping(turn) for turn in preference.prompt]
    text = json.dumps([prompt, preference.tools, winner, loser], default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
