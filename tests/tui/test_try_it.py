"""Try it: asking, the hidden order, the score, and what is said while nothing is there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.runs import archive
from engine.runs.folder import Run
from engine.try_it import (
    SideBySideAnswers,
    SideBySideEvent,
    SideBySideFailed,
    SideBySideProgress,
    SideBySideReady,
)
from tests.tui.person import human_settings
from tui.app import StudioApp
from tui.archive.try_it_screen import TryItScreen
from tui.shell.base import StudioScreen
from tui.widgets.key_line import KeyLine


class Answering:
    """Stands in for `engine.try_it.SideBySide`, whose thread loads two models."""

    def __init__(self, run: Run) -> None:
        self.events: list[SideBySideEvent] = []
        self.asked: list[str] = []
        self.temperatures: list[float | None] = []
        self.started = self.closed = False

    def start(self) -> None:
        self.started = True

    def ask(self, prompt: str, temperature: float | None = None) -> None:
        self.asked.append(prompt)
        self.temperatures.append(temperature)

    def drain(self) -> list[SideBySideEvent]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.closed = True


@dataclass
class Table:
    """The screen in a running app, and the stand-in that answers."""

    screen: TryItScreen
    pilot: Pilot[int]
    side_by_side: Answering

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def tell(self, *events: SideBySideEvent) -> None:
        self.side_by_side.events += events
        self.screen._listen()
        await self.pilot.pause()

    async def answer(self, *, trained_is_left: bool, prompt: str = "hi") -> None:
        await self.press(*prompt, "enter")
        await self.tell(SideBySideAnswers(prompt, "on the left", "on the right", trained_is_left))

    def text(self, query: str) -> str:
        return str(self.screen.query_one(query, Static).visual)

    @property
    def titles(self) -> list[str]:
        return [str(self.screen.pane(side).border_title).strip() for side in ("left", "right")]

    @property
    def said(self) -> str:
        return self.screen.query_one(KeyLine).message


Open = Callable[..., contextlib.AbstractAsyncContextManager[Table]]


@pytest.fixture
def try_it() -> Open:
    @contextlib.asynccontextmanager
    async def opened(size: tuple[int, int] = (80, 24)) -> AsyncIterator[Table]:
        run = archive.create(human_settings(run_name="basil"))
        duels: list[Answering] = []

        def open_duel(run: Run) -> Answering:
            duels.append(Answering(run))
            return duels[0]

        app = StudioApp()
        async with app.run_test(size=size) as pilot:
            screen = TryItScreen(run, open_duel)  # type: ignore[arg-type]
            await app.push_screen(screen)
            await pilot.pause()
            yield Table(screen, pilot, duels[0])

    return opened


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_after_a_verdict_one_types_the_next_prompt(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideReady("last step 120"))
            for verdict in ("1", "a"):
                await table.answer(trained_is_left=True)
                await table.press(verdict)
                assert "type the next prompt" in table.text("#state")
                await table.press(*"why")
                assert table.screen.query_one(Input).value == "why"
                await table.press("ctrl+u")

    run(test)


def test_a_prompt_that_was_begun_is_gone_on_with(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideReady("last step 120"))
            await table.answer(trained_is_left=True)
            await table.press("enter", *"wh", "escape", "1", "y")
            assert table.screen.query_one(Input).value == "why"

    run(test)


def test_loads_asks_and_shows_how_far_it_is(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            assert table.side_by_side.started
            assert "Loading" in table.text("#state")
            await table.tell(SideBySideReady("last step 120"))
            assert "Type a prompt" in table.text("#state")
            assert "last step 120 vs the start" in table.text("#place")
            await table.press("enter")
            assert "type a prompt first" in table.said
            await table.press(*"why? 12", "enter")
            assert table.side_by_side.asked == ["why? 12"]
            await table.tell(SideBySideProgress("why? 12", 34))
            assert "34 tokens" in table.text("#state")
            await table.press("enter", *"more", "enter")
            assert table.side_by_side.asked == ["why? 12"]
            assert "still answer" in table.said

    run(test)


@pytest.mark.parametrize(
    ("trained_is_left", "key", "score"),
    [
        (True, "1", "trained 1 · starting 0 · tie 0"),
        (True, "2", "trained 0 · starting 1 · tie 0"),
        (False, "1", "trained 0 · starting 1 · tie 0"),
        (False, "2", "trained 1 · starting 0 · tie 0"),
        (False, "t", "trained 0 · starting 0 · tie 1"),
        (True, "a", ""),
    ],
)
def test_a_verdict_reveals_and_counts_once(
    try_it: Open, trained_is_left: bool, key: str, score: str
) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideReady("last step 5"))
            await table.answer(trained_is_left=trained_is_left)
            assert table.titles == ["1", "2"]
            assert "trained" not in table.text("#place") + table.text("#state")
            await table.press(key)
            sides = ["trained", "starting"] if trained_is_left else ["starting", "trained"]
            assert [title.split()[-1] for title in table.titles] == sides
            assert table.text("#place").endswith(score or "the start")
            await table.press("escape")  # out of the line for the next prompt
            for again in ("1", "2", "t", "a"):
                await table.press(again)
                assert "judged already" in table.said
            assert table.text("#place").endswith(score or "the start")

    run(test)


def test_a_new_prompt_hides_the_order_again(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideReady("last step 5"))
            for key in ("1", "2", "t", "a"):
                await table.press("escape", key)
                assert "no answers to judge" in table.said
                await table.press("enter")
            await table.press("escape")
            await table.press("enter")
            await table.answer(trained_is_left=True)
            await table.press("1", "enter")
            await table.answer(trained_is_left=False, prompt="again")
            assert table.titles == ["1", "2"]
            assert table.text("#prompt-text") == "> again"
            await table.press("2")
            assert "trained 2" in table.text("#place")

    run(test)


def test_a_failure_is_said_and_the_app_stays(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideFailed("basil has no [adapters]\x1b[31m to try"))
            assert "basil has no [adapters]" in table.text("#state")
            assert "\x1b" not in table.text("#state")
            await table.press("x", "enter")
            assert "could not be loaded" in table.said
            await table.press("escape", "escape")
            assert isinstance(table.screen.app.screen, StudioScreen)
            assert table.screen.app.screen is not table.screen
            assert table.side_by_side.closed

    run(test)


def test_reading_keys_work_here_too(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideReady("last step 5"))
            await table.answer(trained_is_left=True)
            await table.press("d")
            assert "share" in table.said
            await table.press("m")
            assert len(table.screen.query("Markdown")) == 2
            await table.press("v")
            assert table.said == "stacked"
            assert not table.screen.query_one(Input).has_focus

    run(test)


def test_hostile_text_pasted_as_a_prompt_is_harmless(try_it: Open) -> None:
    async def test() -> None:
        async with try_it() as table:
            await table.tell(SideBySideReady("last step 1"))
            table.screen.query_one("#ask", Input).post_message(
                events.Paste("\x1b]0;x\x07why\u202e is it?")
            )
            await table.press("enter")
            [prompt] = table.side_by_side.asked
            assert "why" in prompt
            assert not {"\x1b", "\x07", "\u202e"} & set(prompt)

    run(test)
