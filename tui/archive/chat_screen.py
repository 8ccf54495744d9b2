"""Chat: several turns with the trained policy of a run, with the one it started from, or both."""

from asyncio import Future, shield, wrap_future
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Literal

from textual import work
from textual.binding import Binding

from engine.chat import Chat
from engine.errors import RunError
from engine.events import Choice
from engine.runs import chat_pairs
from tui.archive.chat_turn import ChatTurn
from tui.archive.chat_words import NOTHING_TO_PICK
from tui.archive.talk_screen import TalkScreen
from tui.state.conversation import Turn

if TYPE_CHECKING:
    from engine.runs.folder import Run


class ChatScreen(TalkScreen):
    """A chat; what is written is kept in the run's folder."""

    TITLE = "chat"
    BINDINGS = [  # noqa: RUF012
        Binding("1", "pick(0)", "first", id="chat.first"),
        Binding("2", "pick(1)", "second", id="chat.second"),
        Binding("u", "undo", "undo", id="chat.undo"),
        Binding("enter", "type", "type", id="chat.type"),
        Binding("tab", "who", "who answers", id="chat.who"),
        Binding("escape", "leave", "back", id="chat.leave"),
        Binding("ctrl+o", "held_out", "held-out prompt", id="chat.held_out"),
        Binding("ctrl+r", "again", "again", id="chat.again"),
        Binding("ctrl+l", "system", "system", id="chat.system"),
        Binding("ctrl+t", "temperature", "temperature", id="chat.temperature"),
        Binding("ctrl+n", "anew", "new chat", show=False, id="chat.anew"),
        Binding("up,k", "scroll(-1)", "up", show=False, id="chat.up"),
        Binding("down,j", "scroll(1)", "down", show=False, id="chat.down"),
        Binding("pageup", "scroll(0, -1)", "a page up", show=False, id="chat.page_up"),
        Binding("pagedown,space", "scroll(0, 1)", "a page down", show=False, id="chat.page_down"),
    ]

    def __init__(self, run: "Run", open_chat: Callable[["Run"], Chat] = Chat) -> None:
        super().__init__(run, open_chat)
        self._writer = ThreadPoolExecutor(1, "picks")

    def on_unmount(self) -> None:
        """What was picked is still written."""
        self._writer.shutdown(wait=False)

    # -- picking ---------------------------------------------------------------------------------

    def why_not(self, action: str) -> str | None:
        """What can be picked."""
        turn = self.talk.last
        if action == "pick" and not self._pickable:
            return NOTHING_TO_PICK
        if action == "undo" and (not turn or turn.picked is None):
            return "nothing was picked in this turn"
        return super().why_not(action)

    def action_pick(self, place: Literal[0, 1]) -> None:
        """Say which answer is better: a label of the run, and what the chat goes on with."""
        if (turn := self.talk.last) and self._step is not None:
            self._label(turn, place)

    def _label(self, turn: Turn, place: Literal[0, 1]) -> None:
        pair, authors = self.talk.pair(turn, self._step or 0)
        choice: Choice = "second" if place else "first"
        self._keep(turn, place, partial(chat_pairs.label, self.run, pair, choice, authors))

    def action_undo(self) -> None:
        """Take the pick back."""
        if turn := self.talk.last:
            pair_id = chat_pairs.pair_id(self.talk.id, turn.number)
            self._keep(turn, None, partial(chat_pairs.take_back, self.run, pair_id))

    def _keep(self, turn: Turn, place: Literal[0, 1] | None, write: Callable[[], None]) -> None:
        """Have a pick written after those before it, also once this screen is left."""
        self._show_kept(turn, place, wrap_future(self._writer.submit(write)))

    @work(group="label")
    async def _show_kept(
        self, turn: Turn, place: Literal[0, 1] | None, written: Future[None]
    ) -> None:
        try:
            await shield(written)
        except RunError as error:
            self.say_error(error)
        else:
            self._show_pick(turn, place)

    def _show_pick(self, turn: Turn, place: Literal[0, 1] | None) -> None:
        turn.picked = place
        for shown in self.query(ChatTurn):
            if shown.turn is turn:
                shown.settle()
        if place is None:
            self.say("taken back: this pair is no label any more")
        else:
            which = "second" if place else "first"
            self.say(f"{which} picked: a label of the run · u takes it back · enter goes on typing")
        self._refresh()
        self.refresh_bindings()

    # -- scrolling -------------------------------------------------------------------------------

    def action_scroll(self, lines: int, pages: int = 0) -> None:
        """Scroll what was said, by lines or by pages."""
        talk = self.query_one("#talk")
        page = max(1, talk.size.height - 1)
        talk.scroll_relative(y=lines + pages * page, animate=False)
