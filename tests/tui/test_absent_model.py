"""A model or data that is not here, and the hub out of reach: the form says so, and ways out."""

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from engine.machine import hub
from engine.settings.schema import Settings
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.setup.screen import SetupScreen
from tui.setup.start_line import StartLine

ABSENT = Settings(model="nobody/none-1b", judge="starter", data="starter")


def start_line(app: StudioApp) -> str:
    return str(app.screen.query_one(StartLine).render())


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the hub answers; nothing is asked of it."""
    answers = [False]
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: answers[0])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return answers


@pytest.mark.parametrize("size", [COMPACT, (120, 40), STANDARD])
def test_the_form_says_it_before_a_start(
    away: list[bool], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models--mine--small").mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        monkeypatch.setattr(app, "start_run", lambda _: pytest.fail("started"))
        await until(pilot, lambda: "! not here  model nobody/none-1b" in start_line(app))
        assert "model is not here" in shown(app)
        side = app.screen.query_one("#side")
        assert side.max_scroll_y == 0  # all of it is in sight
        help = str(app.screen.query_one("#help", Static).render())
        for way in ("O takes a preset", "mine/small", "give model a folder"):
            assert way in help
        await pilot.press("enter")
        assert "cannot start: model nobody/none-1b is not on this machine" in said(app)
        assert "mine/small" in said(app)

    play(scene, size, ABSENT)


def test_with_a_hub_in_reach_it_is_a_download(away: list[bool]) -> None:
    away[0] = True

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "downloads the model" in shown(app))
        assert isinstance(app.screen, SetupScreen)
        assert "▶ start" in start_line(app)

    play(scene, COMPACT, ABSENT)
