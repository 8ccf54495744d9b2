"""Is the run well? Findings in plain words, from what is remembered of its steps.

Every check is a pure function of a `Health`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator

from engine.data.pairs import DECIDED
from engine.events import EVAL_WIN_RATE, Choice, Finding
from engine.train.watch.health import Health

ENOUGH_PAIRS = 16  # without one to learn from, so that it is worth saying
KL_FAR = 25.0  # nats a completion
WON = 0.9  # win rate from which on a judge may well be at a loss
NEAR_ZERO_SIGNAL = 0.6  # judge q: hardly surer than a coin

_VARY = "Raise temperature or top_p; if it came with training, raise beta or stop here."
_TELL_APART = (
    "Make the rubric tell answers apart, raise temperature, use a judge that keeps to its winner "
    "when answers are swapped, or lower judge_margin if it is above 0."
)
_ONLY_WINNERS = "Only a pair with a winner is learned from; raise temperature, so that one differs."
_READABLE = "Use a judge that follows instructions; judge_mode: generate lets one think first."
_IN_TIME = "Raise lookahead for more time, or lower hybrid_margin and audit_rate to be asked less."
# Why a pair was not learned from, and what to try where that is most of them.
_UNUSED: dict[Choice, tuple[str, str]] = {
    "tie": ("tied", _TELL_APART),
    "both_bad": ("judged both bad", _ONLY_WINNERS),
    "skip": ("skipped", _ONLY_WINNERS),
    "identical": ("with two equal answers", "Raise temperature or top_p, so that answers differ."),
    "empty": ("with two empty answers", "See what the model answers: its prompts may be cut off."),
    "invalid": ("without a valid verdict", _READABLE),
    "unanswered": ("not answered in time", _IN_TIME),
}
_CALMER = "Lower learning_rate, set max_grad_norm to 1 or less, or raise beta."


def findings_of(health: Health) -> tuple[Finding, ...]:
    """What is wrong now, the worst first; nothing: the run is steady."""
    findings = [finding for check in CHECKS for finding in check(health)]
    return tuple(sorted(findings, key=lambda finding: finding.level != "bad"))


def nothing_learned(health: Health) -> Finding | None:
    """That not one pair was learned from, why, and what to try; None where one was."""
    if health.learned_pairs:
        return None
    counts = Counter({_UNUSED[choice]: health.verdicts[choice] for choice in _UNUSED})
    decided = sum(health.verdicts[choice] for choice in DECIDED)
    counts["in steps that were dropped, not finite", _CALMER] = decided
    reasons = [(*reason, count) for reason, count in counts.most_common() if count]
    why = ", ".join(f"{count:,} {words}" for words, _, count in reasons)
    return Finding(
        "bad",
        f"none of {health.verdicts.total():,} pairs could be learned from{why and f': {why}'}",
        "Nothing was trained: the policy is what it was at the start.",
        reasons[0][1] if reasons else "See the log.",
        "trained_pairs",
    )


def sentence(finding: Finding) -> str:
    """A finding in one line, for a log."""
    return f"health: {finding.text}. {finding.means} Try: {finding.advice}"


def _nothing_learned(health: Health) -> Iterator[Finding]:
    if health.verdicts.total() >= ENOUGH_PAIRS and (finding := nothing_learned(health)):
        yield finding


def _unlearned(health: Health) -> Iterator[Finding]:
    """The trade that was made: what is won, and what was lost for it."""
    if health.unlearned is None:
        return
    rate = health.latest("win_rate")
    yield Finding(
        "bad",
        f"wins {rate:.0%}, and {health.unlearned}" if rate is not None else health.unlearned,
        "The guard's suites ask what the model could do before the run; such a loss is no chance.",
        f"Raise beta, lower learning_rate, or {health.way_back()}.",
        "guard",
    )


def _not_finite(health: Health) -> Iterator[Finding]:
    if count := health.dropped_steps:
        yield Finding(
            "bad" if count > 2 else "warning",
            f"{count:,} step{'s' * (count > 1)} dropped: loss or gradient not finite",
            "These steps changed nothing. A few are harmless; many mean that training is unstable.",
            _CALMER,
            "grad_norm",
        )


def _chosen_falls(health: Health) -> Iterator[Finding]:
    """Both log-probabilities fall together, and the chosen one by more than noise."""
    chosen = health.then_and_now("chosen_logp")
    if not chosen:
        return
    first, now, spread = chosen
    fall = first - now
    if fall > 3 * spread and fall > 0.25 * abs(first) + 1:
        yield Finding(
            "warning",
            f"chosen answers grow less likely: log-probability {first:.1f} to {now:.1f}",
            "The margin grows because rejected answers fall faster, not because good ones rise.",
            "Raise beta, lower learning_rate, use the dpop loss, which holds chosen answers up, or "
            f"{health.way_back()}.",
            "chosen_logp",
        )


def _kl_runs_away(health: Health) -> Iterator[Finding]:
    kl = health.recent("kl")
    moved = health.then_and_now("kl")
    if kl is None or kl < KL_FAR:
        return
    rising = moved is not None and moved[1] > 2 * moved[0]
    yield Finding(
        "bad" if kl > 3 * KL_FAR else "warning",
        f"kl is {kl:.0f} nats{' and rising' if rising else ''}",
        "The policy has left its reference behind; answers may please the judge and no one else.",
        f"Raise beta, lower learning_rate, set max_kl, or {health.way_back()}.",
        "kl",
    )


def _length_runs_away(health: Health) -> Iterator[Finding]:
    length = health.then_and_now("completion_tokens")
    if not length:
        return
    first, now, spread = length
    if now > 1.6 * first and now - first > 3 * spread:
        yield Finding(
            "warning",
            f"answers grow longer: {first:.0f} to {now:.0f} tokens",
            "Judges often favour length, and the policy has found out.",
            "Raise beta, set length_penalty, set length_normalize, say missing_eos: lose, say in "
            f"the rubric that short is good, or {health.way_back()}.",
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


def _never_ends(health: Health) -> Iterator[Finding]:
    rate = health.recent("eos_rate")
    if rate is not None and rate < 0.5:
        yield Finding(
            "warning",
            f"only {rate:.0%} of answers end by themselves",
            "Cut answers are judged unfinished, and nothing teaches the policy where to stop.",
            "Raise max_completion_length, say missing_eos: lose, or favour short answers in the "
            "rubric.",
            "eos_rate",
        )


def _pleases_its_judge_alone(health: Health) -> Iterator[Finding]:
    """The judge is surely won over, the evaluator is not, and their intervals lie apart."""
    won, lost = health.latest("win_rate"), health.latest("eval_win_rate")
    bounds = (health.latest(name) for name in ("win_rate_low", *EVAL_WIN_RATE[1:]))
    low, eval_low, eval_high = (math.nan if each is None else each for each in bounds)
    if won is None or lost is None or not (low > max(0.5, eval_high) and eval_low <= 0.5):
        return
    yield Finding(
        "bad" if eval_high < 0.5 else "warning",
        f"the judge prefers the policy's answers ({won:.0%} of held-out prompts) and the evaluator "
        f"does not ({lost:.0%})",
        "The policy has learned what pleases its judge and no one else.",
        f"Read its newest answers; mend the rubric, raise beta, or {health.way_back()}.",
        "eval_win_rate",
    )


def _judge_inconsistent(health: Health) -> Iterator[Finding]:
    agrees = health.recent("swap_consistency")
    if agrees is None or agrees >= 0.6:
        return
    if (health.latest("win_rate") or 0) >= WON:
        yield Finding(
            "warning",
            f"the judge hardly tells answers apart any more: {agrees:.0%} agreement when swapped",
            f"The policy wins {health.latest('win_rate'):.0%} of held-out prompts: its two answers "
            "are now about equally good to this judge.",
            f"Ask for more in the rubric, or {health.way_back()}.",
            "swap_consistency",
        )
    else:
        yield Finding(
            "bad" if agrees < 0.4 else "warning",
            f"the judge contradicts itself: {agrees:.0%} agreement when answers are swapped",
            "Its verdicts rest on the little that is left without the pull of the position.",
            "Make the rubric concrete, use a stronger judge, raise judge_margin, or judge by hand.",
            "swap_consistency",
        )


def _judge_biased(health: Health) -> Iterator[Finding]:
    first = health.recent("first_position_rate")
    if first is not None and abs(first - 0.5) > 0.2:
        place = "first" if first > 0.5 else "second"
        share = max(first, 1 - first)
        yield Finding(
            "warning",
            f"the judge favours the {place} place: {share:.0%}",
            "Both orders are asked, so that pull cancels out; what the answers say weighs little.",
            "Use a stronger judge, or a rubric that says what to look for.",
            "first_position_rate",
        )


def _judge_unsure(health: Health) -> Iterator[Finding]:
    q = health.recent("judge_q")
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

    def check(health: Health) -> Iterator[Finding]:
        rate = health.recent(metric)
        if rate is not None and rate > 1 / 3:
            yield Finding("warning", text.format(rate=rate), means, advice, metric)

    return check


CHECKS: tuple[Callable[[Health], Iterator[Finding]], ...] = (
    _nothing_learned,
    _unlearned,
    _not_finite,
    _kl_runs_away,
    _pleases_its_judge_alone,
    _chosen_falls,
    _length_runs_away,
    _never_ends,
    _judge_inconsistent,
    _judge_biased,
    _judge_unsure,
    _rate_high(
        "tie_rate",
        "{rate:.0%} of pairs are ties",
        "Nothing is learned from a tie: the judge is closer to 0.5 than judge_margin, or its two "
        "orders disagree under judge_ties: orders.",
        _TELL_APART,
    ),
    _rate_high(
        "identical_rate",
        "{rate:.0%} of pairs are two equal or empty answers",
        "The policy hardly varies any more, so there is little to choose from.",
        _VARY,
    ),
    _rate_high(
        "invalid_rate",
        "{rate:.0%} of pairs got no valid verdict",
        "The judge did not give an answer that can be read.",
        _READABLE,
    ),
    _rate_high(
        "unanswered_rate",
        "{rate:.0%} of pairs were not answered in time",
        "They were for the person and are left out; the run does not wait.",
        _IN_TIME,
    ),
)
