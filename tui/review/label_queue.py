"""A person's labelling, without a screen: which pair is before them, what they gave, how fast.

The engine keeps the labels; a queue only remembers enough to show the next pair and to find the
way back. What was labelled before it was opened is read from the run's files.
"""

import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Literal, Protocol

from engine.data.pairs import prompt_id
from engine.events import PairSampled, Pick, Shown
from tui.text.prompt_text import prompt_line

if TYPE_CHECKING:
    from engine.judges.human import Label, Shown
    from engine.runs.archive import Run

PERSON_CHOICES = ("first", "second", "tie", "both_bad", "skip")
PACE_OVER = 20  # labels
# "learned": the model has learned from it, so its label can be changed and is as it was. "check":
# the newest was a pair shown again, which trains nothing and cannot be taken back.
UndoOutcome = Literal["undone", "learned", "check", "nothing"]


class LabelSession(Protocol):
    """What a queue needs of the session."""

    def waiting(self) -> list[PairSampled]: ...
    def answer(
        self, pair_id: str, shown: Shown | Pick, *, note: str = "", flagged: bool = False
    ) -> bool: ...
    def undo(self, pair_id: str) -> Literal["undone", "learned", "unknown"]: ...
    def labels_of(self, pair_id: str) -> list[str]: ...
    def given(self, pair_id: str) -> "Label | None": ...
    def relabel(self, pair_id: str, shown: Shown | None) -> bool: ...
    def agreement(self) -> tuple[int, int]: ...


@dataclass(slots=True)
class Remark:
    """What is said of a pair before its verdict."""

    note: str = ""
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class PastLabel:
    """A label that a person gave: to which pair, of which step; a repeat is no label of its own.

    `prompt`, which is untrusted, `shown`, the verdict, and `remark` are known of those of this
    sitting.
    """

    pair_id: str
    step: int
    repeat: bool = False
    prompt: str = ""
    shown: Shown | Pick | None = None
    remark: Remark | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pair stands: `index` of `batch` in its batch, `of_run` in the whole run."""

    index: int
    batch: int
    of_run: int
    waiting: int  # pairs after this one


@dataclass
class LabelQueue:
    """One person's place at a run's pairs."""

    session: LabelSession
    labels: list[PastLabel] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.current: PairSampled | None = None
        self._waiting: list[PairSampled] = []
        self._remarks: defaultdict[str, Remark] = defaultdict(Remark)
        self._times: deque[float] = deque(maxlen=PACE_OVER)

    def refresh(self) -> PairSampled | None:
        """The pair to show: the one that is shown already while it waits, else the next."""
        self._waiting = self.session.waiting()
        still = {pair.pair_id for pair in self._waiting}
        if self.current is None or self.current.pair_id not in still:
            self.current = self._waiting[0] if self._waiting else None
        return self.current

    def remark(self) -> Remark:
        """The note and flag of the pair that is shown."""
        return self._remarks[self.current.pair_id] if self.current else Remark()

    def give(self, shown: Shown | Pick) -> bool:
        """Label the pair that is shown; True once the label is on the disk.

        Raises:
            StorageError: the label could not be written; the pair still waits.
        """
        pair = self.current
        if pair is None:
            return False
        remark = self.remark()
        if not self.session.answer(pair.pair_id, shown, note=remark.note, flagged=remark.flagged):
            return False
        self._remarks.pop(pair.pair_id, None)
        self._times.append(self.clock())
        asked = prompt_line(pair.prompt, pair.messages)
        label = PastLabel(pair.pair_id, pair.step, pair.repeat, asked, shown, remark)
        self.labels.append(label)
        return True

    def undo(self) -> UndoOutcome:
        """Take the newest label back and, where its pair waits again, show that pair.

        Raises:
            StorageError: the label could not be taken back; it still counts.
        """
        while self.labels:
            last = self.labels[-1]
            outcome = "check" if last.repeat else self.session.undo(last.pair_id)
            if outcome == "learned":
                return outcome
            self.labels.pop()
            if outcome == "unknown":  # it was taken back elsewhere
                continue
            if outcome == "undone":
                self._ask_again(last.pair_id, last.remark)
            return outcome
        return "nothing"

    def take_back(self, pair_id: str) -> UndoOutcome:
        """Take an earlier label back and, where its pair waits again, show that pair.

        Raises:
            StorageError: the label could not be taken back; it still counts.
        """
        outcome = self.session.undo(pair_id)
        if outcome == "learned":
            return outcome
        own = (each.remark for each in self.labels if each.pair_id == pair_id and not each.repeat)
        remark = next(own, None)
        self.labels = [label for label in self.labels if label.pair_id != pair_id]
        if outcome == "undone":
            self._ask_again(pair_id, remark)
        return "undone" if outcome == "undone" else "nothing"

    def _ask_again(self, pair_id: str, remark: Remark | None) -> None:
        """Show a pair whose label was taken back, with what was said of it."""
        if remark is not None:
            self._remarks[pair_id] = remark
        waiting = (pair for pair in self.session.waiting() if pair.pair_id == pair_id)
        self.current = next(waiting, None)

    def sitting(self) -> list[tuple[int, PastLabel]]:
        """The labels of this sitting, the newest first, with their numbers in the run."""
        own = [label for label in self.labels if not label.repeat]
        return [(number, each) for number, each in enumerate(own, 1) if each.shown][::-1]

    def label(self, back: int = 0) -> "Label | None":
        """The newest label, or one so many labels before it, of those learned from; None where
        there is none."""
        own = (label for label in reversed(self.labels) if not label.repeat)
        ids = (each for label in own for each in reversed(self._ids(label.pair_id)))
        wanted = next(islice(ids, back, None), None)
        return self.session.given(wanted) if wanted is not None else None

    def back_to(self, pair_id: str) -> int:
        """How many labels were given after that press; what `label` takes to find its newest."""
        later = []
        for label in reversed(self.labels):
            if label.pair_id == pair_id:
                break
            later += [] if label.repeat else self._ids(label.pair_id)
        return len(later)

    def _ids(self, pair_id: str) -> list[str]:
        """The ids of the labels that one press gave."""
        return self.session.labels_of(pair_id) or [pair_id]

    def relabel(self, pair_id: str, shown: Shown | None) -> bool:
        """Change a label of a pair that was learned from, or with None remove it; whether it was.

        Raises:
            StorageError: the label could not be changed.
        """
        changed = self.session.relabel(pair_id, shown)
        prompt = prompt_id(pair_id)
        if changed and shown is None and not self.session.labels_of(prompt):
            self.labels = [label for label in self.labels if label.pair_id != prompt]
        elif changed and shown is not None:
            self.labels = [
                replace(label, shown=shown) if label.pair_id == pair_id else label
                for label in self.labels
            ]
        return changed

    def place(self) -> Place:
        """Where the pair that is shown stands.

        A pair shown again to check the person's consistency takes the place of the next new
        one, so that nothing tells it apart.
        """
        fresh = [pair for pair in self._waiting if not pair.repeat]
        pair = self.current
        if pair is None or pair.repeat:
            pair = fresh[0] if fresh else None
        step = pair.step if pair else (self.labels[-1].step if self.labels else 0)
        own = [label for label in self.labels if not label.repeat]
        labelled = sum(label.step == step for label in own)
        of_step = [each.pair_id for each in fresh if each.step == step]
        ahead = of_step.index(pair.pair_id) if pair and pair.pair_id in of_step else 0
        batch = labelled + len(of_step)
        index = min(labelled + ahead + 1, max(batch, 1))
        waiting = max(0, len(self._waiting) - (self.current is not None))
        return Place(index, max(batch, 1), len(own) + 1, waiting)

    def labels_a_minute(self) -> float | None:
        """From the median time between labels, so that a break does not count."""
        return labels_a_minute(self._times)


def labels_a_minute(times: Iterable[float]) -> float | None:
    """Labels a minute from the times, in seconds, at which they were given; None below two."""
    ordered = list(times)
    gaps = [b - a for a, b in pairwise(ordered)]
    middle = statistics.median(gaps) if gaps else 0
    return 60 / middle if middle > 0 else None


def earlier_labels(run: "Run") -> list[PastLabel]:
    """The labels that a person gave in earlier sittings, oldest first."""
    labels = {
        prompt_id(str(record["pair_id"])): int(record["step"])
        for record in chain(run.read("pairs.jsonl"), run.read("undecided.jsonl"))
        if record.get("judge") == "human"
        and record.get("choice") in PERSON_CHOICES
        and isinstance(record.get("step"), int)
        and "pair_id" in record
    }
    return [PastLabel(pair_id, step) for pair_id, step in sorted(labels.items())]
