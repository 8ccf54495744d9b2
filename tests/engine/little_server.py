"""A little server of OpenAI's protocol, whose judge prefers the longer answer, and which can be
told to misbehave."""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from engine.judges.presentation import FIRST_LABEL, RUBRIC_LABEL, SECOND_LABEL

MODELS = ("longer", "other")


@dataclass
class LittleServer:
    """What the server does, and what it was asked.

    `misbehave` is given the handler and the body of each question, and how often this question
    came before; True says that it has replied.
    """

    port: int = 0
    gives_probabilities: bool = True
    models: tuple[str, ...] = MODELS
    text: Callable[[float], str] | None = None  # the written answer, from the log-odds of "1"
    misbehave: Callable[["Handler", dict[str, Any], int], bool] = lambda handler, body, times: False
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextlib.contextmanager
    def running(self) -> Iterator["LittleServer"]:
        """Serve on `port`, or on a free one, which then stays the same."""
        owner = self

        class Bound(Handler):
            little = owner

        with ThreadingHTTPServer(("127.0.0.1", self.port), Bound) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()


class Handler(BaseHTTPRequestHandler):
    """Replies to one request."""

    little: LittleServer

    def do_GET(self) -> None:
        listed = [{"id": name, "object": "model"} for name in self.little.models]
        self.reply({"object": "list", "data": listed})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        little = self.little
        with little.lock:
            times = sum(each["messages"] == body["messages"] for each in little.bodies)
            little.bodies.append(body)
            little.headers.append(dict(self.headers))
            little.at_once += 1
            little.most_at_once = max(little.most_at_once, little.at_once)
        try:
            answered = little.misbehave(self, body, times)
        finally:
            with little.lock:  # before the answer, upon which the next request may come
                little.at_once -= 1
        if not answered:
            self.answer(body)

    def answer(self, body: dict[str, Any]) -> None:
        """Judge, as a well-behaved server does."""
        if body["model"] not in self.little.models:
            self.reply({"error": {"message": f"model {body['model']} not found"}}, 404)
            return
        odds = log_odds_of(body)
        text = self.little.text(odds) if self.little.text else "1" if odds > 0 else "2"
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
        if self.little.gives_probabilities and body.get("logprobs"):
            choice["logprobs"] = {"content": [place({"1": odds / 2, "2": -odds / 2})]}
        self.reply({"model": body["model"], "choices": [choice]})

    def reply(self, value: Any, status: int = 200, **headers: str) -> None:
        """Send a value as JSON; bytes are sent as they are."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, header in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), header)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def place(scores: dict[str, float]) -> dict[str, Any]:
    """What a server tells of one token, from scores that become log-probabilities; a tenth of the
    probability is left to others."""
    total = math.log(sum(map(math.exp, scores.values()))) - math.log(0.9)
    tops = [{"token": token, "logprob": score - total} for token, score in scores.items()]
    tops.append({"token": "Hm", "logprob": math.log(0.02)})
    return max(tops, key=lambda top: top["logprob"]) | {"top_logprobs": tops}


def log_odds_of(body: dict[str, Any]) -> float:
    """Log-odds that the answer shown first is better: it is longer, and stands first."""
    first, second = answers_in(body)
    return 0.2 * (len(first) - len(second)) + 0.1


def answers_in(body: dict[str, Any]) -> tuple[str, str]:
    """Both answers as the server was shown them."""
    user = body["messages"][-1]["content"]
    _, _, answers = user.partition(FIRST_LABEL)
    first, _, rest = answers.partition(SECOND_LABEL)
    return first, rest.partition(RUBRIC_LABEL)[0]
