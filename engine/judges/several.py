"""Several judges as one, or one judge by several criteria: the weighted mean of their log-odds."""

import math
from collections.abc import Sequence
from dataclasses import replace

from engine.data.pairs import Ties, Verdict, verdict_of
from engine.judges import PairJudge
from engine.judges.presentation import Request
from engine.settings.schema import Settings

# Probabilities are kept this far from 0 and 1, so that one that is sure does not outvote all.
CLIP = 1e-6


class SeveralJudges:
    """Asks all of some judges, and joins what they say of a pair."""

    def __init__(
        self, judges: Sequence[PairJudge], weights: Sequence[float], settings: Settings, name: str
    ) -> None:
        """`weights` are above 0, one for each judge."""
        self.name = name
        self._judges = judges
        self._weights = weights
        self._margin = settings.judge_margin
        self._ties: Ties = settings.judge_ties

    def judge(
        self, texts: Sequence[tuple[Request, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion).

        Raises:
            Interrupted, JudgeAway: as the judges.
        """
        verdicts = [judge.judge(texts, names) for judge in self._judges]
        return [
            joined(each, self._weights, margin=self._margin, ties=self._ties)
            for each in zip(*verdicts, strict=True)
        ]


def joined(
    verdicts: Sequence[Verdict], weights: Sequence[float], *, margin: float, ties: Ties
) -> Verdict:
    """What several verdicts on a pair come to: q = sigmoid(sum w logit(q_i) / sum w), over those
    that are valid; `votes` are their q,
    `rationale` all that they have written. Invalid where none is."""
    cut = any(verdict.cut for verdict in verdicts)
    rationale = tuple(text for verdict in verdicts for text in verdict.rationale)
    valid = [
        (verdict, verdict.q, weight)
        for verdict, weight in zip(verdicts, weights, strict=True)
        if verdict.q is not None
    ]
    if not valid:
        return replace(verdicts[0], choice="invalid", cut=cut, rationale=rationale)
    shares = [weight for *_, weight in valid]
    lead = _mean_log_odds([q for _, q, _ in valid], shares)
    votes = tuple(q for _, q, _ in valid)
    orders = [verdict.q_orders for verdict, *_ in valid if verdict.q_orders is not None]
    if len(orders) < len(valid):  # some have no order
        verdict = verdict_of(lead, -lead, margin=margin, ties="margin")
        return replace(verdict, q_orders=None, cut=cut, votes=votes, rationale=rationale)
    shown_first, shown_second = (
        _mean_log_odds([both[at] for both in orders], shares) for at in (0, 1)
    )
    # The two readings of all together, less what clipping took from their mean.
    shift = lead - (shown_first + shown_second) / 2
    verdict = verdict_of(shown_first + shift, -shown_second - shift, margin=margin, ties=ties)
    return replace(verdict, cut=cut, votes=votes, rationale=rationale)


def _mean_log_odds(probabilities: Sequence[float], weights: Sequence[float]) -> float:
    each = zip(probabilities, weights, strict=True)
    return math.fsum(weight * _log_odds(q) for q, weight in each) / math.fsum(weights)


def _log_odds(q: float) -> float:
    """Log-odds of a probability that is clipped; those of both ends cancel exactly."""
    if CLIP < q < 1 - CLIP:
        return math.log(q) - math.log1p(-q)
    return math.copysign(math.log1p(-CLIP) - math.log(CLIP), q - 0.5)
