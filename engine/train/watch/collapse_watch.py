"""A run watches the text that it samples: whether it breaks, against how it was at first.

Everything is counted over completions that were sampled and scored anyway. Four things are looked
at, over the newest batches of at least `LEAST` completions:

- kl: log pi - log ref of trained completions, in nats a token and a completion. At the start it is
  0 by itself. Both have to be far: a short answer that people wanted is far by the token alone.
- loops: the share of 4-grams of a completion's tokens that came before in the same completion.
- ends: the share of completions that the model ended itself.
- words: distinct words of a completion for each of its tokens, few in a loop, in one endless word
  and in a string of signs, and as many in a short answer as in a long one.

The thresholds were set by runs that break and runs that do not; `tests/benchmarks/README.md` has
the figures.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from engine.data.pairs import JudgedPair
from engine.settings.schema import Settings
from engine.train.evaluation import wilson
from engine.train.update import StepResult

LEAST = 16  # completions that are compared, at first and now
LEAST_SCORED = 4  # completions that a kl is told of
KL_A_TOKEN = 0.75  # nats
KL_A_COMPLETION = 8.0  # nats
MORE_LOOPS = 0.25  # of all 4-grams, above the share at first
FEWER_WORDS = 0.5  # of the distinct words a token at first
SURE = 3.0  # standard deviations by which shares of completions that end are apart
CHECKPOINT_EVERY = 10  # updates

GRAM = 4  # tokens
# A sign of a script without spaces counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over completions."""

    completions: int = 0
    tokens: int = 0
    ended: int = 0
    grams: int = 0
    repeated: int = 0  # of the grams
    words: int = 0  # that differ within a completion
    kl: float = 0.0  # nats, of those that were trained on
    scored: int = 0
    scored_tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        both = zip(astuple(self), astuple(other), strict=True)
        return Counts(*(one + two for one, two in both))

    @property
    def loops(self) -> float:
        """Share of 4-grams that came before in the same completion."""
        return self.repeated / self.grams if self.grams else 0.0

    @property
    def words_a_token(self) -> float:
        """Distinct words of a completion for each of its tokens."""
        return self.words / self.tokens if self.tokens else 0.0


class CollapseWatch:
    """What is remembered of the first and of the newest batches, and the steps at which the run
    has a checkpoint for the watch's sake."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Empty, or from what `state` gave."""
        known = state or {}
        self.over = bool(known.get("over", False))  # it has spoken, and is not asked again
        self.checkpoints = [int(step) for step in known.get("checkpoints", ())]  # oldest first
        self._first = Counts(*known.get("first", ()))
        # With the step of the weights that wrote them.
        self._newest = [(int(step), Counts(*counts)) for step, counts in known.get("newest", ())]

    def state(self) -> dict[str, Any]:
        """Plain values from which `CollapseWatch(state)` is the same."""
        return {
            "over": self.over,
            "checkpoints": self.checkpoints,
            "first": list(astuple(self._first)),
            "newest": [[step, list(astuple(counts))] for step, counts in self._newest],
        }

    def add(self, judged: Sequence[JudgedPair], result: StepResult) -> None:
        """Take in the completions of a step, and what scoring them gave."""
        if self.over or not judged:
            return
        counts = counted(judged, result)
        if self._first.completions < LEAST:
            self._first += counts
        self._newest.append((min(each.pair.weights_step for each in judged), counts))
        while sum(each.completions for _, each in self._newest[1:]) >= LEAST:
            del self._newest[0]

    def checkpoint_due(self, step: int, steps_per_update: int) -> bool:
        """Whether the run should have a checkpoint of this step to go back to."""
        every = CHECKPOINT_EVERY * steps_per_update
        return not self.over and step % every == 0 and step not in self.checkpoints

    def add_checkpoint(self, step: int) -> None:
        """There is a checkpoint of this step. Of two, one is from before whatever is seen now."""
        self.checkpoints = [*self.checkpoints[-1:], step]

    def sound_step(self) -> int | None:
        """The newest step with a checkpoint from before the weights that are looked at now; the
        start, where these are looked at from the start on."""
        oldest = min((step for step, _ in self._newest), default=0)
        return max((step for step in self.checkpoints if step < max(oldest, 1)), default=None)

    def fault(self) -> str | None:
        """What has broken, in words; None where nothing has, or too little was seen."""
        if self.over:
            return None
        now = sum((counts for _, counts in self._newest), Counts())
        faults = [*_far(now)]
        if self._first.completions >= LEAST:
            faults += _changes(self._first, now)
        return " and ".join(faults) or None


def advice(settings: Settings) -> str:
    """What to try where the text has broken, without what has no effect on a run."""
    tries = ["a lower learning_rate", "a higher beta"]
    if settings.train_type != "full":
        tries.append("a lower lora_parameters.scale")
    *first, last = tries
    options = f"try {', '.join(first)} or {last}"
    if settings.collapse_watch == "warn":
        return options
    return f"{options}; collapse_watch: off trains all the same"


def counted(judged: Sequence[JudgedPair], result: StepResult) -> Counts:
    """The sums over the completions of a step."""
    counts = Counts()
    for each in judged:
        for answer in each.answers:
            ids = answer.ids
            grams = [ids[at : at + GRAM] for at in range(len(ids) - GRAM + 1)]
            counts += Counts(
                completions=1,
                tokens=len(ids),
                ended=int(answer.finished),
                grams=len(grams),
                repeated=len(grams) - len(set(grams)),
                words=len(set(_WORD.findall(answer.text.lower()))),
            )
    if not result.pairs:
        return counts
    # A price on length decides other pairs than the judge: what was trained on counts.
    scored = 2 * result.pairs
    kl = scored * result.means["kl"]
    return counts + Counts(kl=kl, scored=scored, scored_tokens=result.tokens)


def _far(now: Counts) -> list[str]:
    """That the policy is too far from its reference."""
    if now.scored < LEAST_SCORED:
        return []
    token, completion = now.kl / now.scored_tokens, now.kl / now.scored
    if token < KL_A_TOKEN or completion < KL_A_COMPLETION:
        return []
    return [f"answers are {token:.1f} nats a token from what they were (kl)"]


def _changes(first: Counts, now: Counts) -> list[str]:
    """What differs from the first batches, in words."""
    faults = []
    if now.loops > first.loops + MORE_LOOPS:
        faults.append(
            f"answers repeat themselves ({now.loops:.0%} of their 4-grams came before, at first "
            f"{first.loops:.0%})"
        )
    least = wilson(first.ended / first.completions, first.completions, SURE)[0]
    most = wilson(now.ended / now.completions, now.completions, SURE)[1]
    if most < least:
        faults.append(
            f"answers no longer end by themselves ({now.ended} of {now.completions} do, at first "
            f"{first.ended} of {first.completions})"
        )
    if now.words_a_token < FEWER_WORDS * first.words_a_token:
        faults.append(
            f"answers have few words ({now.words_a_token:.2f} a token that differ, at first "
            f"{first.words_a_token:.2f})"
        )
    return faults
