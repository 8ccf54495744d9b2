"""What is remembered of a run's steps to tell how it is doing.

A trend is not judged by fewer than `LEAST` steps: what looks like one in so few is noise.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.events import EVAL_WIN_RATE, Finding

RECENT = 20  # steps that count as now, and as the beginning
LEAST = 8

_TRACED = (
    "kl",
    "chosen_logp",
    "completion_tokens",
    "eos_rate",
    "swap_consistency",
    "first_position_rate",
    "judge_q",
    "tie_rate",
    "identical_rate",
    "invalid_rate",
    "unanswered_rate",
    "win_rate",
    "win_rate_low",
    *EVAL_WIN_RATE,
)


class Trace:
    """The first and the newest values of one metric, `RECENT` of each, and how many there were."""

    def __init__(
        self, first: Iterable[float] = (), last: Iterable[float] = (), count: int = 0
    ) -> None:
        self.first = list(first)
        self.last = deque(last, RECENT)
        self.count = count

    def add(self, value: float) -> None:
        """Take in the newest value."""
        if len(self.first) < RECENT:
            self.first.append(value)
        self.last.append(value)
        self.count += 1

    def then_and_now(self) -> tuple[list[float], list[float]]:
        """As many of the first values as of the newest; no value is among both."""
        size = min(RECENT, self.count // 2)
        return self.first[:size], list(self.last)[len(self.last) - size :]


class Health:
    """What is remembered of a run's steps to tell how it is doing."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        """Empty, or from what `state` gave."""
        known = state or {}
        self.verdicts: Counter[str] = Counter(known.get("verdicts"))  # on pairs, by choice
        self.learned_pairs = int(known.get("learned_pairs", 0))
        self.dropped_steps = int(known.get("dropped_steps", 0))
        self.best_step: int | None = known.get("best_step")  # by its win rate; 0 is the start
        self.unlearned: str | None = known.get("unlearned")  # what the guard found lost, in words
        self._traces = {name: Trace(*values) for name, values in known.get("traces", {}).items()}
        self._reported = {metric: (step, level) for metric, step, level in known.get("said", ())}

    def state(self) -> dict[str, Any]:
        """Plain values from which `Health(state)` is the same."""
        return {
            "verdicts": dict(self.verdicts),
            "learned_pairs": self.learned_pairs,
            "dropped_steps": self.dropped_steps,
            "best_step": self.best_step,
            "unlearned": self.unlearned,
            "traces": {
                name: [trace.first, list(trace.last), trace.count]
                for name, trace in self._traces.items()
            },
            "said": [[metric, *last] for metric, last in self._reported.items()],
        }

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of a step, or of an evaluation; what is not finite is left out."""
        for name, value in metrics.items():
            if name in _TRACED and math.isfinite(value):
                self._traces.setdefault(name, Trace()).add(value)
        learned = (metrics.get(name, 0) for name in ("trained_pairs", "offline_pairs"))
        self.learned_pairs += int(sum(learned))
        self.dropped_steps += int(metrics.get("dropped_steps", 0))

    def news(self, step: int, findings: Sequence[Finding]) -> list[Finding]:
        """Those of a step's findings that are new, worse than before, or back after a while: what
        comes and goes at its threshold is no news each time."""
        news = []
        for finding in findings:
            at, level = self._reported.get(finding.metric, (-math.inf, ""))
            if step - at > RECENT or (finding.level, level) == ("bad", "warning"):
                news.append(finding)
                level = finding.level
            self._reported[finding.metric] = (step, level)
        return news

    def latest(self, metric: str) -> float | None:
        """The newest value of a metric."""
        trace = self._traces.get(metric)
        return trace.last[-1] if trace else None

    def recent(self, metric: str) -> float | None:
        """The mean of the recent values; None where there are too few to judge."""
        trace = self._traces.get(metric)
        return _mean(trace.last) if trace and trace.count >= LEAST else None

    def then_and_now(self, metric: str) -> tuple[float, float, float] | None:
        """Averages of the first and of the recent values, and the spread of the first."""
        first, now = self._traces.get(metric, Trace()).then_and_now()
        if len(first) < LEAST:
            return None
        mean = _mean(first)
        spread = math.hypot(*(value - mean for value in first)) / math.sqrt(len(first))
        return mean, _mean(now), spread

    def growth(self) -> float | None:
        """How many times as long as at first answers are now; None where it is too soon to say."""
        length = self.then_and_now("completion_tokens")
        return length[1] / length[0] if length and length[0] else None

    def way_back(self) -> str:
        """Which checkpoint to go back to, worded as the last of several pieces of advice."""
        if self.best_step is None:
            return "stop and go on from an earlier checkpoint"
        if self.best_step == 0:
            return "stop: no step was better than the start"
        return f"stop here: step {self.best_step:,}, the best so far, is kept"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(value / len(values) for value in values)
