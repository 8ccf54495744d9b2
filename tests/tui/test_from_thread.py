"""What a worker's thread found out is shown only where there is still something to show it."""

import asyncio
import threading
import time
from collections.abc import Callable

from textual import work
from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from tui.widgets.from_thread import show_from_thread


class Leaving(Static):
    """A part that is being taken away for as long as `may_leave` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves, self.may_leave = threading.Event(), threading.Event()

    async def on_unmount(self) -> None:
        self.leaves.set()
        while not self.may_leave.is_set():
            await asyncio.sleep(0)


class Reader(Screen[None]):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.part = Leaving()
        self.begun, self.done = threading.Event(), threading.Event()

    def compose(self) -> ComposeResult:
        yield self.part

    @work(thread=True)
    def read(self, wait: Callable[[], object]) -> None:
        self.begun.set()
        wait()
        try:
            show_from_thread(self, self.shown.append, "what was read")
        finally:
            self.part.may_leave.set()
            self.done.set()


def _shown(leave: Callable[[Reader], object] | None) -> list[str]:
    """What is shown of a reading that ends while the screen is being left by `leave`."""
    screen = Reader()

    async def main() -> None:
        async with App[None]().run_test() as pilot:
            await pilot.app.push_screen(screen)
            screen.read(screen.part.leaves.wait if leave else bool)
            while not screen.begun.is_set():
                await asyncio.sleep(0.01)
            if leave:
                leave(screen)
            while not screen.done.is_set():
                await asyncio.sleep(0.01)
            screen.part.may_leave.set()

    asyncio.run(main())
    return screen.shown


def test_what_was_read_is_shown() -> None:
    assert _shown(None) == ["what was read"]


def test_nothing_is_shown_on_a_screen_whose_parts_are_going() -> None:
    assert _shown(lambda screen: screen.app.pop_screen()) == []


def test_nothing_is_shown_by_a_worker_that_was_cancelled() -> None:
    def leave(screen: Reader) -> None:
        screen.workers.cancel_all()
        screen.part.leaves.set()

    assert _shown(leave) == []


def test_nothing_is_shown_by_a_worker_that_is_cancelled_before_the_loop_comes_to_it() -> None:
    def leave(screen: Reader) -> None:
        screen.part.leaves.set()
        time.sleep(0.2)  # the loop is busy while the worker asks it to show
        screen.workers.cancel_all()

    assert _shown(leave) == []


def test_nothing_is_shown_while_the_app_closes() -> None:
    screen = Reader()

    async def main() -> None:
        async with App[None]().run_test() as pilot:
            await pilot.app.push_screen(screen)
            screen.read(screen.part.leaves.wait)

    asyncio.run(main())
    assert screen.done.wait(10)
    assert screen.shown == []
