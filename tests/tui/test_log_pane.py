"""The log on the run screen: it follows its end at every size, is held, filtered and searched."""

import pytest
from textual import events
from textual.pilot import Pilot

from engine.events import Log
from tests.tui.live import START, LiveSession, a_run, started
from tests.tui.stage import COMPACT, STANDARD, said, shown, until
from tests.tui.test_run import watch
from tui.app import StudioApp
from tui.run.log_pane import LogPane, LogRows, parts


def rows(app: StudioApp) -> LogRows:
    return app.screen.query_one(LogPane).rows


def tell(app: StudioApp, *texts: str) -> None:
    new = [Log(level="info", text=text, time=START) for text in texts]
    app.session.events.extend(new)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [(60, 16), (60, 18), (70, 20), COMPACT, (120, 17), STANDARD])
def test_the_newest_line_is_in_sight_at_every_size(size: tuple[int, int]) -> None:
    """Also when the first line comes that there is no room for, and after other layouts."""

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "step 40  loss" in shown(app))
        for number in range(60):
            tell(app, f"more {number}")
            if number in (0, 5, 59):
                await until(pilot, lambda number=number: f"more {number}" in shown(app))
        await pilot.press("l")
        await until(pilot, lambda: "more 59" in shown(app))
        await pilot.press("l")
        await until(pilot, lambda: "more 59" in shown(app))
        for other in (STANDARD, size):
            await pilot.resize_terminal(*other)
            await until(pilot, lambda: "more 59" in shown(app))
        assert rows(app).following

    watch(scene, LiveSession(a_run()), size=size)


def test_a_held_log_stays_held_while_the_terminal_is_resized() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        tell(app, *(f"line {number:03}" for number in range(100)))
        await pilot.press("l")
        await until(pilot, lambda: "line 099" in shown(app))
        await pilot.press("k", "k")
        assert not rows(app).following
        top = shown(app).partition("line ")[2][:3]
        for size in ((80, 30), (80, 20), COMPACT):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: rows(app).app.size == size)
            assert not rows(app).following
            assert f"line {top}" in shown(app)
            assert "held" in shown(app)

    watch(scene, LiveSession(a_run()))


def test_the_log_follows_is_held_filtered_and_searched() -> None:
    lines = [Log(level="info", text=f"line {n}", time=START) for n in range(200)]
    lines.insert(50, Log(level="warning", text="look here", time=START))
    lines.insert(60, Log(level="debug", text="from a library", time=START))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        pane = app.screen.query_one(LogPane)
        await pilot.press("l")
        await until(pilot, lambda: "line 199" in shown(app))
        assert "following" in shown(app)
        await pilot.press("g")
        await until(pilot, lambda: "line 0" in shown(app))
        assert "held" in shown(app)
        app.session.events.append(Log(level="info", text="newest"))  # type: ignore[union-attr]
        await until(pilot, lambda: not app.session.events)  # type: ignore[union-attr]
        assert "newest" not in shown(app)
        await pilot.press("F")
        await until(pilot, lambda: "newest" in shown(app))
        await pilot.press("k", "k")
        assert not pane.rows.following
        await pilot.press("j", "j", "G")
        assert pane.rows.following
        await pilot.press("v")
        await until(pilot, lambda: "look here" in shown(app) and "line 1" not in shown(app))
        assert "! look here" in shown(app)
        await pilot.press("v", "v")
        await pilot.press("slash", *"library")
        await until(pilot, lambda: "from a library" in shown(app) and "line 19" not in shown(app))
        await pilot.press("enter", "n")
        assert "are in sight" in said(app)
        await pilot.press("escape")
        await until(pilot, lambda: "line 19" in shown(app))
        await pilot.press("slash", *"line 1", "enter", "g")
        first = [f"line {n}" for n in (1, 10, 11)]
        for keys, at in ((), 0), (("n",), 1), (("n",), 2), (("N", "N"), 0):
            await pilot.press(*keys)
            assert pane.rows.scroll_offset.y == at, first[at]
        await pilot.press("N")
        assert pane.rows.scroll_offset.y == pane.rows.max_scroll_y
        await pilot.press("n")
        assert pane.rows.scroll_offset.y == 0

    watch(scene, LiveSession([started(), *lines]))


def test_long_lines_of_the_log_are_wrapped_not_cut() -> None:
    text = " ".join(f"word{n}" for n in range(40))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: "word39" in shown(app))
        assert "word0" in shown(app)
        await pilot.resize_terminal(120, 30)
        await until(pilot, lambda: "word39" in shown(app))

    watch(scene, LiveSession([started(), Log(level="info", text=text)]))


def test_a_name_and_its_number_stand_in_one_row() -> None:
    pairs = ("step 40", "loss 0.291", "margin -0.697", "accuracy 0.708", "kl 1.13")
    line = "  ".join(pairs)
    for width in range(20, len(line)):
        wrapped = parts(line, width)
        assert all(len(part.rstrip()) <= width for part in wrapped)
        assert all(any(pair in part for part in wrapped) for pair in pairs)
        assert "".join(wrapped).replace(" ", "") == line.replace(" ", "")


def test_hostile_text_in_the_search_is_harmless() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("l", "slash")
        assert app.focused
        app.focused.post_message(events.Paste("\x1b]0;title\x07[red]\u202eloss"))
        await until(pilot, lambda: "[red]" in shown(app))
        assert not {"\x1b", "\x07", "\u202e"} & set(shown(app))
        assert not {"\x1b", "\x07", "\u202e"} & set(rows(app).query_text)
        await pilot.press("escape")
        assert said(app) == ""

    watch(scene)
