"""A chat as far as it came: its turns, what was picked among two answers, and what goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.chat import Author, ChatAnswer, ChatRequest
from engine.data.pairs import Pair
from engine.message import Message
from engine.runs import chat_pairs

NAMES: dict[Author, str] = {"policy": "trained", "reference": "start"}
BOTH: tuple[Author, ...] = ("policy", "reference")


@dataclass
class Turn:
    """What was asked, and one answer or two."""

    number: int
    messages: tuple[Message, ...]  # the conversation that was answered
    answers: list[ChatAnswer] = field(default_factory=list)
    picked: int | None = None  # which answer is the better one
    stopped: bool = False  # by the person, while it was written

    @property
    def prompt(self) -> str:
        """The turn itself."""
        return self.messages[-1].content

    @property
    def alike(self) -> bool:
        """Whether there are two answers that say the same."""
        return len(self.answers) == 2 and self.answers[0].text == self.answers[1].text

    @property
    def comparable(self) -> bool:
        """Whether there are two answers that say something, and not the same."""
        written = [each for each in self.answers if each.text.strip()]
        return len(written) == 2 and not self.alike

    @property
    def answer(self) -> ChatAnswer | None:
        """The answer that the conversation goes on with: the one that was picked, else the first
        of the trained policy, else the first."""
        if self.picked is not None:
            return self.answers[self.picked]
        trained = (each for each in self.answers if each.author == "policy")
        return next(trained, self.answers[0] if self.answers else None)


class Conversation:
    """The turns of one chat, named `id`, the oldest first. `earlier` are turns that came with a
    prompt of the data."""

    def __init__(self, id: str, system: str = "", temperature: float = 0.0) -> None:
        self.id = id
        self.system = system
        self.temperature = temperature
        self.earlier: tuple[Message, ...] = ()
        self.turns: list[Turn] = []
        self._asked = 0  # turns ever, those before a new start among them

    @property
    def last(self) -> Turn | None:
        """The newest turn."""
        return self.turns[-1] if self.turns else None

    def start_anew(self, earlier: Sequence[Message] = ()) -> None:
        """Forget what was said."""
        self.turns, self.earlier = [], tuple(earlier)

    def ask(self, prompt: str, authors: tuple[Author, ...]) -> ChatRequest:
        """A new turn, and the request for its answers."""
        self._asked += 1
        turn = Turn(self._asked, (*self._before(), Message("user", prompt)))
        self.turns.append(turn)
        return ChatRequest(turn.number, turn.messages, authors, self.temperature)

    def ask_again(self) -> ChatRequest | None:
        """The request for a second answer to the newest turn, by who gave the first; None where
        there is not one answer."""
        if self.last is None or len(self.last.answers) != 1:
            return None
        author = self.last.answers[0].author
        return ChatRequest(
            self.last.number, self.last.messages, (author,), self.temperature, draw=1
        )

    def _before(self) -> list[Message]:
        messages = [Message("system", self.system)] if self.system.strip() else []
        messages += self.earlier
        for turn in self.turns:
            if turn.answer and turn.answer.text.strip():
                messages += [turn.messages[-1], Message("assistant", turn.answer.text)]
        return messages

    def pair(self, turn: Turn, step: int) -> tuple[Pair, tuple[str, str]]:
        """The two answers to a turn as a pair of the run, and who wrote them; `step` is that of
        the trained policy."""
        first, second = turn.answers
        pair = Pair(
            pair_id=chat_pairs.pair_id(self.id, turn.number),
            step=step,
            weights_step=step,
            prompt=turn.prompt,
            messages=turn.messages,
            prompt_ids=(),
            first=first.text,
            second=second.text,
            first_ids=first.ids,
            second_ids=second.ids,
            first_finished=first.finished,
            second_finished=second.finished,
        )
        return pair, (first.author, second.author)
