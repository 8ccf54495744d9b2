"""A judge on a server: both orders of each pair are asked over HTTP, many at once.

Requests live on a thread of their own, so that a batch is judged while the next one is sampled.
The engine's thread looks at what has come, and tells of a server that is away.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from engine.compute.sampling import Interrupted
from engine.data.pairs import JudgedPair, Pair, Ties, Verdict, verdict_of
from engine.events import Level
from engine.judges import HELD_OUT_PAIR, JudgeAway
from engine.judges.chat_server import Answer, ChatServer, Fault, Refused
from engine.judges.contest import Choosing, Contest
from engine.judges.llm import GENERATED_TOKENS, LEAST_MASS, written_answer
from engine.judges.once import once
from engine.judges.presentation import Request
from engine.judges.server_key import key_of
from engine.judges.server_prompt import chat_messages
from engine.secrets import hide
from engine.settings.schema import Settings

NOTICED = 5.0  # seconds without an answer before anybody is told
POLL_SECONDS = 0.1
# Room for an answer that is a number, and what some models put before it.
ANSWER_TOKENS = 8
TRIAL = ("Which is a fruit?", "An apple.", "A stone.")

T = TypeVar("T")


@dataclass
class _Batch:
    """A batch that was handed over, and its judged pairs, by the ids of what was handed over, as
    they come."""

    pairs: Sequence[Pair]
    judged: dict[str, JudgedPair] = field(default_factory=dict)
    future: "Future[None] | None" = None


class ServerJudge:
    """Judges pairs by the rubric of the settings, through a server."""

    stores_labels = False

    def __init__(
        self,
        settings: Settings,
        address: str,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[Level, str], None] = lambda level, text: None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            tell: told, on the engine's thread, of a server that is away or back, and of pairs that
                are not read as they are.
            wake: told, on any thread, that a batch is judged.

        Raises:
            UserError: the environment has no key that can be sent under the name of
                `judge_key_env`, or a proxy that cannot be used.
        """
        self.name = f"{settings.judge_model or 'a model'} at {address}"
        self._rubric = settings.judge_system
        self._most = settings.judged_tokens
        self._choosing = Choosing.of(settings)
        self._margin = settings.judge_margin
        self._ties: Ties = settings.judge_ties
        self._writes = settings.judge_mode == "generate"
        self._away_seconds = 60 * settings.judge_away_minutes
        self._progress, self._stop, self._tell, self._wake = progress, stop, tell, wake
        self._warnings: deque[str] = deque()  # of the other thread, which are not told yet
        self._warn_once = once(self._warnings.append)
        self._told_away: float | None = None  # since when the server is away that was told of
        self._server = ChatServer(
            address,
            settings.judge_model,
            key_of(settings.judge_key_env, "judge_key_env"),
            concurrency=settings.judge_concurrency,
            timeout=settings.judge_timeout,
            answer_tokens=GENERATED_TOKENS if self._writes else ANSWER_TOKENS,
        )
        self._batches: deque[_Batch] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="judge", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Find the server and its model, by a first question.

        Raises:
            UserError: it is not there, does not know the model, or gives no answer.
            Interrupted: asked to stop.
        """
        trial, _ = chat_messages(self._rubric, *TRIAL, self._most)
        answer = self._wait(self._start(self._server.open(trial)))
        self.name = f"{self._server.model} at {self._server.address}"
        if not answer.tops and not self._writes:
            self._tell(
                "info",
                f"judge: {self.name} gives no log-probabilities, so its written answers are read",
            )
        if math.isnan(self._log_odds(answer)):
            self._tell(
                "warning",
                f"judge: {self.name} answered a first pair with neither 1 nor 2; a model that "
                "thinks first needs judge_mode: generate",
            )

    def close(self) -> None:
        """Ask nothing any more."""

        async def leave() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._server.close()

        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):  # of a socket that does not close
                self._start(leave()).result(timeout=2)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)
            if not self._thread.is_alive():
                self._loop.close()

    # -- batches of the run ----------------------------------------------------------------------

    def submit(self, pairs: Sequence[Pair]) -> None:
        """Begin to ask for a batch."""
        batch = _Batch(pairs)
        batch.future = self._start(self._judge_batch(batch))
        batch.future.add_done_callback(lambda _: self._wake())
        self._batches.append(batch)

    def open_batches(self) -> int:
        """Batches that were not collected: not those without an answer, so that it does not depend
        on a server's speed which weights sample a batch."""
        return len(self._batches)

    def settles_in(self) -> float:
        """Seconds until `collect` may have a batch."""
        return 0.0 if self._batches and self._is_done(self._batches[0]) else math.inf

    def pending(self) -> list[Sequence[Pair]]:
        """Batches that were not collected, oldest first."""
        return [batch.pairs for batch in self._batches]

    def collect(self) -> list[JudgedPair] | None:
        """The oldest batch, once all its answers have come.

        Raises:
            JudgeAway: they have not, and the server is away for too long.
        """
        if not self._batches:
            return None
        batch = self._batches[0]
        self._look()
        if not self._is_done(batch):
            self._progress(len(batch.judged), len(batch.pairs))
            return None
        assert batch.future is not None
        batch.future.result()
        self._batches.popleft()
        return [batch.judged[pair.pair_id] for pair in batch.pairs]

    async def _judge_batch(self, batch: _Batch) -> None:
        async def verdict(pair: Pair) -> Verdict:
            texts = pair.full_prompt, pair.first, pair.second
            return await self._verdict(*texts, f"pair {pair.pair_id}")

        async def judge(pair: Pair) -> None:
            contest = Contest(pair, self._choosing)
            while contest.matches:
                contest.add(await asyncio.gather(*map(verdict, contest.matches)))
            assert contest.result
            batch.judged[pair.pair_id] = contest.result

        await asyncio.gather(*map(judge, batch.pairs))

    @staticmethod
    def _is_done(batch: _Batch) -> bool:
        return batch.future is not None and batch.future.done()

    # -- pairs now -------------------------------------------------------------------------------

    def judge(
        self, texts: Sequence[tuple[Request, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion), waited for.

        Raises:
            Interrupted: asked to stop.
            JudgeAway: the server is away for too long.
        """
        names = names or [HELD_OUT_PAIR] * len(texts)
        count = 0

        async def verdict(text: tuple[Request, str, str], name: str) -> Verdict:
            nonlocal count
            result = await self._verdict(*text, name)
            count += 1
            return result

        async def verdicts() -> list[Verdict]:
            return await asyncio.gather(*map(verdict, texts, names))

        return self._wait(
            self._start(verdicts()), lambda: self._progress(count, len(texts)), looks=True
        )

    async def _verdict(self, prompt: Request, first: str, second: str, name: str) -> Verdict:
        """The verdict on a pair, from both orders."""
        orders = [
            chat_messages(self._rubric, prompt, *answers, self._most)
            for answers in ((first, second), (second, first))
        ]
        cut = any(cut for _, cut in orders)
        if cut:
            self._warn_once(
                "cut",
                f"{name} has more than judge_max_tokens ({self._most:,}, by its characters): of "
                "such a pair the judge reads the end of the prompt and the start of each answer; "
                "cut_pairs counts them",
            )
        try:
            answers = await asyncio.gather(*(self._server.ask(each) for each, _ in orders))
        except (Fault, Refused) as error:
            reason = hide(f"the server {error}")
            self._warn_once("refused", f"{name} is left out as invalid: {reason}")
            return Verdict("invalid", note=reason, cut=cut)
        l1, l2 = map(self._log_odds, answers)
        rationale = tuple(answer.text.strip() for answer in answers) if self._writes else ()
        verdict = verdict_of(l1, l2, margin=self._margin, ties=self._ties)
        return replace(verdict, cut=cut, rationale=rationale)

    def _log_odds(self, answer: Answer) -> float:
        """Log-odds of "1" against "2"; NaN where it is neither."""
        if answer.tops and not self._writes:
            return log_odds(answer.tops)
        return written_answer(answer.text)

    # -- inside ----------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(
        self,
        future: "Future[T]",
        progress: Callable[[], None] = lambda: None,
        *,
        looks: bool = False,
    ) -> T:
        """What the other thread finds; waits, and while it does looks whether the run is to stop,
        and with `looks` whether the server is away."""
        try:
            while not future.done():
                if self._stop():
                    raise Interrupted
                if looks:
                    self._look()
                progress()
                try:
                    return future.result(timeout=POLL_SECONDS)
                except TimeoutError:
                    continue
            return future.result()
        except CancelledError:
            raise Interrupted from None
        finally:
            future.cancel()

    def _look(self) -> None:
        """Tell of a server that is away or back, and of what came up on the other thread.

        Raises:
            JudgeAway: it is away for too long. Its time begins anew.
        """
        while self._warnings:
            self._tell("warning", self._warnings.popleft())
        now, away = time.monotonic(), self._server.away
        if away is None:
            if self._told_away is not None and self._server.last_answer > self._told_away:
                minutes = (now - self._told_away) / 60
                self._tell("info", f"judge: {self.name} answers again after {minutes:.1f} minutes")
                self._told_away = None
            return
        if now - away.since > self._away_seconds:
            away.since = now
            raise JudgeAway(
                f"the judge {self.name} is away for {self._away_seconds / 60:g} minutes now: "
                f"it {away.reason}"
            )
        if self._told_away is None and now - away.since > NOTICED:
            self._told_away = away.since
            self._tell(
                "warning",
                f"judge: {self.name} {away.reason}; the run waits for it, up to "
                f"{self._away_seconds / 60:g} minutes",
            )


def log_odds(tops: Sequence[dict[str, float]]) -> float:
    """Log-odds of "1" against "2" at the first place that is no blank.

    One that is not among the likeliest tokens there is taken to be as likely as the least of them.
    NaN where both are missing, or hold too little of the probability.
    """
    for top in tops:
        if max(top, key=top.__getitem__).strip(_BLANKS):
            break
    else:
        return math.nan
    one, two = ([v for token, v in top.items() if token.strip(_BLANKS) == n] for n in "12")
    mass = math.fsum(map(math.exp, (*one, *two)))
    if not (one or two) or not math.isfinite(mass) or mass < LEAST_MASS:
        return math.nan
    least = [min(top.values())]
    return _log_sum(one or least) - _log_sum(two or least)


# How tokenizers write a blank, where a server gives tokens as they stand in the vocabulary.
_BLANKS = " \t\r\n▁ĠĊ"


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
