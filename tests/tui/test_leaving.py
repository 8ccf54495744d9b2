"""Leaving the program while a run trains: what is asked, and what Ctrl+C again and again does."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.runs.folder import Run
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.person import human_settings
from tests.tui.stage import play, said, shown, until
from tui.app import StudioApp
from tui.shell.leaving import LeaveQuestion
from tui.terminal import terminal


def test_ctrl_c_again_stops_with_a_checkpoint_and_never_without() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "ctrl+c")
        assert isinstance(app.screen, LeaveQuestion)
        assert session.asked == []
        await pilot.press("ctrl+c")
        assert session.asked == ["stop"]
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "still writing its checkpoint" in shown(app))
        await pilot.press(*["ctrl+c"] * 5)
        assert session.asked == ["stop"]
        assert not app.abandoned
        assert not app._exit
        session.end()
        await until(pilot, lambda: app._exit)

    play(scene)


def test_who_cannot_wait_for_the_checkpoint_may_leave_at_once() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "q", "enter", "q")
        await until(pilot, lambda: "still writing its checkpoint" in shown(app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: app._exit)
        assert app.abandoned
        assert app.return_code == 130

    play(scene)


def test_a_run_that_an_llm_judges_may_be_left_running() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "q", "j", "enter")
        assert session.asked == ["stop"]
        assert app.leaves_running
        assert "goes on without a screen" in said(app)

    play(scene)


def test_a_run_that_a_person_judges_may_not() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run(), human_settings()))
        await pilot.press("f3", "q")
        assert isinstance(app.screen, LeaveQuestion)
        assert "leave running" not in shown(app)
        assert "stop" in shown(app)

    play(scene)


def test_a_run_that_failed_while_one_was_leaving_is_told(tmp_path: Path) -> None:
    app = StudioApp()
    session = LiveSession()
    session.run, session.error = Run(tmp_path / "polite"), "cannot write \x1b[2J"
    app.session = session  # type: ignore[assignment]
    assert terminal._last_line(app) == ""
    app.quitting = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveSession, "status", "failed")
        assert terminal._last_line(app).startswith("lora-studio: polite failed: cannot write")
