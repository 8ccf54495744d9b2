"""Is the run well? Findings in plain words, from the recent values of its metrics.

Every check is a pure function of a view. A run of fewer than `LEAST` points is not judged: what
looks like a trend in so few is noise.
"""

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tui.run_view import RunView
from tui.series import Series

RECENT = 20  # points that count as now
LEAST = 8
KL_FAR = 25.0  # nats a completion
WON = 0.9  # win rate from which on a judge may well be at a loss
NEAR_ZERO_SIGNAL = 0.6  # judge q: hardly surer than a coin


@dataclass(frozen=True, slots=True)
class Finding:
    """What is seen, what it means, and what to try. `metric` is the one to look at."""

    level: Literal["warning", "bad"]
    text: str
    means: str
    advice: str
    metric: str


def findings(view: RunView) -> list[Finding]:
    """What is wrong with a run, the worst first; none: it is steady."""
    found = [finding for check in CHECKS for finding in check(view)]
    return sorted(found, key=lambda finding: finding.level != "bad")


def _finite(values: "array[float]") -> list[float]:
    return list(filter(math.isfinite, values))


def _mean(values: list[float]) -> float:
    return math.fsum(value / len(values) for value in values)


def _recent(view: RunView, metric: str) -> float | None:
    """The mean of the recent values; None where there are too few to judge."""
    values = _finite(view.series.get(metric, Series()).values[-RECENT:])
    return _mean(values) if len(values) >= LEAST else None


def _then_and_now(view: RunView, metric: str) -> tuple[float, float, float] | None:
    """Means of the first and of the recent values, and the spread of the first."""
    values = view.series.get(metric, Series()).values
    size = min(RECENT, len(values) // 2)
    first, now = _finite(values[:size]), _finite(values[len(values) - size :])
    if min(len(first), len(now)) < LEAST:
        return None
    mean = _mean(first)
    spread = math.hypot(*(value - mean for value in first)) / math.sqrt(len(first))
    return mean, _mean(now), spread


def _not_finite(view: RunView) -> Iterator[Finding]:
    dropped = view.series.get("dropped_steps", Series()).values
    loss = view.series.get("loss", Series()).values
    count = sum(value for value in dropped if math.isfinite(value)) or sum(
        not math.isfinite(value) for value in loss
    )
    if count:
        steps = "1 step" if count == 1 else f"{count:,.0f} steps"
        yield Finding(
            "bad" if count > 2 else "warning",
            f"{steps} dropped: loss or gradient not finite",
            "These steps changed nothing. A few are harmless; many mean that training is unstable.",
            "Lower learning_rate, set max_grad_norm to 1 or less, or raise beta.",
            "grad_norm",
        )


def _chosen_falls(view: RunView) -> Iterator[Finding]:
    """Both log-probabilities fall together, and the chosen one by more than noise."""
    chosen = _then_and_now(view, "chosen_logp")
    if not chosen:
        return
    first, now, spread = chosen
    fall = first - now
    if fall > 3 * spread and fall > 0.25 * abs(first) + 1:
        yield Finding(
            "warning",
            f"chosen answers grow less likely: log-probability {first:.1f} to {now:.1f}",
            "The margin grows because rejected answers fall faster, not because good ones rise.",
            "Raise beta, lower learning_rate, or use the dpop loss, which holds chosen answers up.",
            "chosen_logp",
        )


def _kl_runs_away(view: RunView) -> Iterator[Finding]:
    kl = _recent(view, "kl")
    moved = _then_and_now(view, "kl")
    if kl is None or kl < KL_FAR:
        return
    rising = moved is not None and moved[1] > 2 * moved[0]
    yield Finding(
        "bad" if kl > 3 * KL_FAR else "warning",
        f"kl is {kl:.0f} nats{' and rising' if rising else ''}",
        "The policy has left its reference behind; answers may please the judge and no one else.",
        "Raise beta, lower learning_rate, or stop and use an earlier checkpoint.",
        "kl",
    )


def _length_runs_away(view: RunView) -> Iterator[Finding]:
    length = _then_and_now(view, "completion_tokens")
    if not length:
        return
    first, now, spread = length
    if now > 1.6 * first and now - first > 3 * spread:
        yield Finding(
            "warning",
            f"answers grow longer: {first:.0f} to {now:.0f} tokens",
            "Judges often favour length, and the policy has found out.",
            "Say in the rubric that short is good, raise beta, or lower max_completion_length.",
            "completion_tokens",
        )
    elif now < 0.4 * first and first - now > 3 * spread:
        yield Finding(
            "warning",
            f"answers grow shorter: {first:.0f} to {now:.0f} tokens",
            "The policy may be collapsing to one short answer.",
            "Look at the newest pairs; raise beta or temperature if they are all alike.",
            "completion_tokens",
        )


def _never_ends(view: RunView) -> Iterator[Finding]:
    rate = _recent(view, "eos_rate")
    if rate is not None and rate < 0.5:
        yield Finding(
            "warning",
            f"only {rate:.0%} of answers end by themselves",
            "Cut answers are judged unfinished, and nothing teaches the policy where to stop.",
            "Raise max_completion_length, or favour short answers in the rubric.",
            "eos_rate",
        )


def _judge_inconsistent(view: RunView) -> Iterator[Finding]:
    agrees = _recent(view, "swap_consistency")
    if agrees is None or agrees >= 0.6:
        return
    if (view.latest("win_rate") or 0) >= WON:
        yield Finding(
            "warning",
            f"the judge hardly tells answers apart any more: {agrees:.0%} agreement when swapped",
            f"The policy wins {view.latest('win_rate'):.0%} of held-out prompts: its two answers "
            "are now about equally good to this judge.",
            "Stop here, or ask for more in the rubric.",
            "swap_consistency",
        )
    else:
        yield Finding(
            "bad" if agrees < 0.4 else "warning",
            f"the judge contradicts itself: {agrees:.0%} agreement when answers are swapped",
            "Pairs on which its two orders disagree are ties, so little is left to learn from.",
            "Make the rubric concrete, use a stronger judge, or judge by hand.",
            "swap_consistency",
        )


def _judge_biased(view: RunView) -> Iterator[Finding]:
    first = _recent(view, "first_position_rate")
    if first is not None and abs(first - 0.5) > 0.2:
        place = "first" if first > 0.5 else "second"
        share = max(first, 1 - first)
        yield Finding(
            "warning",
            f"the judge favours the {place} place: {share:.0%}",
            "Both orders are asked, so no wrong winner comes of it, but many pairs become ties.",
            "Use a stronger judge, or a rubric that says what to look for.",
            "first_position_rate",
        )


def _judge_unsure(view: RunView) -> Iterator[Finding]:
    q = _recent(view, "judge_q")
    if q is not None and q < NEAR_ZERO_SIGNAL:
        yield Finding(
            "warning",
            f"the judge is hardly sure of its winners: {q:.2f} on average",
            "The labels are close to coin throws.",
            "Raise temperature so that answers differ more, or make the rubric concrete.",
            "judge_q",
        )


def _rate_high(metric: str, text: str, means: str, advice: str) -> Callable[..., Iterator[Finding]]:
    """A check that a share of the recent pairs is above a third."""

    def check(view: RunView) -> Iterator[Finding]:
        rate = _recent(view, metric)
        if rate is not None and rate > 1 / 3:
            yield Finding("warning", text.format(rate=rate), means, advice, metric)

    return check


CHECKS: tuple[Callable[[RunView], Iterator[Finding]], ...] = (
    _not_finite,
    _kl_runs_away,
    _chosen_falls,
    _length_runs_away,
    _never_ends,
    _judge_inconsistent,
    _judge_biased,
    _judge_unsure,
    _rate_high(
        "tie_rate",
        "{rate:.0%} of pairs are ties",
        "Nothing is learned from a tie, so the run is that much slower.",
        "Lower judge_margin, raise temperature, or make the rubric tell answers apart.",
    ),
    _rate_high(
        "identical_rate",
        "{rate:.0%} of pairs are two equal or empty answers",
        "The policy hardly varies any more, so there is little to choose from.",
        "Raise temperature or top_p; if it came with training, raise beta or stop here.",
    ),
    _rate_high(
        "invalid_rate",
        "{rate:.0%} of pairs got no valid verdict",
        "The judge did not give an answer that can be read.",
        "Use judge_mode: logits, or a judge that follows instructions.",
    ),
)
