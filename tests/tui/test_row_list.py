"""The list of rows: cursor, scrolling, and a hundred thousand rows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.pilot import Pilot

from tests.tui.stage import shown, until
from tui.widgets.row_list import RowList

pytestmark = pytest.mark.quick


MANY = 100_000


class ListApp(App[None]):
    """A list alone."""

    def __init__(self, rows: range) -> None:
        super().__init__()
        self.drawn = 0
        self.told: list[str] = []
        self._rows = rows

    def compose(self) -> ComposeResult:
        """One list."""
        yield RowList(self._draw, self._rows, empty="nothing here")

    def _draw(self, row: int, width: int) -> Content:
        self.drawn += 1
        return Content(f"row {row}" + " x" * width)

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        """Note where the cursor went."""
        self.told.append(f"moved {event.list.cursor}")

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Note what was chosen."""
        self.told.append(f"chosen {event.list.current}")


def play(
    scene: Callable[[ListApp, "RowList[int]", Pilot[None]], Awaitable[None]], rows: int
) -> None:
    async def main() -> None:
        app = ListApp(range(rows))
        async with app.run_test(size=(30, 10)) as pilot:
            await scene(app, app.query_one(RowList), pilot)

    asyncio.run(main())


def test_keys() -> None:
    async def scene(app: ListApp, rows: "RowList[int]", pilot: Pilot[None]) -> None:
        for key, at in (
            ("down", 1),
            ("j", 2),
            ("k", 1),
            ("up", 0),
            ("up", 0),
            ("pagedown", 9),
            ("pageup", 0),
            ("end", MANY - 1),
            ("down", MANY - 1),
            ("home", 0),
            ("G", MANY - 1),
        ):
            await pilot.press(key)
            assert rows.cursor == at
            assert f"row {at} " in shown(app)
        await pilot.press("enter")
        assert app.told[-1] == f"chosen {MANY - 1}"

    play(scene, MANY)


def test_only_rows_in_sight_are_drawn() -> None:
    async def scene(app: ListApp, rows: "RowList[int]", pilot: Pilot[None]) -> None:
        await pilot.press("end", "home", "pagedown")
        assert app.drawn < 200
        assert list(rows.in_sight()) == list(range(10))
        before = app.drawn
        rows.refresh()
        await pilot.pause()
        assert app.drawn == before  # kept until something changes

    play(scene, MANY)


def test_other_rows_keep_the_cursor_in_bounds() -> None:
    async def scene(app: ListApp, rows: "RowList[int]", pilot: Pilot[None]) -> None:
        await pilot.press("end")
        rows.show(range(3))
        await pilot.pause()
        assert rows.cursor == 2
        assert "row 0" in shown(app)
        rows.show([])
        await pilot.pause()
        assert rows.current is None
        assert "nothing here" in shown(app)
        await pilot.press("down", "enter", "end")
        rows.show(range(5), 3)
        await pilot.pause()
        assert rows.current == 3
        assert "chosen None" not in app.told

    play(scene, MANY)


def test_the_mouse() -> None:
    async def scene(app: ListApp, rows: "RowList[int]", pilot: Pilot[None]) -> None:
        await pilot.click(RowList, offset=(3, 4))
        assert rows.cursor == 4
        assert "chosen 4" not in app.told
        await pilot.click(RowList, offset=(3, 4))
        assert app.told[-1] == "chosen 4"
        await pilot.click(RowList, offset=(3, 9))
        assert rows.cursor == 4  # below the last row

    play(scene, 6)


def test_a_row_is_cut_to_the_width_with_an_ellipsis() -> None:
    async def scene(app: ListApp, rows: "RowList[int]", pilot: Pilot[None]) -> None:
        assert "…" in shown(app).splitlines()[0]
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: len(shown(app).splitlines()[0]) <= 20)

    play(scene, MANY)


def test_the_cursor_is_in_sight_after_the_list_was_hidden_or_became_shorter() -> None:
    async def scene(app: ListApp, rows: "RowList[int]", pilot: Pilot[None]) -> None:
        rows.cursor = 50
        await pilot.pause()
        rows.display = False
        await pilot.pause()
        rows.cursor = 20
        await pilot.pause()
        rows.display = True
        await until(pilot, lambda: "row 20" in shown(app))
        rows.cursor = 27
        await pilot.resize_terminal(30, 4)
        await until(pilot, lambda: "row 27" in shown(app))

    play(scene, 100)
