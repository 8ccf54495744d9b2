"""A batch before a `PairJudge`: what has to be judged of it, at once or from a queue."""

import math
from collections import deque
from collections.abc import Sequence

from engine.data.pairs import JudgedPair, Pair
from engine.judges import PairJudge, ScoringJudge
from engine.judges.contest import Choosing, Contest, Field, judged_by_scores


class QueuedJudge:
    """Lets a `PairJudge` judge the batches of a run, on the thread that collects them."""

    stores_labels = False

    def __init__(self, judge: PairJudge, choosing: Choosing | None = None) -> None:
        self.name = judge.name
        self._judge = judge
        self._choosing = choosing or Choosing()
        self._batches: deque[Sequence[Pair]] = deque()

    def submit(self, pairs: Sequence[Pair]) -> None:
        """Hand over a batch."""
        self._batches.append(pairs)

    def open_batches(self) -> int:
        """Batches that wait."""
        return len(self._batches)

    def settles_in(self) -> float:
        """Seconds until `collect` may have a batch."""
        return 0.0 if self._batches else math.inf

    def pending(self) -> list[Sequence[Pair]]:
        """Batches that wait, oldest first."""
        return list(self._batches)

    def collect(self) -> list[JudgedPair] | None:
        """Judge the oldest batch now; None where nothing waits.

        Raises:
            Interrupted: asked to stop; the batch keeps waiting.
        """
        if not self._batches:
            return None
        judged = judge_batch(self._judge, self._batches[0], self._choosing)
        self._batches.popleft()
        return judged


def judge_batch(judge: PairJudge, pairs: Sequence[Pair], choosing: Choosing) -> list[JudgedPair]:
    """A judge's verdict on each pair of a batch; where a prompt has more answers, on the two that
    are chosen. Raises as the judge."""
    scored: dict[str, JudgedPair] = {}
    if isinstance(judge, ScoringJudge) and judge.gives_scores:
        scored = _scored(judge, [pair for pair in pairs if pair.others], choosing)
    contests = {
        pair.pair_id: Contest(pair, choosing) for pair in pairs if pair.pair_id not in scored
    }
    while going := [contest for contest in contests.values() if contest.matches]:
        matches = [match for contest in going for match in contest.matches]
        verdicts = judge.judge(
            [(match.full_prompt, match.first, match.second) for match in matches],
            [f"pair {match.pair_id}" for match in matches],
        )
        in_turn = iter(verdicts)
        for contest in going:
            contest.add([next(in_turn) for _ in contest.matches])
    results = scored | {key: each.result for key, each in contests.items() if each.result}
    return [results[pair.pair_id] for pair in pairs]


def _scored(
    judge: ScoringJudge, pairs: Sequence[Pair], choosing: Choosing
) -> dict[str, JudgedPair]:
    """The pair that is chosen of each prompt's answers, of which each is scored once, by the id of
    the prompt; not of those that nobody has to judge."""
    fields = [Field(pair) for pair in pairs]
    fields = [field for field in fields if len(field.players) > 1]
    places = [(field.pair, place) for field in fields for place in field.players]
    in_turn = iter(
        judge.score(
            [(pair.full_prompt, pair.answers[place].text) for pair, place in places],
            [f"pair {pair.pair_id}" for pair, _ in places],
        )
    )
    return {
        field.pair.pair_id: judged_by_scores(
            field, {place: next(in_turn) for place in field.players}, judge.verdict_on, choosing
        )
        for field in fields
    }
