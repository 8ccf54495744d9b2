"""More than two answers to a prompt -> the pair that is trained on: the best against one other.

The best is the answer with the highest score. `rejected` says which other one it meets:

- worst: the one with the lowest score;
- low: the one whose score is nearest to the mean of all less one standard deviation (of the
  population; arXiv 2502.16825 finds one that is low, and not the lowest, better as answers grow in
  number);
- random: any, drawn by seed and prompt.

A judge that scores answers scores each once. Any other compares them. Up to four answers meet all
the others, and the score of one is its mean log-odds over those meetings. More play a knock-out,
and the rejected one is among those that the winner beat directly: their scores are the log-odds
that they beat it, its own is 0.

Equal answers count once and share a score. Where an answer that was cut off loses (`missing_eos`),
it meets nobody and has the lowest score that there is. A pair whose own verdict is against the
scores is a tie.
"""

import math
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, mean, pstdev

from engine.data.completion import Answer
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.judges import Score
from engine.judges.log_odds import clipped_log_odds
from engine.settings.schema import Settings
from engine.settings.sections.preference import Rejected

ALL_MEET = 4  # answers of which all meet; more play a knock-out
CONTRARY = "the judge's verdict on these two is against what it said of them among the others"

Places = tuple[int, int]  # two answers of a prompt, the earlier one first


@dataclass(frozen=True, slots=True)
class Choosing:
    """How the rejected one is chosen; `seed` is the run's."""

    rejected: Rejected = "worst"
    seed: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Choosing":
        """As a run has it."""
        return cls(settings.rejected, settings.seed)


def judgements(answers: int) -> int:
    """Judgements of two answers each, in both orders, that so many answers to a prompt take at
    most of a judge that compares."""
    return answers * (answers - 1) // 2 if answers <= ALL_MEET else answers - 1


def judgements_at_once(answers: int) -> int:
    """How many of them can be asked before any is answered."""
    return judgements(answers) if answers <= ALL_MEET else answers // 2


class Contest:
    """A prompt's answers on their way to a judged pair: `matches` are to be judged next, until
    there is a `result`."""

    def __init__(self, pair: Pair, choosing: Choosing) -> None:
        self.matches: Sequence[Pair] = ()
        self.result: JudgedPair | None = None
        self._steps = _contest(pair, choosing)
        self._take(lambda: next(self._steps))

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Take in the verdicts on `matches`."""
        self._take(lambda: self._steps.send(verdicts))

    def _take(self, step: Callable[[], Sequence[Pair]]) -> None:
        try:
            self.matches = step()
        except StopIteration as end:
            self.matches, self.result = (), end.value


_Steps = Generator[Sequence[Pair], Sequence[Verdict], JudgedPair]


def _contest(pair: Pair, choosing: Choosing) -> _Steps:
    if not pair.others:
        choice = pair.automatic_choice()
        (verdict,) = [Verdict(choice)] if choice else (yield [pair])
        return JudgedPair(pair, verdict)
    field = Field(pair)
    if len(field.players) < 2:
        return field.unjudged()
    if len(pair.answers) <= ALL_MEET:
        meetings = list(combinations(field.players, 2))
        answered = yield [pair.between(*each) for each in meetings]
        verdicts: dict[Places, Verdict] = dict(zip(meetings, answered, strict=True))
        scores = _mean_log_odds(verdicts)
        best = max(scores, key=lambda place: (scores[place], -place), default=None)
    else:
        verdicts, best = yield from _knock_out(field)
        scores = _scores_beside_winner(verdicts, best)
    if best is None or len(scores) < 2:  # the judge has no valid verdict, or nobody was beaten
        places, verdict = next(iter(reversed(verdicts.items())))
        return _judged(pair, places, verdict, verdicts)
    rejected = field.rejected(scores, best, choosing)
    places = _in_order(best, rejected)
    verdict = verdicts.get(places) or field.unasked(places)
    return _judged(pair, places, _confirmed(verdict, places, best), verdicts)


def judged_by_scores(
    field: "Field",
    scores: Mapping[int, Score],
    verdict_on: Callable[[Score, Score], Verdict],
    choosing: Choosing,
) -> JudgedPair:
    """The judged pair of a prompt whose players, two or more, have these scores; invalid where
    fewer than two of the scores are numbers."""
    values = {at: score.value for at, score in scores.items() if math.isfinite(score.value)}
    if len(values) < 2:
        one, other, *_ = field.players
        return _judged(field.pair, (one, other), verdict_on(scores[one], scores[other]), {})
    best = max(values, key=lambda place: (values[place], -place))
    places = _in_order(best, field.rejected(values, best, choosing))
    both = [scores[place] for place in places if place in scores]
    verdict = verdict_on(*both) if len(both) == 2 else field.unasked(places)
    return _judged(field.pair, places, _confirmed(verdict, places, best), {})


class Field:
    """The answers to a prompt: which are to be judged, and which is rejected by their scores."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        answers = pair.answers
        # Of equal ones where a cut one loses, one that was not.
        order = sorted(
            range(len(answers)), key=lambda at: pair.cut_loses and not answers[at].finished
        )
        self._alike = [
            next(place for place in order if _alike(answers[place], other)) for other in answers
        ]
        distinct = sorted({*self._alike})
        self.cut = [each for each in distinct if pair.cut_loses and not answers[each].finished]
        self.players = [each for each in distinct if each not in self.cut]

    def unjudged(self) -> JudgedPair:
        """The pair of a prompt that no judge has to be asked about."""
        if not self.players:
            places = (0, 1) if len(self.cut) < 2 else (self.cut[0], self.cut[1])
        elif not self.cut:
            places = (0, 1)  # all are equal
        else:
            places = _in_order(self.players[0], self.cut[0])
        return _judged(self.pair, places, self.unasked(places), {})

    def unasked(self, places: Places) -> Verdict:
        """The verdict on two answers that nobody has to judge."""
        return Verdict(self.pair.between(*places).automatic_choice() or "tie")

    def rejected(self, scores: Mapping[int, float], best: int, choosing: Choosing) -> int:
        """Which answer the best one meets, by the scores of those that have one."""
        lowest = min(scores.values())
        all_scores = {**dict.fromkeys(self.cut, lowest), **scores}
        others = [place for place in sorted(all_scores) if place != best]
        match choosing.rejected:
            case "random":
                chance = random.Random(f"{choosing.seed} rejected {self.pair.pair_id}")
                return chance.choice(others)
            case "worst":
                aim = lowest
            case "low":
                each = [all_scores[place] for place in self._alike if place in all_scores]
                aim = mean(each) - pstdev(each)  # fmean fails where the sum is no float
        # Of two as near the one that was cut off, which loses anyhow, then the lower one.
        return min(
            others,
            key=lambda place: (
                abs(all_scores[place] - aim),
                place not in self.cut,
                all_scores[place],
            ),
        )


def _alike(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal to whoever reads them."""
    both_empty = not one.text.strip() and not other.text.strip()
    return both_empty or one.ids == other.ids or one.text == other.text


def _mean_log_odds(verdicts: Mapping[Places, Verdict]) -> dict[int, float]:
    """The mean log-odds of each answer over its meetings that have a valid verdict."""
    each: dict[int, list[float]] = {}
    for (first, second), verdict in verdicts.items():
        if verdict.q is not None:
            lead = clipped_log_odds(verdict.q)
            each.setdefault(first, []).append(lead)
            each.setdefault(second, []).append(-lead)
    return {place: fmean(leads) for place, leads in each.items()}


def _knock_out(
    field: Field,
) -> Generator[Sequence[Pair], Sequence[Verdict], tuple[dict[Places, Verdict], int]]:
    """All verdicts, in their order, and the winner. One that has no opponent in a round is the
    first of the next."""
    verdicts: dict[Places, Verdict] = {}
    left = field.players
    while len(left) > 1:
        paired = len(left) // 2 * 2
        places = [_in_order(left[at], left[at + 1]) for at in range(0, paired, 2)]
        answered = yield [field.pair.between(*each) for each in places]
        verdicts |= zip(places, answered, strict=True)
        left = [*left[paired:], *(_winner(each, verdicts[each]) for each in places)]
    return verdicts, left[0]


def _winner(places: Places, verdict: Verdict) -> int:
    """Who goes on: by a hair where it is a tie, the earlier one where nothing tells them apart."""
    if verdict.decided:
        return places[verdict.choice == "second"]
    return places[verdict.q is not None and verdict.q < 0.5]


def _scores_beside_winner(verdicts: Mapping[Places, Verdict], best: int) -> dict[int, float]:
    """The log-odds of those that the winner beat directly that they are better than it; its own
    is 0."""
    scores = {best: 0.0}
    for places, verdict in verdicts.items():
        if best in places and verdict.decided and _winner(places, verdict) == best:
            (beaten,) = {*places} - {best}
            scores[beaten] = -abs(clipped_log_odds(1.0 if verdict.q is None else verdict.q))
    return scores


def _in_order(one: int, other: int) -> Places:
    return (one, other) if one < other else (other, one)


def _confirmed(verdict: Verdict, places: Places, best: int) -> Verdict:
    """A verdict, or a tie where it is against the best."""
    if verdict.decided and _winner(places, verdict) != best:
        return replace(verdict, choice="tie", note=CONTRARY)
    return verdict


def _judged(
    pair: Pair, places: Places, verdict: Verdict, verdicts: Mapping[Places, Verdict]
) -> JudgedPair:
    return JudgedPair(
        pair.between(*places), verdict, sampled=pair.answers, judgements=tuple(verdicts.values())
    )
