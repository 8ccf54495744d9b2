"""What a screen knows of a run: state folded from its events, or from the files of its folder.

Nothing here draws. The same view serves the run that trains now and one read from the archive.
"""

import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.events import (
    COMPLETE,
    EVAL_WIN_RATE,
    STATUSES,
    UNDER_WAY,
    WIN_RATE,
    EndedEarly,
    Evaluated,
    Event,
    Finding,
    Guarded,
    HealthChanged,
    Level,
    Log,
    PairJudged,
    PairSampled,
    Progress,
    Report,
    RunEnded,
    RunStarted,
    StepDone,
    SuiteChange,
    Writing,
)
from engine.json_number import real
from tui.state.series import Series
from tui.text.format import number

if TYPE_CHECKING:
    from engine.settings.schema import Settings

LOG_LINES = 5_000
NEWEST = 40  # pairs that are kept, those judged last
IN_LOG = ("loss", "margin", "accuracy", "kl")  # metrics that a line of the log has of a report
PACE_STEPS = 50  # newest steps that tell how long one takes a person
NOT_MEASURED = "not measured since step 0"  # of a win rate
SHOWN = {*STATUSES, "damaged"}
NOT_METRICS = {"step", "total_steps", "time", "split", "prompts", "seconds", "elapsed_seconds"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log. `text` is untrusted."""

    time: float
    level: Level
    text: str


class RunView:
    """The state of one run, as far as its events or files tell.

    `status` is that of `engine.events.RunStatus`, or `interrupted`, `damaged` or `unknown` where it
    was read from the archive. All text that comes from a model, a data set or a file is untrusted.
    """

    def __init__(self, name: str = "", *, settings: "Settings | None" = None) -> None:
        self.name = name
        self.folder = ""
        self.model = settings.model if settings else ""
        self.judge = settings.judge if settings else ""
        self.train_type = settings.train_type if settings else ""
        self.device = ""
        self.status = "running"
        self.error: str | None = None
        self.ended_early: str | None = None  # why it was over before its last step
        self.step = 0
        self.total_steps = 0
        self.warm_steps = 0  # the first ones, which learn from pairs that were there before
        self.progress: Progress | None = None
        self.started: float | None = None  # when this process began the loop
        self.first_step: int = 0  # the step it began at
        self.earlier = 0.0  # seconds that the run had taken before
        self._known = (0.0, 0.0)  # seconds that the run had taken, and when that was so
        self.ended: float | None = None
        self.series: dict[str, Series] = {}
        self.log: deque[LogLine] = deque(maxlen=LOG_LINES)
        self.log_count = 0  # lines ever, so that a reader can tell what is new
        self.pairs: deque[PairJudged] = deque(maxlen=NEWEST)  # the newest first
        self.writing: Writing | None = None  # what is being sampled, for a person who waits for it
        self.evaluation: Evaluated | None = None
        self._report: Report | None = None  # the newest means, which are what the files hold
        self.findings: tuple[Finding, ...] = ()  # what is wrong with the run, the worst first
        self.suites: tuple[SuiteChange, ...] = ()  # what the guard found

    @property
    def status(self) -> str:
        """What the run does, or how it ended."""
        return self._status

    @status.setter
    def status(self, status: str) -> None:
        self._status = status if status in SHOWN else "unknown"

    # -- reading ---------------------------------------------------------------------------------

    def latest(self, metric: str) -> float | None:
        """The newest value of a metric."""
        series = self.series.get(metric)
        return series.latest if series else None

    def points(self, metric: str) -> int:
        """How many points of a metric were ever added: what tells whether it has changed."""
        series = self.series.get(metric)
        return series.added if series else 0

    @property
    def newest(self) -> PairJudged | None:
        """The pair that was judged last."""
        return self.pairs[0] if self.pairs else None

    @property
    def phase(self) -> str:
        """What the run does now, in one word."""
        if self.status != "running":
            return self.status
        if self.progress:
            return self.progress.phase
        return "training" if self.step else "starting"  # files do not tell of phases

    @property
    def live(self) -> bool:
        """Whether the run may still change."""
        return self.status in UNDER_WAY

    @property
    def only_start_measured(self) -> bool:
        """Whether the newest win rate is that of the model against itself, before any step."""
        return self.evaluation is not None and self.evaluation.step == 0 < self.step

    @property
    def can_measure(self) -> bool:
        """Whether the run is over at a step without a win rate, and has steps left to go on with,
        by which it could be measured."""
        measured = -1 if self.evaluation is None else self.evaluation.step
        return not self.live and self.status not in COMPLETE and measured < self.step

    def elapsed(self, now: float | None = None) -> float | None:
        """Seconds that the run took so far, earlier sittings included and pauses left out; None
        before it began."""
        if self.started is None:
            return self.earlier or None
        seconds, at = self._known
        if self.status == "paused":
            return seconds
        return seconds + max(0.0, (self.ended or now or time.time()) - at)

    def _know(self, seconds: float | None, at: float) -> None:
        """Count on from what the run had taken at a time, as the engine tells or, with None, as
        counted here."""
        self._known = (self.elapsed(at) or 0.0 if seconds is None else seconds, at)

    @property
    def own_steps(self) -> int:
        """The steps that sample pairs of their own: all but those of the warm start."""
        return max(0, self.total_steps - self.warm_steps)

    @property
    def warming(self) -> bool:
        """Whether the run learns from pairs that were there before it."""
        return self.step < self.warm_steps

    def seconds_left(self) -> float | None:
        """Seconds to the last step at the pace so far, or to the end of a warm start, whose steps
        are no measure for the others, as the evaluation of the start is none; None before the first
        step, and after the last, while what was trained is evaluated and kept."""
        total_steps = self.warm_steps if self.warming else self.total_steps
        if not self.live or not total_steps:
            return None
        left = max(0, total_steps - self.step)
        if not left:
            return None
        if self.judge == "human":
            pace = self._pace()
            return None if pace is None else pace * left
        step, seconds = self._paced_from()
        seconds = max(seconds, self._measured_at(step))
        # Up to the newest step: a long one, or a win rate that is measured, does not raise it.
        steps, seconds = self.step - step, (self.elapsed(self._known[1]) or 0.0) - seconds
        return seconds / steps * left if steps > 0 and seconds > 0 else None

    def _paced_from(self) -> tuple[float, float]:
        """The step from which on the pace is measured, with the seconds of training up to it."""
        # Files tell of all sittings together.
        first = (0, 0.0) if self.started is None else (self.first_step, self.earlier)
        if self.warming or first[0] >= self.warm_steps:
            return first
        series = max(self.series.values(), key=len, default=None)
        points = zip(series.steps, series.times, strict=True) if series else ()
        after = (point for point in points if point[0] >= self.warm_steps)
        return next(after, (self.step, 0.0))

    def _measured_at(self, step: float) -> float:
        """Seconds of training up to the win rate of a step, or 0."""
        rates = (self.series.get(name) for name in (WIN_RATE[0], EVAL_WIN_RATE[0]))
        points = (zip(each.steps, each.times, strict=True) for each in rates if each)
        times = (time for of in points for at, time in of if at == step and math.isfinite(time))
        return max(times, default=0.0)

    def _pace(self) -> float | None:
        """Seconds of a step of late, the median: a person who was away overnight is no measure."""
        series = max(self.series.values(), key=len, default=None)
        if series is None:
            return None
        points = list(zip(series.steps, series.times, strict=True))[-PACE_STEPS:]
        paces = [
            (time - before) / (step - earlier)
            for (earlier, before), (step, time) in pairwise(points)
            if time > before
        ]
        return statistics.median(paces) if paces else None

    # -- folding ---------------------------------------------------------------------------------

    def fold(self, events: Iterable[Event]) -> None:
        """Take in events, oldest first."""
        for event in events:
            self._fold_one(event)

    def _fold_one(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.name, self.folder, self.device = event.name, event.folder, event.device
                self.step = self.first_step = event.step
                self.total_steps, self.warm_steps = event.total_steps, event.warm_steps
                self.earlier = self._trained() if event.seconds is None else event.seconds
                self.started, self.ended = event.time, None
                self._known = (self.earlier, event.time)
                self.status, self.error, self.ended_early = "running", None, None
                if self.evaluation and self.evaluation.step > event.step:
                    self.evaluation = None
                for series in self.series.values():
                    series.cut(event.step)
                while self.pairs and self.pairs[0].step > event.step:  # they are judged again
                    self.pairs.popleft()
            case HealthChanged():
                self.findings = event.findings
            case Guarded():
                self.suites = event.suites
            case Progress():
                self.progress = event
                self.writing = self.writing if event.phase == "sampling" else None
                status = "paused" if event.phase == "paused" else "running"
                if self.live and status != self.status:
                    self._know(None, event.time)
                    self.status = status
            case Writing():
                self.writing = event
            case PairSampled():
                self.writing = None
            case Log():
                self.add_log(event.time, event.level, event.text)
            case StepDone():
                self.step, self.total_steps = event.step, event.total_steps
                self._know(event.seconds, event.time)
                self.add_metrics(event.step, event.metrics, self.elapsed(event.time))
            case Report():
                self._report = event
                own = {k: v for k, v in event.metrics.items() if not self._has(k, event.step)}
                self.add_metrics(event.step, own, self.elapsed(event.time))
                self.add_log(event.time, "info", _report_line(event))
            case Evaluated():
                self.evaluation = event
                if event.split == "kept":  # of an earlier step, and so no point of the series
                    return
                names = (*WIN_RATE, *EVAL_WIN_RATE)
                values = {name: getattr(event, name) for name in names}
                self.add_metrics(event.step, values, self.elapsed(event.time))
            case EndedEarly():
                self.ended_early = event.reason
            case PairJudged():
                self.pairs.appendleft(event)
            case RunEnded():
                self._know(event.seconds, event.time)
                self.status, self.error, self.ended = event.status, event.error, event.time
                if self._report and self._report.step == self.step:  # the same numbers as later
                    self.add_metrics(self.step, self._report.metrics, self.elapsed(event.time))
                if event.error:
                    self.add_log(event.time, "error", event.error)
            case _:
                pass

    def add_metrics(
        self, step: float, metrics: Mapping[str, object], seconds: float | None = None
    ) -> None:
        """Add a point to each metric's series; what is no number is left out.

        `seconds` is how long the run had trained, if known.
        """
        at = math.nan if seconds is None else seconds
        for name, value in metrics.items():
            if name in NOT_METRICS or (point := real(value)) is None:
                continue
            series = self.series.get(name)
            if series is None:
                series = self.series[name] = Series()
            series.add(step, point, at)

    def _trained(self) -> float:
        """Seconds of training up to the newest point."""
        times = [series.times[-1] for series in self.series.values() if series]
        return max((each for each in times if math.isfinite(each)), default=0.0)

    def _has(self, metric: str, step: float) -> bool:
        series = self.series.get(metric)
        return bool(series) and series.steps[-1] >= step

    def add_log(self, at: float, level: Level, text: str) -> None:
        """Add a line to the log, which keeps the newest."""
        self.log.append(LogLine(at, level, text))
        self.log_count += 1


def _report_line(report: Report) -> str:
    """`step 20  loss 0.472  margin 1.31`."""
    known = ((name, real(report.metrics.get(name))) for name in IN_LOG)
    values = [f"{name} {number(value)}" for name, value in known if value is not None]
    return "  ".join([f"step {report.step:,}", *values])
