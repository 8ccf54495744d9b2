"""The chat's screen: asking, stopping, picking, and what becomes of a pick."""

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.chat import (
    ChatAnswer,
    ChatAnswered,
    ChatEvent,
    ChatFailed,
    ChatHeldOut,
    ChatReady,
    ChatRequest,
    ChatText,
)
from engine.data.pairs import Pair
from engine.events import Choice
from engine.message import Message
from engine.runs import chat_pairs
from engine.runs.folder import CHAT_PAIRS, Run
from engine.runs.labels import labels
from tests.tui.archive import make_run
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until, workers_done
from tui.app import StudioApp
from tui.archive import talk_screen
from tui.archive.chat_screen import ChatScreen
from tui.navigator import Navigator
from tui.text.temperature import temperature_of


class Talking:
    """Stands in for `engine.chat.Chat`, whose process loads two models."""

    id = "c0ffee"

    def __init__(self, run: Run) -> None:
        self.events: list[ChatEvent] = []
        self.requests: list[ChatRequest] = []
        self.words: list[str] = []

    def start(self) -> None:
        self.words.append("start")

    def ask(self, request: ChatRequest) -> None:
        self.requests.append(request)

    def stop(self) -> None:
        self.words.append("stop")

    def next_held_out(self) -> None:
        self.words.append("held out")

    def drain(self, timeout: float = 0.0) -> list[ChatEvent]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.words.append("close")


class Table:
    """The screen in a running app, and the stand-in that answers."""

    def __init__(self, app: StudioApp, pilot: Pilot[Any], screen: ChatScreen) -> None:
        self.app, self.pilot, self.screen = app, pilot, screen
        self.talking: Any = screen._chat

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def tell(self, *events: ChatEvent) -> None:
        self.talking.events += events
        self.screen.listen()
        await self.pilot.pause()

    async def ready(self) -> None:
        await self.tell(ChatReady(40, 0.8, "", 512))

    async def ask(self, text: str, *answers: str) -> None:
        await self.press(*(text or ["x"]), "enter")
        await self.answer(*answers)

    async def answer(self, *answers: str, notes: tuple[str, ...] = ()) -> None:
        request = self.talking.requests[-1]
        written = zip(request.authors, answers, strict=False)
        given = tuple(
            ChatAnswer(by, text, tuple(range(len(text.split()))), True) for by, text in written
        )
        await self.tell(ChatAnswered(request.turn, given, notes))
        await self.pilot.pause()

    @property
    def text(self) -> str:
        return shown(self.app)


def at_table(act: Callable[[Table], Any], size: tuple[int, int] = COMPACT) -> Run:
    """Open a chat with a finished run, and act."""
    runs: list[Run] = []

    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        runs.append(make_run("polite", pairs=0))
        screen = ChatScreen(runs[0], Talking)  # type: ignore[arg-type]
        await app.push_screen(screen)
        await pilot.pause()
        await act(Table(app, pilot, screen))

    play(scene, size)
    return runs[0]


@pytest.mark.parametrize("size", [COMPACT, (120, 40), STANDARD])
def test_a_chat_goes_on_with_what_was_answered(size: tuple[int, int]) -> None:
    async def act(table: Table) -> None:
        assert "loading" in table.text
        assert "⏎ ask" in table.text
        await table.press("h", "i", "enter")
        assert "still being loaded" in said(table.app)
        await table.ready()
        assert "chat with polite   trained · step 40 · temperature 0.8" in table.text
        await table.press("enter")
        await table.tell(ChatText(1, ("Hel",), 2))
        assert "Hel" in table.text
        assert "writing · 2 tokens" in table.text
        await table.answer("Hello!")
        assert "> hi" in table.text
        assert "trained · 1 token" in table.text
        await table.ask("why", "Because.")
        assert table.talking.requests[1].messages == (
            Message("user", "hi"),
            Message("assistant", "Hello!"),
            Message("user", "why"),
        )
        await table.press("up", "up")
        assert table.screen.line.value == "hi"
        await table.press("down", "down")
        assert table.screen.line.value == ""

    at_table(act, size)


def test_escape_stops_first_and_leaves_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press("h", "enter", "escape", "escape")  # twice by mistake
        assert "stopping" in table.text
        assert table.app.screen is table.screen
        assert table.talking.words == ["start", "stop"]
        monkeypatch.setattr(talk_screen, "REACTION", float("inf"))
        await table.answer("He")
        assert "> h" in table.text
        await table.press("escape")  # of somebody who has not seen that it stopped
        assert table.app.screen is table.screen
        assert "esc once more leaves the chat" in said(table.app)
        monkeypatch.setattr(talk_screen, "REACTION", 0.0)
        await table.press("escape")
        assert table.app.screen is not table.screen
        assert table.talking.words[-1] == "close"

    at_table(act)


def test_two_answers_are_picked_from_and_the_pick_is_a_label() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press("1")  # in the line: a character
        assert table.screen.line.value == "1"
        await table.press("backspace", "tab")
        assert "start · temperature 0.8" in table.text  # it has no trained step
        await table.press("tab")
        assert "trained and start" in table.text
        await table.ask("why", "Good.", "Bad.")
        assert table.talking.requests[0].authors == ("policy", "reference")
        assert "1 trained" in table.text
        assert "2 start" in table.text
        assert "1 or 2 picks the better answer" in table.text
        await table.press("2")
        await until(table.pilot, lambda: "second picked" in said(table.app))
        assert "2 ✓ start" in table.text
        [label] = labels(table.screen.run)
        assert (label.choice, label.judge) == ("second", "human")
        assert label.preference.chosen[0].content == "Bad."
        await table.press("2", "1")
        await until(table.pilot, lambda: "first picked" in said(table.app))
        assert [each.choice for each in labels(table.screen.run)] == ["first"]
        assert table.screen.line.value == ""  # no key was typed
        await table.press("u")
        await until(table.pilot, lambda: "taken back" in said(table.app))
        assert not [*table.screen.run.read(CHAT_PAIRS)]
        await table.press("2")
        await until(table.pilot, lambda: "second picked" in said(table.app))
        await table.press("enter")
        await table.ask("more", "One.", "One.")
        assert "both say the same" in table.text
        assert table.talking.requests[1].messages[1] == Message("assistant", "Bad.")
        assert "no two answers to pick from" in (table.screen.why_not("pick") or "")

    run = at_table(act)
    assert [line["first_by"] for line in run.read(CHAT_PAIRS)] == ["policy"]


def test_picks_are_written_in_the_order_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    label, go_on = chat_pairs.label, Event()

    def slow(run: Run, pair: Pair, choice: Choice, authors: tuple[str, str]) -> None:
        if choice == "first":
            go_on.wait(10)
        label(run, pair, choice, authors)

    monkeypatch.setattr(chat_pairs, "label", slow)

    async def act(table: Table) -> None:
        await table.ready()
        await table.press("tab", "tab")
        await table.ask("why", "Good.", "Bad.")
        await table.press("1", "2")
        assert not [*table.screen.run.read(CHAT_PAIRS)]
        go_on.set()
        await until(table.pilot, lambda: "second picked" in said(table.app))
        await workers_done(table.pilot.app)
        assert [each.choice for each in labels(table.screen.run)] == ["second"]
        assert "2 ✓ start" in table.text

    at_table(act)


def test_one_model_can_answer_twice() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press("ctrl+r")
        assert "nothing was answered yet" in said(table.app)
        await table.ask("why", "Good.")
        await table.press("ctrl+r")
        again = table.talking.requests[1]
        assert (again.authors, again.draw) == (("policy",), 1)
        assert again.messages == table.talking.requests[0].messages
        await table.answer("Better.")
        assert "2 trained" in table.text
        await table.press("2")
        await until(table.pilot, lambda: "second picked" in said(table.app))
        await table.press("ctrl+r")
        assert "two answers already" in said(table.app)

    at_table(act)


def test_system_and_temperature_are_those_of_the_next_turn() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press("ctrl+l", *"Be kind", "enter")
        await table.press("ctrl+t", *["backspace"] * 3, "9", "enter")
        assert "a number from 0" in table.text
        await table.press("backspace", "0", "enter")
        assert "the likeliest token" in table.text
        assert "system: Be kind" in table.text
        await table.ask("why", "Good.")
        [request] = table.talking.requests
        assert request.temperature == 0
        assert request.messages == (Message("system", "Be kind"), Message("user", "why"))
        await table.press("ctrl+n")
        assert "> why" not in table.text
        await table.ask("now", "Yes.")
        assert len(table.talking.requests[-1].messages) == 2

    at_table(act)


def test_a_system_message_of_several_lines_that_was_looked_at_keeps_them() -> None:
    async def act(table: Table) -> None:
        await table.tell(ChatReady(40, 0.8, "Be kind.\nBe brief.", 512))
        await table.press("ctrl+l", "enter")
        await table.ask("why", "Good.")
        assert table.talking.requests[0].messages[0] == Message("system", "Be kind.\nBe brief.")
        await table.press("ctrl+l", *"!", "enter")
        await table.ask("why", "Good.")
        assert table.talking.requests[1].messages[0] == Message("system", "Be kind. Be brief.!")

    at_table(act)


def test_a_held_out_prompt_comes_into_the_line_with_its_earlier_turns() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press("ctrl+o")
        await table.tell(ChatHeldOut((), "this run holds no prompts out"))
        assert "holds no prompts out" in said(table.app)
        await table.press("ctrl+o")
        turns = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
        await table.tell(ChatHeldOut(turns))
        assert table.screen.line.value == "three"
        await table.press("enter")
        assert table.talking.requests[0].messages == turns
        assert "assistant two" in table.text
        await table.answer("four")
        await table.press("enter", "ctrl+o", "x", "enter")  # asked before it was found
        await table.tell(ChatHeldOut(turns), ChatText(2, ("five",), 1))
        assert "> x" in table.text
        assert "five" in table.text
        assert "writing · 1 token ·" in table.text

    at_table(act)


def test_what_was_typed_before_a_held_out_prompt_is_not_lost() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press(*"half", "ctrl+o")
        await table.tell(ChatHeldOut((Message("user", "one"),)))
        assert "arrow up" in said(table.app)
        await table.press("ctrl+o")
        await table.tell(ChatHeldOut((Message("user", "two"),)))
        assert table.screen.line.value == "two"
        await table.press("up")
        assert table.screen.line.value == "half"

    at_table(act)


def test_a_line_that_one_comes_back_to_goes_on_at_its_end() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press(*"why", "escape", "enter", "?")
        assert table.screen.line.value == "why?"
        await table.press("enter")
        await table.tell(ChatAnswered(1, (), ("the template does not end",)))
        await table.press("!")
        assert table.screen.line.value == "why?!"

    at_table(act)


def test_what_models_write_is_harmless_and_failures_are_said() -> None:
    async def act(table: Table) -> None:
        await table.ready()
        await table.press("h", "enter")
        await table.tell(ChatText(1, ("\x1b]0;x\x07[bold]hi\u202e",), 1))
        await table.answer("\x1b[31m[red]x\u202e", notes=("the oldest 2 turns are left out",))
        assert not {"\x1b", "\x07", "\u202e"} & set(table.text)
        assert "[red]x" in table.text
        assert "the oldest 2 turns are left out" in table.text
        await table.press("y", "enter")
        await table.tell(ChatAnswered(2, (), ("the template does not end",)))
        assert "> y" not in table.text
        assert table.screen.line.value == "y"  # not lost
        await table.tell(ChatFailed("The program that answers ended by itself (status -9)."))
        assert "ended by itself" in table.text
        await table.press("enter")
        assert "could not be loaded" in said(table.app)

    at_table(act)


def test_it_opens_from_the_list_of_runs_and_from_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(Navigator, "open_chat", lambda self, run: opened.append(run.name))

    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        run = make_run("polite")
        await pilot.press("f5")
        await until(pilot, lambda: "polite" in shown(app))
        await pilot.press("C")
        app.navigator.open_run_detail(str(run.path))
        await until(pilot, lambda: "accuracy" in shown(app))
        await pilot.press("C")
        assert opened == ["polite", "polite"]

    play(scene)


@pytest.mark.parametrize(
    ("text", "temperature"),
    [("0", 0.0), ("0.7", 0.7), ("5", 5.0), ("5.1", None), ("-1", None), ("nan", None), ("", None)],
)
def test_a_temperature_is_a_small_number(text: str, temperature: float | None) -> None:
    assert temperature_of(text) == temperature
