"""A model and a person as one judge: the model labels what it is sure of, the person the rest.

Pairs on which |q - 0.5| is below a margin, those without a valid verdict, and a few of the others,
drawn at random, wait for the person, whose verdict wins. The run does not wait: once it has sampled
as far ahead as it may, what is not answered in the oldest batch is left out, and never guessed.
"""

import math
import random
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from engine.compute.sampling import stream_seed
from engine.data.pairs import DECIDED, JudgedPair, Pair, Verdict
from engine.data.recorded_pairs import RecordedPair
from engine.events import Choice, PairSampled
from engine.judges import PairJudge
from engine.judges.card import FEWEST, cohen_kappa, kappa_interval
from engine.judges.contest import Choosing
from engine.judges.human import HumanJudge, LabelStore
from engine.judges.queued import judge_batch
from engine.runs.json_lines import Record
from engine.settings.schema import Settings

UNANSWERED: Choice = "unanswered"


class HybridJudge:
    """Judges batches by a model on the engine's thread, and puts some pairs before `person`."""

    name = "hybrid"
    stores_labels = True

    def __init__(
        self,
        model: PairJudge,
        settings: Settings,
        *,
        last_step: int,
        labels: LabelStore,
        show: Callable[[PairSampled], None],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            last_step: after whose batch no more is sampled, so that nothing is waited for.
            labels, show, wake: as of `HumanJudge`.
        """
        self.both = BothJudged(labels, settings.seed)
        self.person = HumanJudge(
            seed=settings.seed,
            undo_seconds=settings.undo_seconds,
            self_check_every=settings.self_check_every,
            labels=self.both,
            show=show,
            wake=wake,
        )
        self._model = model
        self._seed = settings.seed
        self._margin = settings.hybrid_margin
        self._audit_rate = settings.audit_rate
        self._lookahead = settings.lookahead_batches
        self._last_step = last_step
        self._choosing = Choosing.of(settings)
        self._unread: deque[Sequence[Pair]] = deque()  # batches that the model has not judged
        self._read_batches: deque[Sequence[Pair]] = deque()  # as they were handed over
        self._chosen: dict[str, JudgedPair] = {}  # of these, as the model has chosen and judged

    def restore(self, lines: Iterable[Record]) -> None:
        """The lines of the run's pairs from before a restart: what the person was asked is not
        asked again, be it answered or not."""
        records = [RecordedPair.from_record(line) for line in lines]
        asked = [each for each in records if each.judge in (HumanJudge.name, self.name)]
        self.person.restore({each.pair_id: each.verdict for each in asked})
        self.both.restore(asked)

    def submit(self, pairs: Sequence[Pair]) -> None:
        """Hand over a batch; the model reads it when `collect` is called next."""
        self._unread.append(pairs)

    def open_batches(self) -> int:
        """Batches that were not collected."""
        return len(self._unread) + len(self.person.pending())

    def pending(self) -> list[Sequence[Pair]]:
        """Batches that were not collected, oldest first."""
        return [*self._read_batches, *self._unread]

    def settles_in(self) -> float:
        """Seconds until `collect` may have a batch, or has one to read."""
        if self._unread:
            return 0.0
        if not self.person.pending():
            return math.inf
        return 0.0 if self._time_is_up() else self.person.settles_in()

    def collect(self) -> list[JudgedPair] | None:
        """Let the model read what is new; then the oldest batch, if it is answered or its time is
        up.

        Raises:
            Interrupted, JudgeAway: as the model; what it has not read keeps waiting.
        """
        while self._unread:
            self._read(self._unread[0])
            self._unread.popleft()
        batch = self.person.collect(leave_out=UNANSWERED if self._time_is_up() else None)
        if batch is None:
            return None
        self._read_batches.popleft()
        return [self._signed(each) for each in batch]

    # -- inside ----------------------------------------------------------------------------------

    def _time_is_up(self) -> bool:
        """Whether the run would have to wait for the person."""
        waiting = self.pending()
        if not waiting:
            return False
        return len(waiting) > self._lookahead or waiting[-1][0].step >= self._last_step

    def _read(self, pairs: Sequence[Pair]) -> None:
        """Have the model judge a batch, and put before the person what is for them."""
        judged = judge_batch(self._model, pairs, self._choosing)
        sure: dict[str, Verdict] = {}
        for handed_over, each in zip(pairs, judged, strict=True):
            pair = each.pair
            self._chosen[pair.pair_id] = each
            if pair.automatic_choice() is not None:
                continue
            signed = replace(each.verdict, judge=self._model.name)
            unsure = signed.q is None or abs(signed.q - 0.5) < self._margin
            audit = not unsure and self._is_audited(handed_over)
            self.both.remember(pair, signed, audit=audit)
            if not unsure and not audit:
                sure[pair.pair_id] = signed
        self.person.submit([each.pair for each in judged], sure)
        self._read_batches.append(pairs)

    def _is_audited(self, pair: Pair) -> bool:
        """Whether the person checks a pair that the model is sure of: a draw by step and place."""
        seed = stream_seed(self._seed, "audit", pair.step, pair.pair_id.rpartition("-")[2])
        return random.Random(seed).random() < self._audit_rate

    def _signed(self, judged: JudgedPair) -> JudgedPair:
        """A pair of a batch that is collected, with who gave its verdict."""
        verdict, model = judged.verdict, self.both.take(judged.pair)
        chosen = self._chosen.pop(judged.pair.pair_id)
        judged = replace(judged, sampled=chosen.sampled, judgements=chosen.judgements)
        if model is None or verdict.judge:  # nobody had to judge it, or the model alone has
            return judged
        by = self.name if verdict.choice == UNANSWERED else HumanJudge.name
        return replace(judged, verdict=replace(verdict, judge=by, model=model))


class BothJudged:
    """The store of the person's labels, which adds what the model says of the same pair, and tells
    how well the two agree. The person's thread and the engine's may both call it."""

    def __init__(self, labels: LabelStore, seed: int) -> None:
        self._labels = labels
        self._seed = seed
        self._lock = threading.Lock()
        self._models: dict[str, Verdict] = {}  # of pairs that were not collected
        self._choices: dict[str, tuple[int, Choice, Choice]] = {}  # step; the person's, the model's
        self._kappa: tuple[list[tuple[str | None, str]], dict[str, float]] = [], {}

    def restore(self, records: Iterable[RecordedPair]) -> None:
        """Pairs that both have judged before a restart."""
        for each in records:
            if each.judge == HumanJudge.name and (model := each.verdict.model):
                self._choices[each.pair_id] = each.step, each.verdict.choice, model.choice

    def remember(self, pair: Pair, verdict: Verdict, *, audit: bool) -> None:
        """What the model says of a pair."""
        self._models[pair.pair_id] = replace(verdict, audit=audit)

    def take(self, pair: Pair) -> Verdict | None:
        """What the model has said of a pair, which then is forgotten."""
        return self._models.pop(pair.pair_id, None)

    def agreement(self, step: int) -> dict[str, float]:
        """Cohen's kappa between person and model with its 95% interval, over the pairs up to a step
        that both have judged and the person decided; only how many there are where they are too
        few or all alike."""
        with self._lock:
            each = sorted((key, value) for key, value in self._choices.items() if value[0] <= step)
        pairs: list[tuple[str | None, str]] = [
            (person, model) for _, (_, person, model) in each if person in DECIDED
        ]
        if pairs != self._kappa[0]:
            self._kappa = pairs, _kappa(pairs, self._seed)
        return {"both_judged": len(pairs), **self._kappa[1]}

    # -- as a store ------------------------------------------------------------------------------

    def write(self, judged: Sequence[JudgedPair]) -> None:
        """Store labels."""
        models = [self._models.get(each.pair.pair_id) for each in judged]
        both = zip(judged, models, strict=True)
        self._labels.write(
            [replace(each, verdict=replace(each.verdict, model=model)) for each, model in both]
        )
        with self._lock:
            for each, model in zip(judged, models, strict=True):
                if model:
                    choices = each.verdict.choice, model.choice
                    self._choices[each.pair.pair_id] = each.pair.step, *choices

    def claim(self, pair: Pair) -> Verdict | None:
        """The label that the person gave the same texts in a step that the run went back from."""
        verdict = self._labels.claim(pair)
        if verdict and verdict.model:
            with self._lock:
                self._choices[pair.pair_id] = pair.step, verdict.choice, verdict.model.choice
        return verdict

    def retract(self, pair_ids: Collection[str]) -> None:
        """Take the labels of a prompt that waits again out of the store."""
        self._labels.retract(pair_ids)
        with self._lock:
            for pair_id in pair_ids:
                self._choices.pop(pair_id, None)

    def find(self, pair_id: str) -> Record | None:
        """The line of a pair, None where it has no label."""
        return self._labels.find(pair_id)

    def of_prompt(self, prompt: str) -> list[str]:
        """The ids of the pairs of a prompt that have a label."""
        return self._labels.of_prompt(prompt)

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        """Give a stored pair another verdict, or with None take its label out."""
        self._labels.relabel(pair_id, choice)
        with self._lock:
            before = self._choices.pop(pair_id, None)
            if before and choice is not None:
                self._choices[pair_id] = before[0], choice, before[2]


def _kappa(pairs: Sequence[tuple[str | None, str]], seed: int) -> dict[str, float]:
    kappa = cohen_kappa(pairs) if len(pairs) >= FEWEST else None
    if kappa is None:
        return {}
    low, high = kappa_interval(pairs, seed=seed)
    known = {"kappa": kappa, "kappa_low": low, "kappa_high": high}
    return {name: value for name, value in known.items() if value is not None}
