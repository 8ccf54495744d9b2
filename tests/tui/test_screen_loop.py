"""The loop in which the screen comes first, and the driver that draws from it."""

import asyncio
import gc
import io
import os
import select
import selectors
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual.app import App

from tui.terminal import screen_loop
from tui.textual_private.terminal_driver import TerminalDriver


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Every test has to leave Python's settings as they were."""
    before = sys.getswitchinterval(), gc.get_threshold()
    yield
    assert (sys.getswitchinterval(), gc.get_threshold()) == before


def test_a_thread_that_computes_comes_in_between_only_as_the_screen_looks_for_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = looks = 0
    done = threading.Event()
    select = selectors.DefaultSelector.select

    def look(
        self: selectors.DefaultSelector, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        nonlocal looks
        looks += 1
        return select(self, timeout)

    def engine() -> None:
        nonlocal computed
        while not done.is_set():
            computed += 1

    async def screen() -> tuple[int, float]:
        """How often the engine computed between two turns of the screen, in that many seconds."""
        begun = time.perf_counter()
        between, before = 0, computed
        while (seconds := time.perf_counter() - begun) < 0.05:
            await asyncio.sleep(0)
            between += computed != before
            before = computed
        return between, seconds

    monkeypatch.setattr(selectors.DefaultSelector, "select", look)
    thread = threading.Thread(target=engine, daemon=True)
    thread.start()
    try:
        with screen_loop.screen_runner() as runner:
            between, seconds = runner.run(screen())
    finally:
        done.set()
        thread.join()
    assert looks <= seconds / screen_loop.POLL_SECONDS + 5
    assert between <= looks + seconds / screen_loop.SCREEN_TURN + 1


def test_what_is_due_is_done_while_there_is_more_to_do() -> None:
    async def screen() -> tuple[float, bytes]:
        read, write = os.pipe()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[bytes] = loop.create_future()

        def take() -> None:
            loop.remove_reader(read)
            arrived.set_result(os.read(read, 10))

        loop.add_reader(read, take)
        loop.call_later(0.02, os.write, write, b"a key")
        began = time.perf_counter()
        while not arrived.done():
            await asyncio.sleep(0)
        os.close(read)
        os.close(write)
        return time.perf_counter() - began, arrived.result()

    with screen_loop.screen_runner() as runner:
        waited, key = runner.run(screen())
    assert key == b"a key"
    assert waited >= 0.02


def test_garbage_goes_in_the_pauses_and_not_before() -> None:
    class Node:
        def __init__(self) -> None:
            self.me = self

    collections: list[bool] = []
    working = True

    def note(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            collections.append(working)

    async def screen() -> None:
        nonlocal working
        for _ in range(2 * screen_loop.YOUNG):
            Node()
        await asyncio.sleep(0)
        working = False
        await asyncio.sleep(0.02)
        working = True

    with screen_loop.screen_runner() as runner:
        runner.run(asyncio.sleep(0.001))
        gc.callbacks.append(note)
        try:
            runner.run(screen())
        finally:
            gc.callbacks.remove(note)
    assert collections
    assert not any(collections)


def test_writing_to_the_terminal_gives_the_engine_a_short_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[float] = []

    async def draw() -> bytes:
        read, write = os.pipe()
        before = sys.getswitchinterval()
        with screen_loop.ScreenFile(write, "w") as terminal:
            monkeypatch.setattr(sys, "setswitchinterval", turns.append)
            terminal.write(b"a frame")
            monkeypatch.undo()
        assert turns == [screen_loop.ENGINE_TURN, before]
        assert before == pytest.approx(screen_loop.SCREEN_TURN, rel=1e-3)
        written = os.read(read, 100)
        os.close(read)
        return written

    with screen_loop.screen_runner() as runner:
        assert runner.run(draw()) == b"a frame"


def test_the_driver_writes_a_frame_at_once_and_as_a_whole_and_nothing_once_the_terminal_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def draw() -> None:
        terminal, its_end = os.openpty()
        with open(its_end, "wb", buffering=0) as end, io.TextIOWrapper(end) as screen:
            monkeypatch.setattr(sys, "__stderr__", screen)
            driver = TerminalDriver(App())
            driver.write("a frame")
            assert os.read(terminal, 100) == b"a frame"
            for part in (SYNC_START, "a frame", SYNC_END):
                assert not select.select([terminal], [], [], 0)[0]
                driver.write(part)
            assert os.read(terminal, 100).decode() == f"{SYNC_START}a frame{SYNC_END}"
            os.close(terminal)
            driver.write("the next")
            monkeypatch.undo()

    asyncio.run(draw())
