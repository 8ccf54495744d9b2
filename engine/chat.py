"""A chat with the policy of a run as it was trained, as it was before, or with both, in a process
of its own: several turns, a token at a time.

Each answer is computed from the whole conversation, since a chat template may write earlier turns
otherwise than they were sampled. Importing this is light.
"""

import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import RunError, UserError
from engine.message import Message
from engine.policy_process import PolicyProcess, serve
from engine.runs.folder import CHAT, Run, timestamp

if TYPE_CHECKING:
    from engine.data.prompts import Prompt
    from engine.model.language_model import LanguageModel
    from engine.settings.schema import Settings
    from engine.trained import Trained

Author = Literal["policy", "reference"]  # the trained one, and the one that it started from

MOST_WINDOW = 8_192  # tokens of a conversation, whatever the model says: they cost memory
LEAST_ANSWER = 1_024  # tokens that an answer may have, also of a run that trains on shorter ones
SECONDS = 0.05  # between two looks at an answer that is being written


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to answer. `messages` end with the user's turn, the `turn`th.

    `draw` tells apart answers of the same author to the same conversation.
    """

    turn: int
    messages: tuple[Message, ...]
    authors: tuple[Author, ...]
    temperature: float
    draw: int = 0


@dataclass(frozen=True, slots=True)
class ChatReady:
    """Both policies are loaded, the trained one as it was after `step`; what the run itself asks
    with, and how many tokens a conversation may have."""

    step: int
    temperature: float
    system: str
    window: int


@dataclass(frozen=True, slots=True)
class ChatText:
    """What the authors of a request have written so far, in their order, and how many tokens."""

    turn: int
    texts: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """An answer. It is `finished` where the model ended it."""

    author: Author
    text: str
    ids: tuple[int, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class ChatAnswered:
    """The answers to a request, and sentences on what was done with the conversation. Without
    answers there is a sentence that says why."""

    turn: int
    answers: tuple[ChatAnswer, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatHeldOut:
    """A prompt that the run has held out, and others after it; or why there is none."""

    messages: tuple[Message, ...]
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class ChatFailed:
    """It cannot go on; `error` is one sentence."""

    error: str


ChatEvent = ChatReady | ChatText | ChatAnswered | ChatHeldOut | ChatFailed
_STOP, _HELD_OUT = "stop", "held out"


class Chat(PolicyProcess[ChatEvent]):
    """Answers conversations by the policies of a run until closed, and keeps the answers in the
    run's chat.jsonl. Belongs to one thread."""

    def __init__(self, run: Run) -> None:
        self.id = uuid.uuid4().hex[:8]
        super().__init__("chat", f"{str(run.path)!r}, {self.id!r}", ChatFailed)

    def ask(self, request: ChatRequest) -> None:
        """Have a conversation answered."""
        self.send(request)

    def stop(self) -> None:
        """End the answer that is being written; what there is of it counts."""
        self.send(_STOP)

    def next_held_out(self) -> None:
        """Look for a prompt that the run has held out."""
        self.send(_HELD_OUT)


# -- in the process ------------------------------------------------------------------------------


def main(descriptor: int, run: str, chat: str) -> None:
    """Load, and answer until the other end of a connection is gone."""
    serve(descriptor, lambda to: _answer(Run(Path(run)), chat, to), ChatFailed)


def _answer(run: Run, chat: str, connection: Connection) -> None:
    from engine.trained import load_trained

    settings, _ = run.known_settings()
    talk = _Talk(run, settings, load_trained(run, longest=MOST_WINDOW), chat, connection)
    connection.send(
        ChatReady(
            talk.trained.weights.step or 0,
            settings.temperature,
            settings.system_prompt or "",
            talk.window,
        )
    )
    while True:
        match talk.later.popleft() if talk.later else connection.recv():
            case ChatRequest() as request:
                connection.send(talk.answer(request))
            case str() as word if word == _HELD_OUT:
                connection.send(talk.held_out())
            case _:  # a stop that came after the end
                pass


@dataclass
class _Draft:
    """An answer as it is written."""

    author: Author
    lm: "LanguageModel"
    tokens: Iterator[int]
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    def write(self) -> None:
        """Sample one token more, if there is one."""
        token = None if self.ended else next(self.tokens, None)
        if token is None:
            self.ended = True
        else:
            self.ids.append(token)

    @property
    def text(self) -> str:
        return self.lm.text(self.ids)

    @property
    def begun_text(self) -> str:
        """The text so far, without a character of which bytes are still to come."""
        return self.text.rstrip("\ufffd")


class _Talk:
    """What the process knows of the chat."""

    def __init__(
        self, run: Run, settings: "Settings", trained: "Trained", chat: str, connection: Connection
    ) -> None:
        self.trained = trained
        self.window = min(trained.window or settings.max_seq_length, MOST_WINDOW)
        self.most = min(max(settings.max_completion_length, LEAST_ANSWER), self.window // 2)
        self.later: deque[object] = deque()  # what was asked for while an answer was written
        self._run = run
        self._settings = settings
        self._chat = chat
        self._connection = connection
        self._prompts: Iterator[Prompt] | None = None  # those that the run holds out

    def answer(self, request: ChatRequest) -> ChatAnswered:
        """Write the answers to a request, telling of them on the way, and keep them."""
        try:
            notes, drafts = self._begin(request)
        except UserError as error:
            return ChatAnswered(request.turn, (), (str(error),))
        stopped, last = False, time.monotonic()
        while not stopped and not all(draft.ended for draft in drafts):
            for draft in drafts:
                draft.write()
            if time.monotonic() - last >= SECONDS:
                last = time.monotonic()
                self._tell(request.turn, drafts)
            stopped = self._is_to_stop()
        answers = tuple(
            ChatAnswer(draft.author, draft.text, tuple(draft.ids), self._finished(draft))
            for draft in drafts
        )
        notes += self._keep(request, answers, stopped)
        return ChatAnswered(request.turn, answers, tuple(notes))

    def _begin(self, request: ChatRequest) -> tuple[list[str], list[_Draft]]:
        from engine.compute.sampling import Sampler, stream, stream_seed
        from engine.data.chat_template import has_one
        from engine.data.prompts import Prompt
        from engine.data.rendering import fit_prompt, takes_system

        settings = self._settings
        sampled = settings.model_copy(update={"temperature": request.temperature})
        tokenizer = self.trained.policy.tokenizer
        prompt = Prompt(request.messages, request.messages[-1].content)
        fitted = fit_prompt(tokenizer, prompt, settings, self.window - self.most)
        notes: list[str] = []
        if request.messages[0].role == "system" and not takes_system(tokenizer):
            what = "chat template takes" if has_one(tokenizer) else "plain text knows"
            notes.append(f"the model's {what} no system message: it stands before the first turn")
        if fitted.dropped:
            turns = "turn is" if fitted.dropped == 1 else f"{fitted.dropped} turns are"
            notes.append(
                f"the oldest {turns} left out: the model's window of {self.window:,} tokens is full"
            )
        if fitted.cut:
            notes.append("only the end of the prompt is read: it is longer than the model's window")
        lms = {"policy": self.trained.policy, "reference": self.trained.reference}
        drafts = [
            _Draft(
                author,
                lms[author],
                stream(
                    lms[author],
                    fitted.ids,
                    max_tokens=self.most,
                    sampler=Sampler.of(sampled),
                    # The same chance for both authors.
                    seed=stream_seed(settings.seed, "chat", request.turn, request.draw),
                ),
            )
            for author in request.authors
        ]
        return notes, drafts

    def _finished(self, draft: _Draft) -> bool:
        return bool(draft.ids) and draft.ids[-1] in draft.lm.eos_ids

    def _tell(self, turn: int, drafts: list[_Draft]) -> None:
        tokens = sum(len(draft.ids) for draft in drafts)
        self._connection.send(ChatText(turn, tuple(draft.begun_text for draft in drafts), tokens))

    def _is_to_stop(self) -> bool:
        while self._connection.poll():
            if (word := self._connection.recv()) == _STOP:
                return True
            self.later.append(word)
        return False

    def _keep(
        self, request: ChatRequest, answers: tuple[ChatAnswer, ...], stopped: bool
    ) -> list[str]:
        """Add the answers to chat.jsonl; a sentence where that failed."""
        first = request.messages[0]
        line = {
            "time": timestamp(),
            "chat": self._chat,
            "turn": request.turn,
            "step": self.trained.weights.step,
            "temperature": request.temperature,
            "system": first.content if first.role == "system" else "",
            "prompt": request.messages[-1].content,
            "answers": [
                {
                    "author": answer.author,
                    "text": answer.text,
                    "tokens": len(answer.ids),
                    "finished": answer.finished,
                }
                for answer in answers
            ],
            "stopped": stopped,
        }
        try:
            self._run.append(CHAT, [line], sync=True)
        except RunError as error:
            return [f"this answer is not kept: {error}"]
        return []

    def held_out(self) -> ChatHeldOut:
        """The next prompt that the run holds out, from the first again after the last."""
        from engine.data.prompts import load_prompts

        if self._prompts is None:
            try:
                prompts = load_prompts(self._settings).held_out
            except UserError as error:
                return ChatHeldOut((), str(error))
            self._prompts = cycle(prompts)
        prompt = next(self._prompts, None)
        if prompt is None:
            return ChatHeldOut((), "this run holds no prompts out")
        return ChatHeldOut(prompt.messages)
