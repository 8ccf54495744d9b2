"""Judges of a run of several ranks: each rank judges, or asks a server or a function about, its own
share of the pairs. In one order and by equal judges that is what one rank would say."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.prompts import Prompt
from engine.judges import HELD_OUT_PAIR, JudgeAway, PairJudge, Score, ScoringJudge
from engine.judges.presentation import Request, request_text
from engine.judges.server import ServerJudge
from engine.train.ranks.shares import dealt

T = TypeVar("T")
Texts = Sequence[tuple[Request, str, str]]


class JudgingRanks(Protocol):
    """What a shared judge needs of rank 0."""

    size: int

    def share_out(
        self,
        kind: str,
        sizes: Sequence[int],
        message: Callable[[list[int]], dict[str, Any]],
        compute: Callable[[list[int]], Sequence[T]],
        take: Callable[[Any], T],
        stop: Callable[[], bool] | None = None,
    ) -> list[T]:
        """What all ranks compute of things of these sizes, in order.

        Args:
            kind: of work, for those who watch over it; empty for what is not computed here.
            message: asks another rank for the things at some places, `compute` has them from this
                one, and `take` has one of them from an answer.
            stop: raises `Interrupted` where it says so; by default, where the run is to stop.

        Raises:
            JudgeAway: a rank's judge is.
        """
        ...

    def send(self, messages: Mapping[int, dict[str, Any]]) -> int:
        """Send messages to ranks; the number of what they may answer."""
        ...

    def answers(self, ranks: Sequence[int], number: int) -> dict[int, dict[str, Any]]:
        """The answers of ranks, waited for. Raises as `share_out`."""
        ...


class SharedJudge:
    """A judge that each rank has, before the run's pairs."""

    def __init__(
        self, ranks: JudgingRanks, at: int, judge: PairJudge, kind: str = "judging"
    ) -> None:
        """
        Args:
            at: 0 for the run's judge, 1 for the one that only evaluates.
            kind: as of `JudgingRanks.share_out`.
        """
        self.name = judge.name
        self._ranks, self._at, self._judge, self._kind = ranks, at, judge, kind

    def judge(self, texts: Texts, names: Sequence[str] = ()) -> list[Verdict]:
        names = names or [HELD_OUT_PAIR] * len(texts)
        return self._ranks.share_out(
            self._kind,
            [len(request_text(prompt)) + len(one) + len(two) for prompt, one, two in texts],
            lambda share: {
                "do": "judge",
                "judge": self._at,
                "texts": [(_as_json(texts[i][0]), *texts[i][1:]) for i in share],
                "names": [names[i] for i in share],
            },
            lambda share: self._judge.judge([texts[i] for i in share], [names[i] for i in share]),
            Verdict.from_json,
        )

    @property
    def gives_scores(self) -> bool:
        """Whether the judge scores answers one at a time."""
        return isinstance(self._judge, ScoringJudge) and self._judge.gives_scores

    def score(
        self, answers: Sequence[tuple[Request, str]], names: Sequence[str] = ()
    ) -> list[Score]:
        judge = self._scoring()
        names = names or [""] * len(answers)
        return self._ranks.share_out(
            self._kind,
            [len(request_text(prompt)) + len(answer) for prompt, answer in answers],
            lambda share: {
                "do": "score",
                "judge": self._at,
                "texts": [(_as_json(answers[i][0]), answers[i][1]) for i in share],
                "names": [names[i] for i in share],
            },
            lambda share: judge.score([answers[i] for i in share], [names[i] for i in share]),
            _score,
        )

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        return self._scoring().verdict_on(first, second)

    def _scoring(self) -> ScoringJudge:
        assert isinstance(self._judge, ScoringJudge)
        return self._judge


@dataclass
class _Batch:
    """A batch that was handed over, the places in it that each rank asks about, and what ranks have
    brought of these."""

    pairs: Sequence[Pair]
    shares: list[list[int]]
    judged: dict[int, list[JudgedPair]] = field(default_factory=dict)  # by rank


class SharedServer(SharedJudge):
    """A judge on a server that each rank asks, while the next batch is sampled: a `Judge`."""

    stores_labels = False

    def __init__(
        self, ranks: JudgingRanks, at: int, judge: ServerJudge, woken: threading.Event
    ) -> None:
        """`woken` is set where the server has answered another rank's batch."""
        super().__init__(ranks, at, judge, kind="")
        self._server, self._woken = judge, woken
        self._batches: deque[_Batch] = deque()

    def submit(self, pairs: Sequence[Pair]) -> None:
        sizes = [
            len(pair.full_prompt.text) + sum(len(each.text) for each in pair.answers)
            for pair in pairs
        ]
        batch = _Batch(pairs, dealt(sizes, self._ranks.size))
        own, *others = ([pairs[i] for i in share] for share in batch.shares)
        self._ranks.send(
            {
                rank: {
                    "do": "submit",
                    "judge": self._at,
                    "pairs": [pair.to_json() for pair in share],
                }
                for rank, share in enumerate(others, 1)
            }
        )
        self._server.submit(own)
        self._batches.append(batch)

    def open_batches(self) -> int:
        return len(self._batches)

    def settles_in(self) -> float:
        own_is_there = self._batches and 0 in self._batches[0].judged
        if own_is_there and self._woken.is_set():
            return 0.0
        return float("inf") if own_is_there else self._server.settles_in()

    def pending(self) -> list[Sequence[Pair]]:
        return [batch.pairs for batch in self._batches]

    def collect(self) -> list[JudgedPair] | None:
        """The oldest batch, once all ranks have all answers to their shares.

        Raises:
            JudgeAway: they have not, and the server is away for too long from one of them.
        """
        if not self._batches:
            return None
        batch = self._batches[0]
        if 0 not in batch.judged:
            if (own := self._server.collect()) is None:
                return None
            batch.judged[0] = own
        self._woken.clear()
        missing = [rank for rank in range(1, self._ranks.size) if rank not in batch.judged]
        number = self._ranks.send({rank: {"do": "collect", "judge": self._at} for rank in missing})
        for rank, answer in self._ranks.answers(missing, number).items():
            if answer["result"] is not None:
                pairs = [batch.pairs[i] for i in batch.shares[rank]]
                batch.judged[rank] = [
                    judged_from_json(each, pair)
                    for each, pair in zip(answer["result"], pairs, strict=True)
                ]
        if len(batch.judged) < self._ranks.size:
            return None
        self._batches.popleft()
        judged: dict[int, JudgedPair] = {}
        for rank, share in enumerate(batch.shares):
            judged |= zip(share, batch.judged[rank], strict=True)
        return [judged[i] for i in range(len(batch.pairs))]


def answer_to(judge: PairJudge, message: Mapping[str, Any]) -> dict[str, Any]:
    """Do what a message of rank 0's shared judge asks of this rank's judge, and return the answer
    to send; an empty one is not sent.

    Raises:
        Interrupted: asked to stop.
    """
    try:
        match message["do"]:
            case "judge":
                texts = [(_request(prompt), one, two) for prompt, one, two in message["texts"]]
                verdicts = judge.judge(texts, message["names"])
                return {"result": [asdict(verdict) for verdict in verdicts]}
            case "score":
                assert isinstance(judge, ScoringJudge)
                answers = [(_request(prompt), answer) for prompt, answer in message["texts"]]
                return {"result": [asdict(each) for each in judge.score(answers, message["names"])]}
            case "submit":
                assert isinstance(judge, ServerJudge)
                judge.submit([Pair.from_json(pair) for pair in message["pairs"]])
                return {}
            case "collect":
                assert isinstance(judge, ServerJudge)
                judged = judge.collect()
                return {"result": judged and [judged_as_json(each) for each in judged]}
            case other:
                raise ValueError(f"a judge is asked to {other!r}, which it cannot do")
    except JudgeAway as away:
        return {"away": str(away)}


def judged_as_json(judged: JudgedPair) -> dict[str, Any]:
    """A judged pair, less all answers to its prompt, as plain JSON values."""
    return {
        "pair": judged.pair.to_json(),
        "verdict": asdict(judged.verdict),
        "judgements": [asdict(each) for each in judged.judgements],
    }


def judged_from_json(data: Mapping[str, Any], sampled: Pair) -> JudgedPair:
    """The judged pair that `judged_as_json` took apart, of what was sampled of its prompt."""
    return JudgedPair(
        Pair.from_json(data["pair"]),
        Verdict.from_json(data["verdict"]),
        sampled=sampled.answers if sampled.others else None,
        judgements=tuple(Verdict.from_json(each) for each in data["judgements"]),
    )


def _score(data: Mapping[str, Any]) -> Score:
    """The score that `dataclasses.asdict` took apart."""
    parts = tuple(_score(part) for part in data["parts"])
    return Score(data["value"], data["cut"], data["note"], parts)


def _as_json(request: Request) -> Any:
    return asdict(request) if isinstance(request, Prompt) else request


def _request(prompt: Any) -> Request:
    return prompt if isinstance(prompt, str) else Prompt.from_json(prompt)
