"""What judges of batches share: which pairs have to be judged, and a queue before a `PairJudge`."""

import math
from collections import deque
from collections.abc import Mapping, Sequence

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.judges import PairJudge


class QueuedJudge:
    """Lets a `PairJudge` judge the batches of a run, on the thread that collects them."""

    stores_labels = False

    def __init__(self, judge: PairJudge) -> None:
        self.name = judge.name
        self._judge = judge
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
        pairs = self._batches[0]
        requests = to_judge(pairs)
        verdicts = self._judge.judge(
            [(pair.full_prompt, pair.first, pair.second) for pair in requests],
            [f"pair {pair.pair_id}" for pair in requests],
        )
        self._batches.popleft()
        by_id = {pair.pair_id: verdict for pair, verdict in zip(requests, verdicts, strict=True)}
        return judged(pairs, by_id)


def to_judge(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that somebody has to look at."""
    return [pair for pair in pairs if pair.automatic_choice() is None]


def judged(pairs: Sequence[Pair], verdicts: Mapping[str, Verdict]) -> list[JudgedPair]:
    """A batch with the verdicts on those that somebody looked at, by pair."""
    return [
        JudgedPair(
            pair, verdicts.get(pair.pair_id) or Verdict(pair.automatic_choice() or "invalid")
        )
        for pair in pairs
    ]
