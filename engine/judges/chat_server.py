"""A server that speaks OpenAI's protocol: mlx_lm.server, LM Studio, Ollama, vLLM and others.

A question is asked until it has an answer. What is wrong with the server - it is not there, busy,
or does not know us - is waited for, with longer and longer pauses; what is wrong with one question
alone ends that question.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from engine.errors import UserError
from engine.judges.server_prompt import Messages

Client = TypeVar("Client")

# Pauses between tries: from the first to the longest, in seconds, and what chance adds.
FIRST_PAUSE, LONGEST_PAUSE, JITTER = 0.5, 15.0, 0.5
LONGEST_RETRY_AFTER = 300.0  # seconds that a server may ask us to stay away
TRIES = 4  # of a question whose reply is no answer, from a server that answers others
LARGEST_REPLY = 4 << 20  # bytes
TOP = 10  # likeliest tokens that are asked for: the most that all servers give
LISTED = 5  # models that a message names
# Replies that tell of the server rather than of what it was asked.
BUSY = {408, 425, 429, 502, 503, 504}
STRANGERS = {401, 403, 404, 405}


class Fault(Exception):
    """A try that brought no answer. `general` says that other questions fare no better; `status` is
    the reply's, 0 without one that matters."""

    def __init__(
        self, reason: str, *, general: bool = False, status: int = 0, pause: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.general = general
        self.status = status
        self.pause = pause  # seconds that the server asks for


class Refused(Exception):
    """The server takes no such question, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says: a text, and where it tells them the log-probabilities of the likeliest
    tokens at each place of it."""

    text: str
    tops: list[dict[str, float]]
    model: str = ""  # which has answered, as the server calls it


@dataclass(slots=True)
class Away:
    """That the server does not answer what it is asked: since when, on the monotonic clock, and
    why."""

    since: float
    reason: str


class ChatServer:
    """Asks one model of a server. Everything but `away` and `last_answer` belongs to one event
    loop."""

    def __init__(
        self,
        address: str,
        model: str | None,
        key: str | None,
        *,
        concurrency: int,
        timeout: float,
        answer_tokens: int,
    ) -> None:
        """
        Args:
            timeout: seconds that a try may take, all of its reply included.
            answer_tokens: the longest answer.

        Raises:
            UserError: the environment has a proxy or certificates that cannot be used.
        """
        self.address = address.rstrip("/")
        self.model = model or ""
        self.away: Away | None = None
        self.last_answer = -math.inf  # on the monotonic clock
        self._asked = 0  # questions that wait for an answer
        self._timeout = timeout
        self._answer_tokens = answer_tokens
        self._places = asyncio.Semaphore(concurrency)
        self._extras: dict[str, Any] = {}
        self._client = client_of(
            lambda: httpx2.AsyncClient(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=timeout,
                limits=httpx2.Limits(max_connections=concurrency),
            ),
            "judge",
        )

    async def open(self, trial: Messages) -> Answer:
        """Find the model and what the server can do, by a first question; its answer.

        Raises:
            UserError: it is not there, does not know the model, wants a key, or cannot answer.
        """
        try:
            models = await self._models()
        except Fault as fault:
            raise UserError(f"judge: the server at {self.address} {fault}") from None
        if not self.model:
            self.model = self._only(models)
        unlisted = bool(models) and self.model not in models
        unknown = (
            f"judge_model: the server at {self.address} does not know {self.model!r}; "
            f"it has {_listed(models)}"
        )
        try:
            answer = await self._first_answer(trial)
        except (Fault, Refused) as error:
            reason = f"judge: the server at {self.address} {error}"
            raise UserError(unknown if unlisted else reason) from None
        if unlisted and answer.model != self.model:  # another one has answered in its place
            raise UserError(unknown)
        return answer

    async def ask(self, messages: Messages) -> Answer:
        """The answer to a question, once the server gives one.

        Raises:
            Refused: it takes no such question.
            Fault: it answers others, but not this one.
        """
        began = time.monotonic()

        def hopeless(state: RetryCallState) -> bool:
            fault = state.outcome and state.outcome.exception()
            alone = isinstance(fault, Fault) and not fault.general and self.last_answer > began
            return alone and state.attempt_number >= TRIES

        backoff = wait_exponential(FIRST_PAUSE, LONGEST_PAUSE) + wait_random(0, JITTER)

        def pause(state: RetryCallState) -> float:
            fault = state.outcome and state.outcome.exception()
            return max(backoff(state), fault.pause if isinstance(fault, Fault) else 0.0)

        tries = AsyncRetrying(
            retry=retry_if_exception_type(Fault), wait=pause, stop=hopeless, reraise=True
        )
        self._asked += 1
        try:
            async for each in tries:
                with each:
                    return await self._try(messages)
        finally:
            self._asked -= 1
            if not self._asked:  # nobody waits for it, so its time away does not go on
                self.away = None
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.aclose()

    # -- one try ---------------------------------------------------------------------------------

    async def _try(self, messages: Messages) -> Answer:
        try:
            async with self._places:
                reply = await self._send("POST", "chat/completions", self._body(messages))
            answer = answer_of(reply)
        except Fault as fault:
            if self.away is None:
                self.away = Away(time.monotonic(), str(fault))
            self.away.reason = str(fault)
            raise
        self.last_answer = time.monotonic()
        self.away = None
        return answer

    def _body(self, messages: Messages) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._answer_tokens,
            **self._extras,
        }

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of a reply.

        Raises:
            Fault, Refused: there is none.
        """
        content = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream(method, f"{self.address}/{path}", json=body) as response,
            ):
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > LARGEST_REPLY:
                        raise Fault(f"sent a reply of more than {LARGEST_REPLY:,} bytes")
        except (TimeoutError, httpx2.TimeoutException):
            raise Fault(f"did not answer within {self._timeout:g} seconds") from None
        except httpx2.InvalidURL as error:  # one that has the form of an address
            raise Fault(f"cannot be asked ({_words(error)})", general=True) from None
        except httpx2.ConnectError as error:
            raise Fault(f"cannot be reached ({_words(error)})", general=True) from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Fault(f"broke off its reply ({_words(error)})") from None
        status = response.status_code
        if status != 200:
            _raise_for(status, _error_text(content), response.headers.get("Retry-After", ""))
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Fault("sent a reply that is no JSON") from None

    # -- opening ---------------------------------------------------------------------------------

    async def _models(self) -> list[str]:
        """Names of the models that the server lists; none where it has no such list."""
        try:
            reply = await self._send("GET", "models")
        except Refused:
            return []
        except Fault as fault:
            if fault.general and fault.status not in (404, 405):
                raise
            return []
        listed = reply.get("data") if isinstance(reply, dict) else None
        names = [each.get("id") for each in listed or [] if isinstance(each, dict)]
        return [name for name in names if isinstance(name, str)]

    def _only(self, models: list[str]) -> str:
        if len(models) == 1:
            return models[0]
        have = f"has {_listed(models)}" if models else "does not list its models"
        raise UserError(f"judge_model: say which model judges; the server at {self.address} {have}")

    async def _first_answer(self, trial: Messages) -> Answer:
        """The answer to a first question, with as much beside it as the server takes."""
        probabilities = {"logprobs": True, "top_logprobs": TOP}
        thoughtless = {"chat_template_kwargs": {"enable_thinking": False}}
        for extras in (probabilities | thoughtless, probabilities, thoughtless):
            self._extras = extras
            try:
                return await self._try(trial)
            except (Refused, Fault) as refused:
                if isinstance(refused, Fault) and refused.general:
                    raise
        self._extras = {}
        return await self._try(trial)


def client_of(opened: Callable[[], Client], setting: str) -> Client:
    """A client of a server.

    Raises:
        UserError: the environment has a proxy or certificates that cannot be used; `setting` is
            named.
    """
    try:
        return opened()
    except (ImportError, OSError, ValueError) as error:
        raise UserError(
            f"{setting}: a proxy or the certificates that the environment names cannot be used "
            f"({_words(error)}); unset ALL_PROXY, HTTP_PROXY, HTTPS_PROXY or SSL_CERT_FILE, or "
            "mend it"
        ) from error


def answer_of(reply: Any) -> Answer:
    """What a reply says.

    Raises:
        Fault: it is no reply of a chat.
    """
    try:
        choice = reply["choices"][0]
        text = choice["message"].get("content") or ""
        places = (choice.get("logprobs") or {}).get("content") or []
        tops = [
            {str(each["token"]): float(each["logprob"]) for each in place["top_logprobs"]}
            for place in places
            if isinstance(place, dict) and place.get("top_logprobs")
        ]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        if said := _error_in(reply):  # some say so with status 200
            raise Fault(f"answers with an error ({said})") from None
        raise Fault("sent a reply that is no chat completion") from None
    if not isinstance(text, str):
        raise Fault("sent a reply that is no chat completion")
    return Answer(text, tops, str(reply.get("model", "")))


def _raise_for(status: int, text: str, retry_after: str) -> None:
    """Raise what a status other than 200 means."""
    words = f"answers with status {status}{f' ({text})' if text else ''}"
    if status in (401, 403):
        raise Fault(f"{words}: it wants a key, or another one; see judge_key_env", general=True)
    if status in BUSY | STRANGERS or 300 <= status < 400:
        asked = float(retry_after) if retry_after.isdecimal() else 0.0
        pause = min(asked, LONGEST_RETRY_AFTER)
        raise Fault(words, general=True, status=status, pause=pause)
    if 400 <= status < 500:
        raise Refused(words)
    raise Fault(words)


def _error_text(content: bytes | bytearray) -> str:
    """What a reply says of its error, in one short line."""
    text = content.decode(errors="replace")
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    return _error_in(reply) or _short(text)


def _error_in(reply: Any) -> str:
    """What the error in a reply says, in one short line; empty where there is none."""
    error = reply.get("error") if isinstance(reply, dict) else None
    if isinstance(error, dict):
        error = error.get("message") or error
    return _short(str(error)) if error else ""


def _words(error: Exception) -> str:
    return _short(str(error) or type(error).__name__)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in line)[:160]


def _listed(models: list[str]) -> str:
    more = f" and {len(models) - LISTED} more" if len(models) > LISTED else ""
    return ", ".join(_short(name) for name in models[:LISTED]) + more
