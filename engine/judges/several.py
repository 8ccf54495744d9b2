"""Several judges as one, or one judge by several criteria: the weighted mean of their log-odds."""

import math
from collections.abc import Sequence
from dataclasses import replace

from engine.data.pairs import Ties, Verdict, verdict_of
from engine.judges import PairJudge, Score, ScoringJudge
from engine.judges.log_odds import clipped_log_odds
from engine.judges.presentation import Request
from engine.settings.schema import Settings


class SeveralJudges:
    """Asks all of some judges, and joins what they say of a pair."""

    def __init__(
        self, judges: Sequence[PairJudge], weights: Sequence[float], settings: Settings, name: str
    ) -> None:
        """`weights` are above 0, one for each judge."""
        self.name = name
        self._judges = judges
        self._scorers = [each for each in judges if isinstance(each, ScoringJudge)]
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

    @property
    def gives_scores(self) -> bool:
        """Whether each of them scores answers one at a time."""
        scorers = self._scorers
        return len(scorers) == len(self._judges) and all(each.gives_scores for each in scorers)

    def score(
        self, answers: Sequence[tuple[Request, str]], names: Sequence[str] = ()
    ) -> list[Score]:
        """The weighted means of the scores that the judges give (prompt, completion). A judge that
        scores none of them is left out; an answer that only some score has none, since what they
        give is not on one scale. Raises as `judge`."""
        columns = [judge.score(answers, names) for judge in self._scorers]
        counted = [any(math.isfinite(each.value) for each in column) for column in columns]
        weights = [weight * counts for weight, counts in zip(self._weights, counted, strict=True)]
        return [_mean_score(parts, weights) for parts in zip(*columns, strict=True)]

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        """The verdict on two answers with these scores."""
        verdicts = [
            judge.verdict_on(*both)
            for judge, *both in zip(self._scorers, first.parts, second.parts, strict=True)
        ]
        return joined(verdicts, self._weights, margin=self._margin, ties=self._ties)


def _mean_score(parts: tuple[Score, ...], weights: Sequence[float]) -> Score:
    """The mean of scores by those of their judges that have a weight."""
    values = [(part.value, w) for part, w in zip(parts, weights, strict=True) if w]
    mean = math.nan
    if values and all(math.isfinite(value) for value, _ in values):
        total = math.fsum(weight for _, weight in values)
        # Of halves, since the sum of two scores may be more than a float holds.
        mean = 2 * math.fsum(value / 2 * (weight / total) for value, weight in values)
        each = [value for value, _ in values]
        mean = min(max(mean, min(each)), max(each))
    return Score(mean, any(part.cut for part in parts), parts=parts)


def joined(
    verdicts: Sequence[Verdict], weights: Sequence[float], *, margin: float, ties: Ties
) -> Verdict:
    """What several verdicts on a pair come to: q = sigmoid(sum w logit(q_i) / sum w), over those
    that are valid. `votes` are their q, `rationale` is all that they have written. Invalid where
    none is valid."""
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
    return math.fsum(weight * clipped_log_odds(q) for q, weight in each) / math.fsum(weights)
