"""Hostile text on every screen: nothing of it reaches the terminal raw, none of it is markup.

pytest -m slow tests/tui/test_hostile.py      each text by itself, at two sizes
"""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from engine.events import Log, PairJudged, Progress, RunEnded, RunStarted
from engine.runs import archive as runs
from engine.try_it import SideBySideAnswers, SideBySideFailed
from tests.hostile import EACH, FEW, MARK, harmful
from tests.tui.hostile_runs import facts_of, folder_of, hostile_runs, settings
from tests.tui.live import START, LiveSession, a_run, attach, judged, started
from tests.tui.person import PersonSession, human_settings, pair
from tests.tui.stage import COMPACT, STANDARD, play, shown, until
from tests.tui.test_try_it import Answering
from tui.app import StudioApp
from tui.archive.compare_screen import CompareScreen
from tui.archive.try_it_screen import TryItScreen
from tui.state.run_view import RunView
from tui.text.safe_text import drawn, laid_out
from tui.widgets.row_list import RowList

Scene = Callable[[StudioApp, Pilot[int], list[str]], Awaitable[None]]


def check(app: App[Any], where: str = "") -> str:
    """What is on the screen, which may hold nothing that a terminal would obey."""
    width, _ = app.size
    for strip in app.screen._compositor.render_strips():
        text = "".join(segment.text for segment in strip)
        assert not harmful(text), f"{where}: {text!r}"
        assert "\n" not in text
        assert cell_len(text) == width, f"{where}: {text!r}"
        for segment in strip:
            assert not segment.control
            assert not (segment.style and segment.style.link)
            assert "app.quit" not in str(segment.style and segment.style.meta)
    return shown(app)


async def look(app: StudioApp, pilot: Pilot[int], text: str, *keys: str) -> str:
    """Press keys, and look."""
    await pilot.press(*keys)
    await pilot.pause()
    return check(app, repr(text[:40]))


async def paste(app: StudioApp, pilot: Pilot[int], text: str) -> str:
    """Paste into the field that has the focus, and look at it."""
    field = app.focused
    assert isinstance(field, Input | TextArea)
    field.post_message(events.Paste(text[:100_000]))
    await pilot.pause()
    kept = field.value if isinstance(field, Input) else field.text
    assert not harmful(drawn(laid_out(kept))), kept[:100]  # joiners are kept, and not drawn
    found = check(app, repr(text[:40]))
    if isinstance(field, Input):
        field.value = ""
    await pilot.pause()
    return found


async def setup(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    await until(pilot, lambda: app.current_mode == "setup")
    for text in texts:
        app.navigator.open_setup(settings(text), text[:50])
        assert MARK in await look(app, pilot, text)
        await look(app, pilot, text, "Y")  # as YAML
        await look(app, pilot, text, "Y")
    await pilot.press("slash")
    for text in texts:
        await paste(app, pilot, text)


async def run(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    for text in texts:
        session = LiveSession(a_run(3), settings(text))
        view = attach(app, session)
        view.name = text
        session.events += [
            Log(level="warning", text=text, time=START),
            judged(text, text, text + text),
            PairJudged(
                time=START,
                pair_id=text,
                step=4,
                prompt=text,
                first=text,
                second=text,
                choice="first",
                q=0.5,
                judge=text,
            ),
            Progress(phase="sampling", step=4, done=1, total=2, unit=text),
        ]
        app.switch_mode("run")
        app.drain()
        assert MARK in await look(app, pilot, text)
        await look(app, pilot, text, "l")
        await look(app, pilot, text, "escape", "q")  # asks what is to become of the run
        await look(app, pilot, text, "escape")
        app.say(text)
        assert MARK in await look(app, pilot, text)
        session.events.append(RunStarted(**{**facts_of(started()), "name": text}))
        session.end("failed", text)
        app.drain()
        await look(app, pilot, text)


async def review(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    for text in texts:
        session = PersonSession(human_settings(run_name="basil", self_check_every=0))
        app.control.session, app.control.view = session, RunView(text)  # type: ignore[assignment]
        session.submit(pair(1, 0, "one " + text, text, text), pair(1, 1, text, "one", text))
        app.switch_mode("review")
        app.drain()
        assert MARK in await look(app, pilot, text)
        await look(app, pilot, text, "d")  # the difference
        await look(app, pilot, text, "d", "n")
        await paste(app, pilot, text)
        await look(app, pilot, text, "escape", "1")
        session.alive = False
        session.tell(RunEnded(status="failed", step=1, error=text))
        app.drain()
        await look(app, pilot, text)


async def archive(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    hostile_runs(texts)
    await look(app, pilot, "", "f5")
    await until(pilot, lambda: "runs" in shown(app))
    table = app.screen.query_one("#table", RowList)
    await until(pilot, lambda: len(table.rows) == len(texts) + 2)
    for number in range(len(table.rows)):
        await look(app, pilot, str(number))
        if number % 3 == 0:
            for key in ("#", "M", "E"):  # tags, rename, export
                await look(app, pilot, str(number), key)
                await look(app, pilot, str(number), "escape")
        await pilot.press("space")
    await look(app, pilot, "deleted", "delete")
    await look(app, pilot, "back", "u")
    await look(app, pilot, "compared", "equals_sign")
    await pilot.press("escape", "slash")
    for text in texts:
        await paste(app, pilot, text)


async def detail(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    for made in hostile_runs(texts):
        app.navigator.open_run_detail(str(made.path))
        await until(pilot, lambda: app.screen.query("#list"))
        pairs = app.screen.query_one("#list", RowList)
        await until(pilot, lambda pairs=pairs: len(pairs.rows) >= 3)
        for keys in (["A"], ["end"], ["enter"], ["escape", "Y"], ["end"], ["l"], ["end"]):
            await look(app, pilot, made.name, *keys)
        assert MARK in shown(app)
        while type(app.screen).__name__ == "RunDetailScreen":
            await pilot.press("escape")


async def compare(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    made = hostile_runs(texts)
    for left, right in zip(made[::2], made[1::2], strict=False):
        await app.push_screen(CompareScreen([left, right]))
        await until(pilot, lambda: app.screen.query_one("#settings", RowList).rows)
        await look(app, pilot, left.name, "n")
        for _ in app.screen.query_one("#settings", RowList).rows:
            await look(app, pilot, left.name, "tab", "enter", "tab", "down")
        await app.pop_screen()


async def try_it(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    run = runs.create(human_settings(run_name="basil"))
    for text in texts:
        side_by_side = Answering(run)
        await app.push_screen(TryItScreen(run, lambda run, side_by_side=side_by_side: side_by_side))  # type: ignore[arg-type]
        await pilot.pause()
        await paste(app, pilot, text)
        await pilot.press("h", "i", "enter")
        for event in (SideBySideAnswers(text, text, text + "x", True), SideBySideFailed(text)):
            side_by_side.events.append(event)
            app.screen._listen()  # type: ignore[attr-defined]
            assert MARK in await look(app, pilot, text)
        await app.pop_screen()


async def guide(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    for text in texts[:3]:
        app.navigator.open_guide(text)
        await look(app, pilot, text)
        await app.run_action("back")
    app.navigator.open_guide()
    await pilot.pause()
    await pilot.press("slash")
    for text in texts:
        await paste(app, pilot, text)


async def palette(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    await look(app, pilot, "", "ctrl+p")
    for text in texts:
        field = app.focused
        assert isinstance(field, Input)
        field.post_message(events.Paste(text[:10_000]))
        await pilot.pause()
        check(app, repr(text[:40]))
        field.value = ""
        await pilot.pause()


async def files(app: StudioApp, pilot: Pilot[int], texts: list[str]) -> None:
    """Names of themes, keys and models that lie in the person's folders."""
    home = Path(os.environ["LORA_STUDIO_HOME"])
    (home / "themes").mkdir()
    for number, text in enumerate(texts):
        name = folder_of(number, text).encode(errors="replace").decode()
        (home / "themes" / f"{name}.yaml").write_text("name: " + json.dumps(text))
    await until(pilot, lambda: ".yaml" in shown(app))
    check(app)
    await look(app, pilot, "", "f8")


SCENES = pytest.mark.parametrize(
    "scene",
    [setup, run, review, archive, detail, compare, try_it, guide, palette, files],
    ids=lambda scene: scene.__name__,
)


@SCENES
def test_hostile_text_is_harmless_on(scene: Scene) -> None:
    play(lambda app, pilot: scene(app, pilot, FEW), COMPACT)


@pytest.mark.slow
@pytest.mark.parametrize("size", [COMPACT, STANDARD], ids=["compact", "standard"])
@SCENES
def test_each_hostile_text_is_harmless_on(scene: Scene, size: tuple[int, int]) -> None:
    play(lambda app, pilot: scene(app, pilot, EACH), size)
