"""The labels of runs as preference pairs: those of one run, or of several together."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.data.chat_messages import Message, as_mapping, clean, tools_of
from engine.data.files import Unusable
from engine.data.pairs import DECIDED
from engine.data.preferences import Preference, first_shown
from engine.data.recorded_pairs import RecordedPair
from engine.events import Choice
from engine.runs.folder import CARD_PAIRS, CHAT_PAIRS, PAIRS, RETRACTED, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.runs.relabel import planned, settle_if_free

PERSON = "human"
# Verdicts on two answers; the line of any other pair says only that there was none.
_VERDICTS: tuple[Choice, ...] = (*DECIDED, "tie", "both_bad")


@dataclass(frozen=True, slots=True)
class Label:
    """What a judge has said of two answers, and where that stands. In `preference` the first
    answer is `chosen` unless the second has won."""

    run: str
    pair_id: str
    preference: Preference
    choice: Choice
    judge: str
    q: float | None  # the judge's probability that the first answer is better
    flagged: bool
    note: str
    retracted: bool = False  # a person took it back

    @property
    def confidence(self) -> float:
        """The judge's probability that the chosen answer is better; 1 for a person's pick."""
        if self.choice == "tie":
            return 0.5
        if self.q is None or not 0 <= self.q <= 1 or self.judge == PERSON:
            return 1.0
        return 1 - self.q if self.choice == "second" else self.q


def labels(run: Run) -> list[Label]:
    """The labels of a run, the earlier ones first, and those that somebody has changed last.

    A label that was taken back is not among them; one that is being changed is what it is to be.
    """
    settle_if_free(run)
    lines: dict[object, Record] = {}
    for file in (UNDECIDED, PAIRS, CHAT_PAIRS, CARD_PAIRS):
        for number, line in enumerate(run.read(file)):
            lines[_id_of(line) or (file, number)] = line
    if change := planned(run):
        lines[_id_of(change)] = change
    records = _verdicts(lines.values())
    records.sort(key=lambda each: ("was" in each[0], each[1].step, each[1].pair_id))
    return [_label(run.name, line, pair) for line, pair in records]


def retracted_labels(run: Run) -> list[Label]:
    """The labels of a run that a person took back, in that order. The same two answers may have
    another label by now."""
    records = _verdicts(run.read(RETRACTED))
    return [replace(_label(run.name, line, pair), retracted=True) for line, pair in records]


def _verdicts(lines: Iterable[Record]) -> list[tuple[Record, RecordedPair]]:
    """The lines with a verdict on two answers, each with what it says."""
    records = ((line, RecordedPair.from_record(line)) for line in lines)
    return [(line, pair) for line, pair in records if pair.verdict.choice in _VERDICTS]


def _id_of(line: Record) -> str:
    """The id of a line's pair; empty where somebody has removed it."""
    return str(line.get("pair_id", ""))


def _label(run: str, line: Record, pair: RecordedPair) -> Label:
    first, second = ((Message("assistant", clean(text)),) for text in (pair.first, pair.second))
    choice = pair.verdict.choice
    chosen, rejected = (second, first) if choice == "second" else (first, second)
    return Label(
        run=run,
        pair_id=clean(pair.pair_id),
        preference=Preference(
            prompt=pair.messages or (Message("user", clean(pair.prompt)),),
            chosen=chosen,
            rejected=rejected,
            tools=_tools(line.get("tools")),
            tie=choice == "tie",
            first_shown=first_shown(pair.verdict.q_orders),
        ),
        choice=choice,
        judge=clean(pair.judge),
        q=pair.verdict.q,
        flagged=pair.verdict.flagged,
        note=clean(str(pair.verdict.note)),
    )


def _tools(value: Any) -> tuple[Any, ...]:
    try:
        return tools_of(value)
    except Unusable:
        return ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The labels that become pairs of a file, and how many were left out for which reason."""

    labels: list[Label]
    left_out: Counter[str]


def select(
    runs: Sequence[Run], *, ties: bool = False, flagged: bool = False, retracted: bool = False
) -> Selection:
    """The labels of some runs together. Of several on the same two answers to the same prompt the
    last one holds, the runs in their order.

    Args:
        ties: whether ties are among them.
        flagged: whether flagged labels are among them.
        retracted: whether labels that were taken back are among them, of answers that have no
            other label.
    """
    latest: dict[bytes, Label] = {}
    left_out: Counter[str] = Counter()
    for label in _in_order(runs):
        key = _answers_key(label.preference)
        left_out["labelled again later"] += latest.pop(key, None) is not None
        latest[key] = label
    withdrawn = {
        _answers_key(label.preference): label for run in runs for label in retracted_labels(run)
    }
    unanswered = {key: label for key, label in withdrawn.items() if key not in latest}
    pairs: list[Label] = []
    for label in (*unanswered.values(), *latest.values()):
        if label.retracted and not retracted:
            left_out["retracted"] += 1
        elif label.choice == "both_bad":
            left_out["both bad"] += 1
        elif label.choice == "tie" and not ties:
            left_out["ties"] += 1
        elif label.flagged and not flagged:
            left_out["flagged"] += 1
        else:
            pairs.append(label)
    return Selection(pairs, +left_out)


def _in_order(runs: Sequence[Run]) -> Iterator[Label]:
    for run in runs:
        yield from labels(run)


def _answers_key(preference: Preference) -> bytes:
    """The same for two answers to a prompt whichever was shown first."""
    prompt, chosen, rejected = (
        [as_mapping(turn) for turn in turns]
        for turns in (preference.prompt, preference.chosen, preference.rejected)
    )
    answers = sorted(json.dumps(answer) for answer in (chosen, rejected))
    text = json.dumps([prompt, preference.tools, answers], default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
