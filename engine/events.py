"""What a run tells the world: small frozen facts, and the bounded buffer they wait in.

The engine's thread puts events; a screen or the command line drains them when it likes. The
engine never waits for a reader: when nobody drains, the oldest events fall out, and of the
events that only say how far something is, the newest alone is kept.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, get_args

from engine.message import Message

PhaseName = Literal[
    "loading",
    "downloading",
    "sampling",
    "judging",
    "waiting",  # for a person's verdicts
    "updating",
    "warming",  # learning from pairs that were there before the run
    "evaluating",
    "saving",
    "fusing",
    "paused",
    "idle",
]
Level = Literal["debug", "info", "warning", "error"]
# `untrained`: every step was taken, and no pair could be learned from.
RunStatus = Literal["running", "paused", "stopped", "finished", "untrained", "failed"]
UNDER_WAY: tuple[RunStatus, ...] = ("running", "paused")  # a process holds the run
COMPLETE: tuple[RunStatus, ...] = ("finished", "untrained")  # no step is left to take
# What a run of the archive may be shown as: interrupted is one under way that nobody holds.
STATUSES = (*get_args(RunStatus), "interrupted")
# `chosen` says which completion won; only "first" and "second" are ever trained on.
# "unanswered": it was for a person, and the run did not wait.
Choice = Literal[
    "first", "second", "tie", "both_bad", "skip", "identical", "empty", "invalid", "unanswered"
]
# What a win rate is measured on. `kept`: the held-out prompts once more, with answers drawn anew,
# by the policy that the run keeps, since the best of several measurements is flattered.
Split = Literal["valid", "test", "kept"]
# A person's verdict, in the hidden order in which the two completions are shown.
Shown = Literal["left", "right", "tie", "both_bad", "skip"]


@dataclass(frozen=True, slots=True)
class Pick:
    """A person's verdict on more than two answers, by their places on the screen, from 0: the best
    one, and the worst one where that is asked for."""

    best: int
    worst: int | None = None


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """One of more than two answers, as it is to be shown."""

    text: str
    tokens: int
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. `time` is seconds since the epoch."""

    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The model is loaded and the loop begins (again), with so many `pairs` in the run's files.
    The first `warm_steps` learn from pairs that were there before the run. `seconds` is what it
    took up to here, earlier sittings included, without pauses; None: not known."""

    name: str
    folder: str
    step: int
    total_steps: int
    device: str
    trainable_parameters: int
    total_parameters: int
    prompts: int
    dropped_prompts: dict[str, int]
    pairs: int = 0
    warm_steps: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far the current phase is: `done` of `total` `unit`s; total 0 means not known. Where a
    unit takes long, `share` is what is done of all, parts of units too."""

    phase: PhaseName
    step: int
    done: int = 0
    total: int = 0
    unit: str = ""
    share: float | None = None

    @property
    def done_share(self) -> float:
        """What is done of all, from 0 to 1; 0 where that is not known."""
        if self.share is not None:
            return self.share
        return self.done / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Event):
    """A line for the log. `text` is untrusted: it may quote a model or a library."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone(Event):
    """One optimizer step is taken. `metrics` are this step's own values; `seconds` is what the run
    took up to here, as of `RunStarted`."""

    step: int
    total_steps: int
    metrics: dict[str, float]
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Event):
    """A line of metrics.jsonl: means over the steps since the last report."""

    step: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Example:
    """One held-out prompt with the answers of the reference (before) and the policy (after)."""

    prompt: str
    before: str
    after: str


# What metrics.jsonl calls a win rate and its 95% interval: by the run's judge, and by an evaluator
# that is another one.
WIN_RATE = ("win_rate", "win_rate_low", "win_rate_high")
EVAL_WIN_RATE = ("eval_win_rate", "eval_win_rate_low", "eval_win_rate_high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Event):
    """A held-out win rate of the policy against its reference, with its 95% interval, and where
    another judge than the run's measures too, that one's of the same answers; None where one gave
    no valid verdict. Where a person judges the run, `win_rate` is the evaluator's."""

    step: int
    split: Split
    win_rate: float | None
    win_rate_low: float | None
    win_rate_high: float | None
    prompts: int
    examples: tuple[Example, ...]
    eval_win_rate: float | None = None
    eval_win_rate_low: float | None = None
    eval_win_rate_high: float | None = None
    eval_prompts: int = 0


@dataclass(frozen=True, slots=True)
class SuiteChange:
    """How many answers to a suite's `items` were right before the run and still are (kept), were
    wrong and are right (gained), or were right and are wrong (lost). `p` is the probability of
    such a loss by chance, adjusted for the number of suites; None where too few were right before
    the run to tell."""

    suite: str
    items: int
    kept: int
    gained: int
    lost: int
    p: float | None

    @property
    def before(self) -> int:
        """How many were right before the run."""
        return self.kept + self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded(Event):
    """What the policy can do after a step, against what it could at the start."""

    step: int
    suites: tuple[SuiteChange, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is seen in a run, what it means, and what to try. `metric` is the one to look at."""

    level: Literal["warning", "bad"]
    text: str
    means: str
    advice: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChanged(Event):
    """What is wrong with the run now, the worst first; nothing: it is steady."""

    step: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSampled(Event):
    """A pair waits for a person, in the hidden order in which it is to be shown.

    `messages` are the turns of a prompt that is more than one of a user, else none. `answers` are
    all answers where they are more than two, of which the first two are left and right;
    `asks_worst`: the person picks the best one and then the worst.
    """

    pair_id: str
    step: int
    weights_step: int
    prompt: str
    left: str
    right: str
    left_tokens: int
    right_tokens: int
    left_cut: bool
    right_cut: bool
    messages: tuple[Message, ...] = ()
    repeat: bool = False  # an earlier pair, swapped, to measure self-agreement
    answers: tuple[ShownAnswer, ...] = ()
    asks_worst: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing(Event):
    """The answers to a prompt as far as they are written, for a person who waits for the pair."""

    prompt: str
    texts: tuple[str, ...]
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairJudged(Event):
    """A verdict. `q` is the judge's probability that `first` is better; None for a person.
    `messages` as in `PairSampled`; `rationale` is what a judge that writes has written,
    as in `engine.data.pairs.Verdict`."""

    pair_id: str
    step: int
    prompt: str
    first: str
    second: str
    choice: Choice
    q: float | None
    judge: str
    messages: tuple[Message, ...] = ()
    rationale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The run has paused by itself, until somebody helps it; `reason` is a sentence."""

    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedEarly(Event):
    """The run is over before its last step; `reason` is a sentence."""

    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Event):
    """A checkpoint is complete on disk."""

    step: int
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The engine's thread is done. `error` is one sentence: why the run failed, why nothing was
    learned, or why it stopped although nobody asked it to. `seconds` is what the run took in all,
    as its folder tells."""

    status: RunStatus
    step: int
    error: str | None = None
    seconds: float | None = None


class EventBuffer:
    """A bounded, thread-safe buffer of events between the engine and one reader."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._progress: Progress | None = None
        self._writing: Writing | None = None
        self._lock = threading.Lock()

    def put(self, event: Event) -> None:
        """Add an event; never blocks for longer than a drain takes."""
        with self._lock:
            if isinstance(event, Progress):
                self._progress = event
            elif isinstance(event, Writing):
                self._writing = event
            else:
                self._events.append(event)

    def drain(self) -> list[Event]:
        """All events since the last drain, oldest first, the newest that say how far it is last."""
        with self._lock:
            events = [*self._events, *filter(None, (self._progress, self._writing))]
            self._events.clear()
            self._progress = self._writing = None
        return events
