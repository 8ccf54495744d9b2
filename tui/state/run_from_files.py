"""The view of a run read from its folder, and kept up with while another process writes it."""

import contextlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import get_args

from engine.data.recorded_pairs import RecordedPair
from engine.events import (
    EVAL_WIN_RATE,
    WIN_RATE,
    Evaluated,
    Example,
    Finding,
    Level,
    PairJudged,
    Split,
    SuiteChange,
)
from engine.json_number import finite, real, whole
from engine.runs.folder import LOG, METRICS, PAIRS, UNDECIDED, Run, seconds_taken, shown_status
from engine.runs.json_lines import Record
from tui.state.run_view import LOG_LINES, NEWEST, RunView

RATES = ("win_rate", "eval_win_rate")
LOG_BYTES = 1_000_000  # of the end of log.txt that are read
_LEVELS = get_args(Level)
_SPLITS = get_args(Split)


@dataclass
class _News:
    """What was read of a run's files and is not in its view yet."""

    state: Record = field(default_factory=dict)
    held: bool = False  # whether some process trains the run
    metrics: list[Record] = field(default_factory=list)
    metrics_replaced: bool = False  # those of before are not there any more
    pairs: list[Record] = field(default_factory=list)
    pairs_replaced: bool = False
    log: list[str] = field(default_factory=list)


class RunFromFiles:
    """A run's `view`, folded from its files.

    `read` reads what was added to them, on any thread; `take` puts it into the view, on the thread
    that draws it, while nothing is read. `update` does both.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._metrics = run.follow(METRICS)
        self._pairs = [run.follow(file) for file in (PAIRS, UNDECIDED)]
        self._seconds: float | None = None  # that the run took, at the newest line of metrics
        self._rated: Record = {}  # the newest line of metrics that has a win rate
        self._log_at = max(0, self._log_size() - LOG_BYTES)
        self._news: _News | None = None
        self.view = RunView(run.name)
        self.view.folder = str(run.path)
        self.update()

    def update(self) -> None:
        """Read what was added since the last time, and take it in; raises as `read`."""
        self.read()
        self.take()

    def read(self) -> None:
        """Read what was added since the last time.

        Raises:
            UserError: the run is gone or damaged.
        """
        held = self.run.holder() is not None  # before the state, which a run that ends tells last
        state = self.run.state()
        news = self._news = self._news or _News()
        news.held, news.state = held, state
        self._read_metrics(news)
        self._read_pairs(news)
        self._read_log(news)

    def take(self) -> None:
        """Have the view tell of what was read."""
        news, self._news = self._news, None
        if news is None:
            return
        take_state(self.view, news.state, has_holder=news.held)
        self._take_metrics(news)
        self._date_win_rate()
        self._tell_split()
        self._take_pairs(news)
        for line in news.log:
            self._take_log_line(line)

    # -- reading ---------------------------------------------------------------------------------

    def _read_metrics(self, news: _News) -> None:
        replaced, lines = self._metrics.read()
        if replaced:
            news.metrics, news.metrics_replaced = [], True
        news.metrics += lines

    def _read_pairs(self, news: _News) -> None:
        read = [follower.read() for follower in self._pairs]
        if any(replaced for replaced, _ in read):  # a label was taken back, or is another one now
            news.pairs, news.pairs_replaced = [], True
            self._pairs = [self.run.follow(file) for file in (PAIRS, UNDECIDED)]
            read = [follower.read() for follower in self._pairs]
        news.pairs += [line for _, added in read for line in added]

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return (self.run.path / LOG).stat().st_size
        return 0

    def _read_log(self, news: _News) -> None:
        size = self._log_size()
        if size <= self._log_at:
            self._log_at = size
            return
        try:
            with (self.run.path / LOG).open("rb") as file:
                file.seek(self._log_at)
                data = file.read(size - self._log_at)
        except OSError:
            return
        lines, newline, _ = data.rpartition(b"\n")
        self._log_at += len(lines) + len(newline)
        news.log += lines.decode(errors="replace").split("\n")[-LOG_LINES:]

    # -- taking in -------------------------------------------------------------------------------

    def _take_metrics(self, news: _News) -> None:
        if news.metrics_replaced:
            self.view.series.clear()
            self._rated = {}
        for line in news.metrics:
            if "split" in line and any(real(line.get(name)) is not None for name in RATES):
                self._rated = line
            if line.get("split") == "kept":  # of an earlier step, and so no point of the series
                continue
            if (step := real(line.get("step"))) is not None:
                self._seconds = seconds_taken(line) or self._seconds
                self.view.add_metrics(step, line, self._seconds)

    def _date_win_rate(self) -> None:
        """Older runs do not say in run.json at which step their win rate was measured."""
        rates, evaluation = self.view.series.get("win_rate"), self.view.evaluation
        if evaluation and evaluation.step < 0:
            step = int(rates.steps[-1]) if rates else self.view.step
            self.view.evaluation = replace(evaluation, step=step)

    def _tell_split(self) -> None:
        """What the win rate of run.json was measured on: the metrics say it, run.json does not."""
        evaluation, rated = self.view.evaluation, self._rated
        if evaluation is None or rated.get("split") not in _SPLITS:
            return
        rates = tuple(real(rated.get(name)) for name in RATES)
        same = rates == (evaluation.win_rate, evaluation.eval_win_rate)
        if same and whole(rated.get("step")) == evaluation.step:
            self.view.evaluation = replace(evaluation, split=rated["split"])

    def _take_pairs(self, news: _News) -> None:
        if news.pairs_replaced:
            self.view.pairs.clear()
        news.pairs.sort(key=lambda line: whole(line.get("step")))
        for line in news.pairs[-NEWEST:]:
            newest = self.view.newest
            if newest is None or whole(line.get("step")) >= newest.step:
                self.view.pairs.appendleft(to_pair(line))

    def _take_log_line(self, line: str) -> None:
        """A line is `<time> <level> <text>`; one that is not belongs to the line before it."""
        stamp, _, rest = line.partition(" ")
        level, _, text = rest.partition(" ")
        last = self.view.log[-1] if self.view.log else None
        try:
            at = datetime.fromisoformat(stamp).timestamp()
            known: Level = next(each for each in _LEVELS if each == level)
        except (ValueError, OverflowError, StopIteration):
            self.view.add_log(last.time if last else 0.0, last.level if last else "info", line)
            return
        self.view.add_log(at, known, text.lstrip(" "))


def take_state(view: RunView, state: Record, *, has_holder: bool) -> None:
    """Take into a view what a run.json says; `has_holder`: some process trains the run."""
    view.status = shown_status(state, lambda: has_holder)
    for name in ("model", "judge", "train_type", "device"):
        setattr(view, name, str(state.get(name) or ""))
    view.error = str(state["error"]) if state.get("error") else None
    view.ended_early = str(state["ended"]) if state.get("ended") else None
    view.step = whole(state.get("step"))
    view.total_steps = whole(state.get("total_steps"))
    warm_start = state.get("warm_start")
    view.warm_steps = whole(warm_start.get("steps")) if isinstance(warm_start, dict) else 0
    view.earlier = real(state.get("seconds")) or 0.0
    view.evaluation = _evaluation(state)
    view.findings = findings_in(state)
    view.suites = suites_in(state)


def to_pair(line: Record) -> PairJudged:
    """A judged pair from a line of pairs.jsonl or undecided.jsonl."""
    pair = RecordedPair.from_record(line)
    return PairJudged(
        time=0.0,
        pair_id=pair.pair_id,
        step=pair.step,
        prompt=pair.prompt,
        messages=pair.messages,
        first=pair.first,
        second=pair.second,
        choice=pair.verdict.choice,
        q=pair.verdict.q,
        judge=pair.judge,
        rationale=pair.verdict.any_rationale,
    )


def findings_in(state: Record) -> tuple[Finding, ...]:
    """What a run.json says is wrong with its run, the worst first."""
    entries = state.get("health")
    records = (
        [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    )
    return tuple(
        Finding(
            "bad" if each.get("level") == "bad" else "warning",
            *(str(each.get(name, "")) for name in ("text", "means", "advice", "metric")),
        )
        for each in records
        if each.get("text")
    )


def suites_in(state: Record) -> tuple[SuiteChange, ...]:
    """What a run.json says of the guard's suites."""
    entries = state.get("guard")
    records = (
        [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    )
    return tuple(
        SuiteChange(
            str(each.get("suite", "")),
            *(whole(each.get(name)) for name in ("items", "kept", "gained", "lost")),
            p=finite(each.get("p")),
        )
        for each in records
    )


def evaluation_in(line: Record, step: int, split: Split) -> Evaluated:
    """The win rates of a line of metrics.jsonl, or of a run.json, which has the same names."""
    rates = [real(line.get(name)) for name in (*WIN_RATE, *EVAL_WIN_RATE)]
    return Evaluated(
        step=step,
        split=split,
        win_rate=rates[0],
        win_rate_low=rates[1],
        win_rate_high=rates[2],
        eval_win_rate=rates[3],
        eval_win_rate_low=rates[4],
        eval_win_rate_high=rates[5],
        prompts=0,
        examples=(),
    )


def _evaluation(state: Record) -> Evaluated | None:
    at = whole(state["win_rate_step"]) if "win_rate_step" in state else -1
    event = evaluation_in(state, at, "valid")
    if all(None in [getattr(event, name) for name in names] for names in (WIN_RATE, EVAL_WIN_RATE)):
        return None
    examples = state.get("examples")
    entries = (
        [each for each in examples if isinstance(each, dict)] if isinstance(examples, list) else []
    )
    names = ("prompt", "before", "after")
    return replace(
        event,
        time=0.0,
        examples=tuple(Example(*(str(each.get(name, "")) for name in names)) for each in entries),
    )
