"""A talk with the policies of a run: what is asked, and what they write, as they write it."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual import on, work
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.chat import (
    Author,
    Chat,
    ChatAnswered,
    ChatEvent,
    ChatFailed,
    ChatHeldOut,
    ChatReady,
    ChatRequest,
    ChatText,
)
from engine.runs.folder import CHAT
from tui import textual_private
from tui.archive.chat_turn import ChatTurn
from tui.archive.chat_words import ALIKE, FIRST, LOADING, PICK, title, writing
from tui.shell.ask import AskText
from tui.shell.base import StudioScreen
from tui.state.conversation import BOTH, NAMES, Conversation
from tui.text.safe_text import safe, safe_line
from tui.text.temperature import WRONG, temperature_of
from tui.widgets.from_thread import show_from_thread
from tui.widgets.history_line import MOST, HistoryLine
from tui.widgets.key_line import KeyLine
from tui.widgets.safe_editors import one_line

if TYPE_CHECKING:
    from engine.runs.folder import Run

LOOKS_PER_SECOND = 20
REACTION = 0.5  # seconds in which a person may not have seen yet that an answer has ended
WHO: tuple[tuple[Author, ...], ...] = (("policy",), ("reference",), BOTH)


class TalkScreen(StudioScreen):
    """What was said, and the line to ask in."""

    DEFAULT_CSS = """
    TalkScreen {
        & #place { height: 1; padding: 0 1; color: $muted; }
        & #talk { height: 1fr; padding: 0 1; margin: 1 0 0 0; }
        & #first { color: $muted; max-width: 76; height: auto; }
        & #state { height: auto; max-height: 3; padding: 0 1; color: $muted; }
        & #state.-wrong { color: $bad; }
        & #line { border: none; height: 1; margin: 0 1; padding: 0 1; background: $surface; }
    }
    """

    def __init__(self, run: "Run", open_chat: "Callable[[Run], Chat]" = Chat) -> None:
        super().__init__()
        self.run = run
        self.who: tuple[Author, ...] = WHO[0]
        self._chat = open_chat(run)
        self.talk = Conversation(self._chat.id)
        self._step: int | None = None  # of the trained policy, once it is loaded
        self._error = ""
        self._notes: tuple[str, ...] = ()
        self._request: ChatRequest | None = None  # that is being answered
        self._began = 0.0
        self._tokens = 0
        self._stopping = self._looking = False
        self._ended = 0.0  # when the last answer did
        self._held_out = ""  # the prompt that was put into the line last

    def body(self) -> Iterable[Widget]:
        """The run and who answers, what was said, what goes on, and the line to type in."""
        yield Static(id="place", markup=False)
        with VerticalScroll(id="talk", can_focus=False):
            yield Static(FIRST, id="first", markup=False)
        yield Static(id="state", markup=False)
        yield HistoryLine(placeholder="type here · enter asks · ↑ what was asked before", id="line")

    def on_mount(self) -> None:
        """Begin to load, with the cursor where one types."""
        self._began = time.monotonic()
        self._chat.start()
        self.set_interval(1 / LOOKS_PER_SECOND, self.listen)
        self.query_one("#talk").anchor()
        self.line.focus()
        self._read_history()
        self._refresh()

    def on_unmount(self) -> None:
        """Nobody asks any more."""
        self._chat.close()

    @property
    def _pickable(self) -> bool:
        """Whether the newest turn has two answers to pick from."""
        return bool(self.talk.last and self.talk.last.comparable and not self._request)

    @property
    def line(self) -> HistoryLine:
        """Where one types."""
        return self.query_one(HistoryLine)

    @work(thread=True, group="history")
    def _read_history(self) -> None:
        """What was asked in earlier chats with this run."""
        prompts = [str(line.get("prompt", "")) for line in self.run.last(CHAT, MOST)]
        show_from_thread(self, lambda: self.line.remember(prompts))

    # -- what is shown ---------------------------------------------------------------------------

    def listen(self) -> None:
        """Take in what the models have told since the last time."""
        events = self._chat.drain()
        for event in events:
            self._take_in(event)
        if events or self._request or self._step is None:
            self._refresh()

    def _take_in(self, event: ChatEvent) -> None:
        match event:
            case ChatReady():
                self._step = event.step
                self.talk.temperature, self.talk.system = event.temperature, event.system
            case ChatText() if self._request:
                self._tokens = event.tokens
                self.query(ChatTurn).last().write(event.texts)
            case ChatAnswered():
                self._take_answers(event)
            case ChatHeldOut():
                self._take_held_out(event)
            case ChatFailed():
                self._error, self._request = event.error, None
            case _:
                pass

    def _take_answers(self, event: ChatAnswered) -> None:
        stopped, self._stopping, self._request = self._stopping, False, None
        self._ended = textual_private.now()
        self._notes = event.notes
        turn = self.talk.last
        if turn is None:
            return
        turn.answers += event.answers
        turn.stopped |= stopped
        shown = self.query(ChatTurn).last()
        if not turn.answers:  # it was refused: what was typed is not lost
            self.talk.turns.pop()
            shown.remove()
            self.line.value = self.line.value or turn.prompt
            self.line.cursor_position = len(self.line.value)
        else:
            shown.settle()
        if turn.comparable and not self.line.value:
            self.set_focus(None)  # so that 1 and 2 pick
        elif not stopped:
            self.line.focus()
        self.refresh_bindings()

    def _take_held_out(self, event: ChatHeldOut) -> None:
        if not self._looking:  # something was asked before it was found
            return
        self._looking = False
        if not event.messages:
            self.say(safe_line(event.why_not, 300), 12)
            return
        *earlier, last = event.messages
        system = [each.content for each in earlier if each.role == "system"]
        turns = [each for each in earlier if each.role != "system"]
        if system:
            self.talk.system = "\n\n".join(system)
        if turns:
            self._start_anew()
            self.talk.start_anew(turns)
            self.say(f"a new chat: this prompt brings {len(turns)} earlier turns with it", 8)
        if self.line.value.strip() and self.line.value != self._held_out:
            self.line.remember([self.line.value])
            self.say("arrow up brings back what was typed", 8)
        self.line.value = last.content
        self._held_out = self.line.value
        self.line.cursor_position = len(self.line.value)
        self.line.focus()
        self._refresh()

    def _refresh(self) -> None:
        self.query_one("#place", Static).update(
            title(self.size.width - 2, self.run.name, self.who, self._step, self.talk)
        )
        state = self.query_one("#state", Static)
        state.set_class(bool(self._error), "-wrong")
        state.update(self._state())

    def _state(self) -> str:
        """What the screen waits for, or what is to be said of the last answer."""
        seconds = time.monotonic() - self._began
        if self._error:
            return f"{safe(self._error)} · esc goes back"
        if self._step is None:
            return f"{LOADING} · {seconds:.0f} s"
        if self._request:
            return writing(self._tokens, seconds, stopping=self._stopping)
        if self._looking:
            return "looking for a prompt that was held out …"
        turn = self.talk.last
        if turn and turn.alike:
            pick = (ALIKE,)
        else:
            pick = (PICK,) if turn and turn.comparable and turn.picked is None else ()
        return "\n".join(map(safe_line, (*self._notes, *pick)))

    # -- asking ----------------------------------------------------------------------------------

    @on(Input.Submitted, "#line")
    def _submitted(self, event: Input.Submitted) -> None:
        prompt = event.value.strip()
        if not self._can_ask():
            return
        if not prompt:
            self.say("type something first")
            return
        self.line.remember([prompt])
        event.input.clear()
        earlier = self.talk.earlier if not self.talk.turns else ()
        request = self.talk.ask(prompt, self.who)
        self.query("#first").remove()
        turn = self.talk.last
        assert turn
        self.query_one("#talk").mount(ChatTurn(turn, [NAMES[each] for each in self.who], earlier))
        self._send(request)

    def _can_ask(self) -> bool:
        """Whether a question can be answered now; says so where not."""
        if self._error:
            self.say("nothing can be asked: the models could not be loaded")
        elif self._step is None:
            self.say("the models are still being loaded")
        elif self._request:
            self.say("an answer is still being written · esc stops it")
        else:
            return True
        return False

    def _send(self, request: ChatRequest) -> None:
        self.query_one(KeyLine).clear()  # what was said of the question before is over
        self._request, self._tokens, self._notes = request, 0, ()
        self._looking = False  # a prompt that is found now would come between
        self._began = time.monotonic()
        self._chat.ask(request)
        self.query_one("#talk").anchor()
        self.set_focus(None)
        self._refresh()
        self.refresh_bindings()

    def action_again(self) -> None:
        """Have the newest turn answered once more, so that one can pick."""
        if not self._can_ask():
            return
        request = self.talk.ask_again()
        if request is None:
            two = self.talk.last and len(self.talk.last.answers) == 2
            self.say("there are two answers already" if two else "nothing was answered yet")
        elif not self.talk.temperature:
            self.say("at temperature 0 it would say the same · ctrl+t changes that")
        else:
            self.query(ChatTurn).last().add_place(NAMES[request.authors[0]])
            self._send(request)

    def action_held_out(self) -> None:
        """Put a prompt that the run has held out into the line."""
        if self._can_ask():
            self._looking = True
            self._chat.next_held_out()
            self._refresh()

    async def action_leave(self) -> None:
        """Stop the answer that is being written; else leave a line with text in it, or the chat. A
        second press while it stops, or one that came too late to stop it, does not leave."""
        if self._request and not self._error:
            if not self._stopping:
                self._stopping = True
                self._chat.stop()
                self._refresh()
        elif self.line.has_focus and (self.line.value or self._pickable):
            self.set_focus(None)
        elif self.studio.key_pressed < self._ended + REACTION:
            self.say("the answer has ended · esc once more leaves the chat")
        else:
            await self.app.run_action("back")

    def action_type(self) -> None:
        """Go to the line."""
        self.line.focus()

    def action_who(self) -> None:
        """Have the next turn answered by another policy, or by both."""
        self.who = WHO[(WHO.index(self.who) + 1) % len(WHO)]
        self._refresh()

    def action_anew(self) -> None:
        """Forget what was said."""
        if self._request:
            self.say("an answer is still being written · esc stops it")
        elif not (self.talk.turns or self.talk.earlier):
            self.say("this is a new chat already")
        else:
            self._start_anew()
            self.say("a new chat: the models know nothing of what was said before")
            self.line.focus()

    def _start_anew(self) -> None:
        self.talk.start_anew()
        self._notes = ()
        self.query(ChatTurn).remove()
        self.refresh_bindings()
        self._refresh()

    @work
    async def action_system(self) -> None:
        """Ask for a system message."""
        before = one_line(self.talk.system)
        text = await self.app.push_screen_wait(
            AskText("system message, for what is asked from now on; empty: none", before)
        )
        if text not in (None, before):  # one of several lines stays so where nothing was typed
            self.talk.system = text.strip()
            self._refresh()

    @work
    async def action_temperature(self) -> None:
        """Ask for a temperature."""
        text = await self.app.push_screen_wait(
            AskText(
                "temperature; 0 takes the likeliest token",
                f"{self.talk.temperature:g}",
                check=lambda text: None if temperature_of(text) is not None else WRONG,
            )
        )
        if text is not None and (warmth := temperature_of(text)) is not None:
            self.talk.temperature = warmth
            self._refresh()
