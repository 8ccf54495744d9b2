"""A message in the place of the keys: how long it stays, in the program and in the tests."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.stage import play, said, shown
from tui.app import StudioApp
from tui.widgets.key_line import KeyLine


def test_a_message_gives_way_to_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[tuple[float, Callable[[], None]]] = []

    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        monkeypatch.setattr(KeyLine, "set_timer", lambda line, *timer: timers.append(timer))
        app.say("something happened", 2)
        await pilot.pause()
        assert "something happened" in shown(app)
        [(seconds, then)] = timers
        assert seconds == 2
        then()
        await pilot.pause()
        assert "something happened" not in shown(app)
        assert "? keys" in shown(app)

    play(scene)


def test_a_message_is_held_in_a_scene_however_long_the_scene_takes() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        app.say("something happened", 0.01)
        await pilot.pause(0.2)
        assert said(app) == "something happened"
        app.say("and something else", 0.01)
        await pilot.pause(0.2)
        assert said(app) == "and something else"

    play(scene)


def test_how_far_something_is_gives_way_to_what_a_person_is_told() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        app.say("1 of 3 is written", gives_way=True)
        app.say("2 of 3 are written", gives_way=True)
        assert said(app) == "2 of 3 are written"
        await pilot.pause()
        far, keys = shown(app).splitlines()[-2:]
        assert "2 of 3 are written" in far
        assert "? keys" in keys
        app.say("it is copied")
        app.say("all is written", gives_way=True)
        assert said(app) == "it is copied"
        await pilot.pause()
        assert "? keys" not in shown(app)
        app.screen.query_one(KeyLine).clear()
        app.say("all is written", gives_way=True)
        assert said(app) == "all is written"

    play(scene)
