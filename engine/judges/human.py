"""A person as the judge: the engine's half. Pairs wait here until somebody answers them.

The training loop submits and collects on the engine's thread; answers come from any other
thread. A label is on disk before `answer` returns.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from engine.data.chat_messages import Message
from engine.data.pairs import JudgedPair, Pair, Verdict, prompt_id
from engine.data.recorded_pairs import RecordedPair
from engine.events import Choice, PairSampled, Pick, Shown, ShownAnswer
from engine.judges.picks import UNDECIDED, Picking, judged_of, pairs_of, unasked
from engine.runs.json_lines import Record

AGAIN = "-again"


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a prompt, and when the person said it: its place among all answers, and a
    monotonic time. One that nobody was asked for now comes before all others."""

    judged: tuple[JudgedPair, ...]
    order: int = 0
    at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a pair that was learned from already, with the sides as they were shown.

    `messages` are the turns of a prompt that is more than a text.
    """

    pair_id: str
    prompt: str
    left: str
    right: str
    shown: Shown
    messages: tuple[Message, ...] = ()


class LabelStore(Protocol):
    """Where a person's labels are stored. What cannot be written raises a `StorageError`."""

    def write(self, judged: Sequence[JudgedPair]) -> None:
        """Store the labels of a prompt, synced: all, or none where it raises."""
        ...

    def claim(self, pair: Pair) -> Verdict | None:
        """The label that the person gave the same texts in a step that the run went back from,
        which is this pair's from now on; None where there is none."""
        ...

    def retract(self, pair_ids: Collection[str]) -> None:
        """Take the labels of a prompt that waits again out of the store."""
        ...

    def find(self, pair_id: str) -> Record | None:
        """The line of a pair, None where it has no label."""
        ...

    def of_prompt(self, prompt: str) -> list[str]:
        """The ids of the pairs of a prompt that have a label."""
        ...

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        """Give a stored pair another verdict, or with None take its label out."""
        ...


class HumanJudge:
    """Shows pairs in a hidden random order and waits for the person's verdicts.

    Args:
        seed: of the hidden order, which is the same for a pair whenever it is shown.
        undo_seconds: a batch is collected this long after its last answer, or once a later
            pair is answered.
        self_check_every: after this many answers an earlier pair comes again, swapped; 0 never.
        labels: where labels are stored; an answer that cannot be stored does not count.
        show: told every pair that starts to wait.
        wake: told that something may be collected.
        picking: what a pick of more than two answers becomes; by none there are two.
    """

    name = "human"
    stores_labels = True

    def __init__(
        self,
        *,
        seed: int,
        undo_seconds: float,
        self_check_every: int,
        labels: LabelStore,
        show: Callable[[PairSampled], None],
        wake: Callable[[], None] = lambda: None,
        picking: Picking | None = None,
    ) -> None:
        self._picking = picking or Picking(seed=seed)
        self._seed = seed
        self._undo_seconds = undo_seconds
        self._self_check_every = self_check_every
        self._labels = labels
        self._show = show
        self._wake = wake
        self._lock = threading.RLock()
        self._batches: deque[Sequence[Pair]] = deque()
        self._answers: dict[str, Answered] = {}
        self._known: Mapping[str, Verdict] = {}
        self._repeats: dict[str, Pair] = {}
        self._decided: list[JudgedPair] = []  # what a repeat may be drawn from
        self._count = 0  # answers of the person, in all sittings
        self._repeated_at = 0  # the count when an earlier pair came again
        self._agreed = 0
        self._checked = 0

    # -- the training loop's side ----------------------------------------------------------------

    def restore(self, labels: Mapping[str, Verdict]) -> None:
        """Labels by pair that were given before a restart; their pairs are not asked again."""
        self._known = labels
        self._count = len({*map(prompt_id, labels)})
        self._repeated_at = self._count - self._count % max(1, self._self_check_every)

    def submit(self, pairs: Sequence[Pair], verdicts: Mapping[str, Verdict] | None = None) -> None:
        """Begin to ask for a batch, or for what is left of one from before a restart; not for the
        pairs that have one of `verdicts`."""
        # Before the lock, which who answers waits for: the disk may be away.
        known = {pair.pair_id: self._known_labels(pair) for pair in pairs}
        with self._lock:
            self._batches.append(pairs)
            for pair in pairs:
                judged = known[pair.pair_id]
                if not judged and verdicts and (verdict := verdicts.get(pair.pair_id)):
                    judged = (JudgedPair(pair, verdict),)
                if judged:
                    self._answers[pair.pair_id] = Answered(judged)
                else:
                    self._show(self._shown(pair))

    def open_batches(self) -> int:
        """Batches with a pair that nobody has answered."""
        with self._lock:
            return sum(any(self._open(pair) for pair in batch) for batch in self._batches)

    def pending(self) -> list[Sequence[Pair]]:
        """Batches that were not collected, oldest first."""
        with self._lock:
            return list(self._batches)

    def collect(self, *, leave_out: Choice | None = None) -> list[JudgedPair] | None:
        """The oldest batch, once all of it is answered and can no longer be undone; with
        `leave_out`, now, and that is the verdict on what is not answered."""
        with self._lock:
            if not self._batches or (leave_out is None and self.settles_in() > 0):
                return None
            batch = self._batches.popleft()
            for pair in filter(self._open, batch if leave_out else ()):
                left_out = JudgedPair(pair, Verdict(leave_out or "skip"))
                self._answers[pair.pair_id] = Answered((left_out,))
            return [judged for pair in batch for judged in self._answers.pop(pair.pair_id).judged]

    def settles_in(self) -> float:
        """Seconds until the oldest batch can be collected; infinity while it lacks an answer."""
        with self._lock:
            if not self._batches or any(self._open(pair) for pair in self._batches[0]):
                return float("inf")
            last = max(
                (self._answers[pair.pair_id] for pair in self._batches[0]),
                key=lambda answer: answer.order,
            )
            newest = max(answer.order for answer in self._answers.values())
            if newest > last.order:
                return 0.0
            return max(0.0, last.at + self._undo_seconds - time.monotonic())

    # -- the person's side -----------------------------------------------------------------------

    def waiting(self) -> list[PairSampled]:
        """Pairs that want an answer, in the order in which they should be shown."""
        with self._lock:
            repeats = [
                self._shown(pair, repeat=True)
                for pair_id, pair in self._repeats.items()
                if pair_id not in self._answers
            ]
            fresh = [
                self._shown(pair) for batch in self._batches for pair in batch if self._open(pair)
            ]
            return repeats + fresh

    def answer(
        self, pair_id: str, shown: Shown | Pick, *, note: str = "", flagged: bool = False
    ) -> bool:
        """Give a verdict in terms of what the screen showed.

        Returns False, and changes nothing, for a pair that does not wait: a second press.

        Raises:
            StorageError: the label could not be written; the pair still waits.
            ValueError: a pick of places that were not shown, or without the worst where that is
                asked for.
        """
        with self._lock:
            if pair_id in self._repeats and not isinstance(shown, Pick):
                self._answer_again(pair_id, shown)
                return True
            pair = self._find(pair_id)
            if pair is None or not self._open(pair):
                return False
            judged = self._judged(pair, shown, note, flagged)
            self._labels.write(judged)
            self._count += 1
            self._answers[pair_id] = Answered(judged, self._count, time.monotonic())
            self._maybe_repeat()
            self._decided += [each for each in judged[:1] if each.decided]
        self._wake()
        return True

    def undo(self, pair_id: str) -> Literal["undone", "learned", "unknown"]:
        """Take a label back.

        "undone": the pair waits again. "learned": its update was taken already, so nothing was
        changed; `relabel` changes the label. "unknown": there is no label to take back.
        """
        with self._lock:
            if pair_id.endswith(AGAIN):
                return "unknown"
            pair = self._find(pair_id)
            if pair is None:
                return "learned" if self._labels.of_prompt(pair_id) else "unknown"
            if self._open(pair):
                return "unknown"
            labels = {each.pair.pair_id for each in self._answers[pair_id].judged}
            self._labels.retract(labels)
            self._forget(labels)
            del self._answers[pair_id]
            self._show(self._shown(pair))
            return "undone"

    def labels_of(self, pair_id: str) -> list[str]:
        """The ids of the labels that the prompt of a pair has: one, unless of more than two answers
        the best was to be a pair with each other."""
        return self._labels.of_prompt(prompt_id(pair_id))

    def given(self, pair_id: str) -> Label | None:
        """The stored label of a pair, in terms of what the screen showed; None: it has none."""
        line = self._labels.find(pair_id)
        if line is None:
            return None
        pair = RecordedPair.from_record(line)
        left, right = pair.first, pair.second
        if not self._first_is_left(pair_id):
            left, right = right, left
        choice = pair.verdict.choice
        shown = [each for each in get_args(Shown) if self._choice(pair_id, each) == choice]
        verdict = shown[0] if shown else "skip"
        return Label(pair_id, pair.prompt, left, right, verdict, pair.messages)

    def relabel(self, pair_id: str, shown: Shown | None) -> bool:
        """Change the stored label of a pair that was learned from, or with None take it out; the
        update stays as it was. False, and nothing is changed, for a pair that has no label or
        that is not learned from yet.

        Raises:
            StorageError: the label could not be changed.
        """
        with self._lock:
            waits = self._find(prompt_id(pair_id)) is not None
            if waits or self._labels.find(pair_id) is None:
                return False
            self._labels.relabel(pair_id, None if shown is None else self._choice(pair_id, shown))
            self._forget({pair_id})
            return True

    def agreement(self) -> tuple[int, int]:
        """How often a pair shown again, swapped, got the same verdict; of how many."""
        with self._lock:
            return self._agreed, self._checked

    # -- inside ----------------------------------------------------------------------------------

    def _known_labels(self, pair: Pair) -> tuple[JudgedPair, ...]:
        """The labels that the prompt of a pair has from before a restart, or before the run went
        back; or what comes of it where nobody has to judge it."""
        pairs, nobody = pairs_of(pair), unasked(pair)
        known = [(each, self._known.get(each.pair_id)) for each in pairs]
        if nobody is None and not any(label for _, label in known):
            known = [(each, self._labels.claim(each)) for each in pairs]
        labels = [(each, label) for each, label in known if label]
        if not labels:
            return (nobody,) if nobody else ()
        return judged_of(pair, labels)

    def _judged(
        self, pair: Pair, shown: Shown | Pick, note: str, flagged: bool
    ) -> tuple[JudgedPair, ...]:
        """What a verdict makes of a pair, or of more answers to a prompt."""

        def label(choice: Choice) -> Verdict:
            return Verdict(choice, note=note, flagged=flagged)

        if pair.others:
            return self._picking.judged(pair, shown, label)
        if isinstance(shown, Pick):
            raise ValueError(f"pair {pair.pair_id} has two answers, which are left and right")
        return (JudgedPair(pair, label(self._choice(pair.pair_id, shown))),)

    def _open(self, pair: Pair) -> bool:
        return pair.pair_id not in self._answers

    def _forget(self, pair_ids: Collection[str]) -> None:
        """Draw no repeat from pairs whose label is another now, or gone."""
        self._decided = [each for each in self._decided if each.pair.pair_id not in pair_ids]

    def _find(self, pair_id: str) -> Pair | None:
        pairs = (pair for batch in self._batches for pair in batch)
        return next((pair for pair in pairs if pair.pair_id == pair_id), None)

    def _first_is_left(self, pair_id: str) -> bool:
        """The hidden order: a coin thrown for each pair; a repeat is its pair swapped."""
        original = pair_id.removesuffix(AGAIN)
        coin = random.Random(f"{self._seed} {original}").random() < 0.5
        return coin == (original == pair_id)

    def _choice(self, pair_id: str, shown: Shown) -> Choice:
        if shown in UNDECIDED:
            return UNDECIDED[shown]
        return "first" if (shown == "left") == self._first_is_left(pair_id) else "second"

    def _shown(self, pair: Pair, *, repeat: bool = False) -> PairSampled:
        pair_id = pair.pair_id + AGAIN if repeat else pair.pair_id
        places = self._picking.places(pair) if pair.others else [0, 1]
        if not pair.others and not self._first_is_left(pair_id):
            places = [1, 0]
        answers = pair.answers
        shown = tuple(
            ShownAnswer(answers[at].text, len(answers[at].ids), not answers[at].finished)
            for at in places
        )
        left, right = shown[:2]
        return PairSampled(
            pair_id=pair_id,
            step=pair.step,
            weights_step=pair.weights_step,
            prompt=pair.prompt,
            messages=pair.messages,
            left=left.text,
            right=right.text,
            left_tokens=left.tokens,
            right_tokens=right.tokens,
            left_cut=left.cut,
            right_cut=right.cut,
            repeat=repeat,
            answers=shown if len(shown) > 2 else (),
            asks_worst=self._picking.asks_worst(len(shown)),
        )

    def _maybe_repeat(self) -> None:
        every = self._self_check_every
        if not every or not self._decided or self._count - self._repeated_at < every:
            return
        self._repeated_at = self._count
        pair = random.Random(f"{self._seed} {self._count}").choice(self._decided).pair
        if pair.pair_id + AGAIN not in self._repeats:
            self._repeats[pair.pair_id + AGAIN] = pair
            self._show(self._shown(pair, repeat=True))

    def _answer_again(self, pair_id: str, shown: Shown) -> None:
        pair = self._repeats.pop(pair_id)
        before = next((each.verdict for each in self._decided if each.pair == pair), None)
        if before is not None and shown != "skip":
            self._checked += 1
            self._agreed += self._choice(pair_id, shown) == before.choice
