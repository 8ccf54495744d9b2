"""The app: modes, quitting with a run going, notifications, the palette, library output."""

import signal
import sys
from pathlib import Path

import pytest
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot

from engine.errors import UserError
from engine.settings.files import preset
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.person import PersonSession, human_settings, pair
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.guide.screen import GuideScreen
from tui.shell import palette
from tui.shell.ask import AskChoice
from tui.state.run_view import RunView
from tui.studio import Studio, studio_of


def test_the_app_is_what_its_screens_take_it_for() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        studio: Studio = app  # pyright compares what they have
        assert studio_of(app.screen) is studio

    play(scene)


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_every_mode_has_a_key(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for key, mode in (("f3", "run"), ("f4", "review"), ("f5", "runs"), ("f2", "setup")):
            await pilot.press(key)
            await pilot.pause()
            assert app.current_mode == mode
            await pilot.press("f1")
            await until(pilot, lambda: type(app.screen).__name__ == "GuideScreen")
            await pilot.press("escape")
            await until(pilot, lambda: type(app.screen).__name__ != "GuideScreen")

    play(scene, size)


def test_without_a_run_q_leaves_at_once() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running or app._exit

    play(scene)


def test_ctrl_c_with_a_run_asks_and_stop_waits_for_the_checkpoint() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "ctrl+c")
        assert isinstance(app.screen, AskChoice)
        assert "polite is still training" in shown(app)
        await pilot.press("escape")
        assert session.asked == []
        await pilot.press("q", "enter")
        assert session.asked == ["stop"]
        assert "with a checkpoint" in said(app)
        assert not app._exit
        session.end()
        await until(pilot, lambda: app._exit)

    play(scene)


def test_leaving_at_once_does_not_wait() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "q", "j", "j", "j", "enter")
        await until(pilot, lambda: app._exit)
        assert app.control.abandoned
        app.control.end()
        assert session.asked == []

    play(scene)


def test_a_screen_that_breaks_stops_the_run_with_a_checkpoint() -> None:
    session = LiveSession(a_run())

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, session)
        app.control.end()  # what run_app does however the app has ended

    play(scene)
    assert session.asked == ["stop", "join"]
    assert not session.attended


@pytest.mark.parametrize("paused", [False, True])
def test_without_its_screen_a_run_goes_on_unless_it_is_paused(paused: bool) -> None:
    """Nobody would be there to end the pause."""
    session = LiveSession(a_run())

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, session)
        if paused:
            session.pause()
        app.control.ended_by = signal.SIGHUP
        app.control.end()

    play(scene)
    assert session.stopping == paused
    assert not session.attended


def test_a_second_run_is_refused_while_one_is_going() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run()))
        with pytest.raises(UserError, match="polite is still going"):
            app.start_run(preset("starter"))

    play(scene)


def test_the_end_of_a_run_is_told_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        rung: list[str] = []
        monkeypatch.setattr(app, "ring", rung.append)
        session = LiveSession(a_run())
        attach(app, session)
        session.end("finished")
        await until(pilot, lambda: rung == ["polite finished"])
        assert said(app) == "polite finished: f3 shows it"

    play(scene)


def test_a_waiting_pair_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        rung: list[str] = []
        monkeypatch.setattr(app, "ring", rung.append)
        session = PersonSession(human_settings())
        app.control.session, app.control.view = session, RunView("polite")  # type: ignore[assignment]
        session.submit(pair(1))
        await until(pilot, lambda: rung)
        assert said(app) == "a pair waits for you: f4"
        await pilot.pause(0.4)
        assert len(rung) == 1

    play(scene)


def test_all_keys_of_a_screen_are_in_the_palette() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3")
        offered = {command.name: command for command in palette.commands(app, app.screen)}
        assert {"pause", "stop", "setup", "themes", "quit", "theme light"} <= set(offered)
        assert offered["pause"].first
        assert not offered["chart of the card"].first
        await pilot.press("ctrl+p")
        assert isinstance(app.screen, CommandPalette)
        await pilot.press(*"save now")
        await until(pilot, lambda: "save now" in shown(app).replace("> save now", ""))
        await pilot.press("enter")
        await until(pilot, lambda: session.asked == ["save"])

    play(scene, STANDARD)


def test_the_palette_outlasts_a_terminal_too_narrow_for_it() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: app.screen.query_one(CommandList).option_count)
        for width in (5, 1, 80):
            await pilot.resize_terminal(width, 24)
            await pilot.press("down")
        assert isinstance(app.screen, CommandPalette)

    play(scene)


def test_what_libraries_print_is_in_the_log_and_not_on_the_screen() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        print("early warning")
        sys.stderr.write("Downloading:  10%\rDownloading: 100%\n")
        await until(pilot, lambda: len(app.control.early_lines) == 2)
        assert list(app.control.early_lines) == ["early warning", "Downloading: 100%"]
        view = attach(app, LiveSession(a_run()))
        print("while training\x1b[2J")
        await until(pilot, lambda: any("while training" in line.text for line in view.log))
        assert view.log[-1].level in ("debug", "info")

    play(scene)


def test_messages_are_never_markup() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.say("[red]no[/red] \x1b[2J")
        await pilot.pause()
        assert "[red]no[/red] ␛[2J" in shown(app)

    play(scene)


def test_a_defect_leaves_its_trace_in_a_file_and_one_line(studio_home: Path) -> None:
    said_last: list[str] = []

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        def broken() -> None:
            raise RuntimeError("\x1b]0;boom\x07")

        app.call_later(broken)
        await until(pilot, lambda: app._exit_renderables)
        said_last.extend(str(each) for each in app._exit_renderables)

    with pytest.raises(RuntimeError, match="boom"):
        play(scene)
    assert "raise RuntimeError" in (studio_home / "crash.txt").read_text()
    assert len(said_last) == 1
    assert said_last[0].startswith("lora-studio: the app broke (RuntimeError")
    assert "\x1b" not in said_last[0]


def test_the_guide_opens_at_the_metric_under_the_cursor() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run()))
        await pilot.press("f3", "down", "f1")
        await until(pilot, lambda: isinstance(app.screen, GuideScreen) and app.screen.ready)
        assert isinstance(app.screen, GuideScreen)
        topic = app.screen.topics.current
        assert topic is not None
        assert topic.title == "margin"

    play(scene)
