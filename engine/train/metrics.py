"""Metrics of a run: their names, and masked means that start anew at every report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.data.pairs import JudgedPair, Verdict

# What a line of metrics.jsonl carries. Rewards, margin: nats times beta. kl: nats a completion,
# of the policy to the reference on trained completions. entropy: nats a token. Rates: 0 to 1.
MEANS = (
    "loss",
    "margin",
    "accuracy",
    "chosen_reward",
    "rejected_reward",
    "kl",
    "chosen_logp",
    "rejected_logp",
    "entropy",
    "completion_tokens",
    "length_gap",
    "eos_rate",
    "judge_q",
    "swap_consistency",
    "first_position_rate",
    "judge_disagreement",
    "tie_rate",
    "invalid_rate",
    "identical_rate",
    "asked_rate",
    "unanswered_rate",
    "grad_norm",
    "learning_rate",
    "sample_seconds",
    "judge_seconds",
    "update_seconds",
    "step_seconds",
)
# A count over seconds.
RATES = {
    "pairs_per_second": ("pairs", "step_seconds"),
    "sampled_tokens_per_second": ("sampled_tokens", "sample_seconds"),
}
# Of a step of several ranks, and in no line of a run of one.
OF_RANKS = ("sent_mb", "sum_seconds", "wait_seconds", "longest_wait_seconds")
COUNTS = (
    "trained_pairs",
    "offline_pairs",
    "judgements",
    "dropped_steps",
    "cut_pairs",
    "cut_losses",
)


class Averages:
    """Weighted means by name. A value that is not finite is left out, and so counts nowhere."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._sums = {name: (float(a), float(b)) for name, (a, b) in (state or {}).items()}

    def add(self, name: str, mean: float, weight: float = 1.0) -> None:
        """Add a mean over `weight` things."""
        if math.isfinite(mean) and weight > 0:
            total, weights = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (total + mean * weight, weights + weight)

    def mean(self, name: str) -> float | None:
        """The mean of what was added, None where nothing was."""
        total, weights = self._sums.get(name, (0.0, 0.0))
        return total / weights if weights else None

    def total(self, name: str) -> float:
        """The sum of what was added, each times its weight."""
        return self._sums.get(name, (0.0, 0.0))[0]

    def state(self) -> dict[str, list[float]]:
        """Plain values from which `Averages(state)` is the same."""
        return {name: list(sums) for name, sums in self._sums.items()}

    def report(self) -> dict[str, float | None]:
        """All metrics over what was added: None for one that had nothing to be measured on. Those
        of ranks are there where they were added."""
        line = {name: self.mean(name) for name in MEANS}
        for rate, (count, seconds) in RATES.items():
            time = self.total(seconds)
            line[rate] = self.total(count) / time if time else None
        line |= {name: self.total(name) for name in COUNTS}
        return line | {name: self.mean(name) for name in OF_RANKS if name in self._sums}


def add_judged(means: Averages, judged: Sequence[JudgedPair]) -> None:
    """Add what a batch of judged pairs says about sampling and about the judge; nothing where
    there are none."""
    if not judged:
        return
    verdicts = [each.verdict for each in judged]
    completions = [(len(one.ids), one.finished) for each in judged for one in each.answers]
    tokens = sum(length for length, _ in completions)
    means.add("pairs", 1, len(judged))
    means.add("cut_pairs", 1, sum(read.cut for each in judged for read in each.readings))
    means.add("cut_losses", 1, sum(each.by_cut for each in judged))
    means.add("completion_tokens", tokens / len(completions), len(completions))
    ended = sum(finished for _, finished in completions)
    means.add("eos_rate", ended / len(completions), len(completions))
    asked = (len(one.judgements) or one.pair.automatic_choice() is None for one in judged)
    means.add("judgements", 1, sum(asked))
    for name, choices in (
        ("tie_rate", ("tie", "both_bad")),
        ("invalid_rate", ("invalid",)),
        ("identical_rate", ("identical", "empty")),
    ):
        share = sum(verdict.choice in choices for verdict in verdicts) / len(verdicts)
        means.add(name, share, len(verdicts))
    for each in judged:
        if each.decided:
            means.add("length_gap", len(each.chosen_ids) - len(each.rejected_ids))
        if each.verdict.judge:  # a model and a person judge
            means.add("asked_rate", each.verdict.model is not None)
            means.add("unanswered_rate", each.verdict.choice == "unanswered")
        for verdict in each.readings:
            _add_reading(means, verdict)


def _add_reading(means: Averages, verdict: Verdict) -> None:
    """Add what a judge has said of two answers."""
    if verdict.decided and verdict.q is not None:
        means.add("judge_q", max(verdict.q, 1 - verdict.q))
    if len(verdict.votes) > 1:
        means.add("judge_disagreement", min(verdict.votes) < 0.5 < max(verdict.votes))
    if verdict.q_orders is not None:
        shown_first, shown_second = verdict.q_orders
        means.add("swap_consistency", (shown_first > 0.5) == (shown_second > 0.5))
        # In the second order position 1 holds the second completion.
        for first in (shown_first, 1 - shown_second):
            means.add("first_position_rate", 0.5 if first == 0.5 else float(first > 0.5))
