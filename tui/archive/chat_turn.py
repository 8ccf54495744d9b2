"""One turn of a chat: what was asked, and one answer, or two side by side."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from engine.message import Message
from tui.review.answer_pane import length
from tui.state.conversation import NAMES, Turn
from tui.text.safe_text import safe

WAITING = "…"


class ChatTurn(Vertical):
    """A turn; its texts are made safe here. Text of at most 72 columns, or half of them each."""

    DEFAULT_CSS = """
    ChatTurn {
        height: auto; margin: 0 0 1 0;
        & Static { height: auto; }
        & .asked { margin: 0 0 1 0; max-width: 74; }
        & Horizontal { height: auto; }
        & .answer { width: 1fr; height: auto; max-width: 72; margin: 0 3 0 2; }
        & .who { color: $muted; }
        & .-picked .who { color: $accent; text-style: bold; }
        & .-passed .text { color: $muted; }
    }
    """

    def __init__(self, turn: Turn, authors: Sequence[str], earlier: Sequence[Message] = ()) -> None:
        super().__init__()
        self.turn = turn
        self._authors = list(authors)
        self._earlier = earlier

    def on_mount(self) -> None:
        """The answers may have come before the places for them."""
        if self.turn.answers:
            self.settle()

    def compose(self) -> ComposeResult:
        """Turns that came with a prompt of the data, the prompt, a place for each answer."""
        for message in self._earlier:
            yield Static(
                Content.assemble((f"{message.role} ", "$muted"), safe(message.content)),
                classes="asked",
            )
        yield Static(
            Content.assemble(("> ", "$accent"), (safe(self.turn.prompt), "bold")), classes="asked"
        )
        with Horizontal():
            for author in self._authors:
                yield self._place(author)

    def _place(self, author: str) -> Vertical:
        return Vertical(
            Static(Content(author), classes="who"),
            Static(Content(WAITING), classes="text"),
            classes="answer",
        )

    def add_place(self, author: str) -> None:
        """Make room for a second answer."""
        self._authors.append(author)
        self.query_one(Horizontal).mount(self._place(author))

    def write(self, texts: Sequence[str]) -> None:
        """Show what is written so far of the last answers."""
        places = list(self.query(".answer"))[-len(texts) :]
        for place, text in zip(places, texts, strict=False):
            place.query_one(".text", Static).update(Content(safe(text) or WAITING))

    def settle(self) -> None:
        """Show the answers as they are, and which was picked."""
        turn = self.turn
        for number, place in enumerate(self.query(".answer")):
            if number >= len(turn.answers):
                place.remove()
                continue
            answer = turn.answers[number]
            mark = "✓ " if turn.picked == number else ""
            which = f"{number + 1} " if len(turn.answers) == 2 else ""
            facts = length(len(answer.ids), cut=not answer.finished and not turn.stopped)
            facts += " · stopped" if turn.stopped and not answer.finished else ""
            who = f"{which}{mark}{NAMES[answer.author]} · {facts}"
            place.query_one(".who", Static).update(Content(who))
            text = safe(answer.text) if answer.text.strip() else "(no words)"
            place.query_one(".text", Static).update(Content(text))
            place.set_class(turn.picked == number, "-picked")
            place.set_class(turn.picked not in (None, number), "-passed")
