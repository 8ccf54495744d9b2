"""Judges that ranks share: each asks its own about a part, and together they say what one does."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.judges import JudgeAway, PairJudge
from engine.judges.contest import Choosing
from engine.judges.function import FunctionJudge
from engine.judges.queued import judge_batch
from engine.judges.server import ServerJudge
from engine.train.ranks.judges import SharedJudge, SharedServer, answer_to
from engine.train.ranks.shares import dealt
from tests.engine.little_server import LittleServer
from tests.engine.small_models import pair, settings
from tests.engine.test_contest import prompt_of

SOON = 60.0  # seconds, on a machine that is busy


class Others:
    """Rank 0 and others, in one process: what goes between them is JSON."""

    def __init__(self, judges: Sequence[PairJudge]) -> None:
        self.size = 1 + len(judges)
        self.messages: list[tuple[int, str]] = []
        self._judges = judges
        self._answers: dict[int, dict[str, Any]] = {}

    def share_out(
        self,
        kind: str,
        sizes: Sequence[int],
        message: Callable[[list[int]], dict[str, Any]],
        compute: Callable[[list[int]], Sequence[Any]],
        take: Callable[[Any], Any],
        stop: Callable[[], bool] | None = None,
    ) -> list[Any]:
        own, *others = dealt(sizes, self.size)
        self.send({rank: message(share) for rank, share in enumerate(others, 1) if share})
        results = dict(zip(own, compute(own) if own else [], strict=True))
        for rank, answer in self.answers(list(self._answers), 0).items():
            results |= zip(others[rank - 1], map(take, answer["result"]), strict=True)
        return [results[at] for at in range(len(sizes))]

    def send(self, messages: Mapping[int, dict[str, Any]]) -> int:
        self._answers = {}
        for rank, message in messages.items():
            self.messages.append((rank, message["do"]))
            answer = answer_to(self._judges[rank - 1], json.loads(json.dumps(message)))
            if answer:
                self._answers[rank] = json.loads(json.dumps(answer))
        return 0

    def answers(self, ranks: Sequence[int], number: int) -> dict[int, dict[str, Any]]:
        answers = {rank: self._answers[rank] for rank in ranks}
        if away := [answer["away"] for answer in answers.values() if "away" in answer]:
            raise JudgeAway(away[0])
        return answers


@pytest.fixture
def little() -> Iterator[LittleServer]:
    with LittleServer(models=("longer",)).running() as little:
        yield little


@pytest.fixture
def servers(little: LittleServer) -> Iterator[Callable[..., ServerJudge]]:
    made: list[ServerJudge] = []

    def make(**more: Any) -> ServerJudge:
        judge = ServerJudge(settings(judge=little.address), little.address, **more)
        made.append(judge)
        judge.open()
        return judge

    yield make
    for judge in made:
        judge.close()


def batch(step: int = 1, count: int = 7) -> list[Pair]:
    """Pairs of unlike lengths, of which some have further answers."""
    pairs = [
        pair(number, step=step, first="a" * (number + 2), second="bcd") for number in range(count)
    ]
    return [*pairs, prompt_of(4, count, step, texts=["a", "abcd", "ab", "abcdef"])]


def collected(judge: Any) -> list[JudgedPair]:
    end = time.monotonic() + SOON
    while (judged := judge.collect()) is None:
        assert time.monotonic() < end
        time.sleep(min(0.01, judge.settles_in()))
    return judged


def test_each_rank_asks_a_server_about_its_share_and_together_they_say_what_one_says(
    little: LittleServer, servers: Callable[..., ServerJudge]
) -> None:
    alone = servers()
    batches = [batch(1), batch(2, count=0), batch(3, count=2)]
    little.bodies.clear()
    for each in batches:
        alone.submit(each)
    wanted = [collected(alone) for _ in batches]
    asked = len(little.bodies)
    woken = threading.Event()
    ranks = Others([servers(wake=woken.set), servers(wake=woken.set)])
    shared = SharedServer(ranks, 0, servers(wake=woken.set), woken)
    little.bodies.clear()
    for each in batches:
        shared.submit(each)
    assert shared.open_batches() == 3
    assert shared.pending() == batches
    assert [collected(shared) for _ in batches] == wanted
    assert shared.open_batches() == 0
    assert shared.collect() is None
    assert ranks.messages.count((1, "submit")) == ranks.messages.count((2, "submit")) == 3
    assert len(little.bodies) == asked


def test_a_server_judges_now_by_all_ranks_too(servers: Callable[..., ServerJudge]) -> None:
    texts = [("Why?", "a" * number, "bcd") for number in range(1, 6)]
    shared = SharedServer(Others([servers()]), 0, servers(), threading.Event())
    assert shared.judge(texts) == servers().judge(texts)
    assert shared.judge([]) == []


def test_a_server_that_is_away_from_another_rank_is_told_of() -> None:
    class Away:
        name = "away"

        def judge(self, texts: Any, names: Any = ()) -> Any:
            raise JudgeAway("the judge is away")

    class Here(Away):
        def judge(self, texts: Any, names: Any = ()) -> Any:
            return [Verdict("tie")] * len(texts)

    ranks = Others([Away()])
    with pytest.raises(JudgeAway, match="the judge is away"):
        SharedJudge(ranks, 0, Here()).judge([("Why?", "a", "b")] * 2)


@pytest.mark.parametrize(
    "code",
    [
        "better(prompt, completion): return len(completion)",  # which scores answers
        "better(prompt, first, second): return len(first) > len(second)",
    ],
)
def test_a_function_is_asked_by_each_rank(code: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def {code}\n", encoding="utf-8")
    name = f"{file}:better"
    judges = [FunctionJudge(settings(judge=name), name) for _ in range(3)]
    try:
        for judge in judges:
            judge.open()
        shared = SharedJudge(Others(judges[1:]), 0, judges[0])
        assert shared.gives_scores == judges[0].gives_scores
        wanted = judge_batch(judges[0], batch(), Choosing())
        assert judge_batch(shared, batch(), Choosing()) == wanted
    finally:
        for judge in judges:
            judge.close()
