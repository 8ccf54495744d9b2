"""The keys for a run that another process trains, and taking it over."""

import pytest
from textual.pilot import Pilot

from engine.runs import remote
from engine.runs.folder import Run
from tests.tui.archive import make_run
from tests.tui.elsewhere import trained_elsewhere, waiting
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.archive.detail_screen import RunDetailScreen
from tui.run import remote_commands
from tui.run.watched import HERE, WatchedScreen
from tui.shell import palette
from tui.shell.ask import AskChoice


async def opened(app: StudioApp, pilot: Pilot[int], run: Run) -> WatchedScreen:
    app.navigator.open_run_detail(str(run.path))
    await until(pilot, lambda: isinstance(app.screen, RunDetailScreen) and app.screen.ready)
    screen = app.screen
    assert isinstance(screen, WatchedScreen)
    await until(pilot, lambda: (screen.holder is not None) == (run.holder() is not None))
    return screen


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_pause_and_go_on(size: tuple[int, int]) -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        assert "p pause" in shown(app)
        await pilot.press("p")
        await until(pilot, lambda: waiting(run) == ["pause"])
        await until(pilot, lambda: "to pause" in said(app))
        remote.take(run)
        run.update(status="paused")
        await until(pilot, lambda: said(app).startswith("paused, "))
        await pilot.press("u")  # the message gives way to the keys
        await until(pilot, lambda: _offers(app, "go on"))
        await pilot.press("p")
        await until(pilot, lambda: waiting(run) == ["unpause"])

    with trained_elsewhere(run):
        play(scene, size)


def test_p_does_what_the_footer_says_before_the_process_has_answered() -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("p")
        await until(pilot, lambda: waiting(run) == ["pause"])
        assert _offers(app, "go on")
        assert not _offers(app, "pause")
        await pilot.press("p")
        await until(pilot, lambda: waiting(run) == ["pause", "unpause"])
        assert _offers(app, "pause")

    with trained_elsewhere(run):
        play(scene)


@pytest.mark.parametrize(("key", "command"), [("e", "evaluate"), ("w", "save")])
def test_a_command_that_waits_is_left_once(key: str, command: str) -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press(key, key)
        await until(pilot, lambda: waiting(run))
        await pilot.press(key)
        await pilot.pause(0.3)
        assert waiting(run) == [command]

    with trained_elsewhere(run):
        play(scene)


def test_two_keys_in_a_row_ask_one_question() -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("s", "s")
        await pilot.pause()
        assert sum(isinstance(each, AskChoice) for each in app.screen_stack) == 1

    with trained_elsewhere(run):
        play(scene)


def _offers(app: StudioApp, name: str) -> bool:
    return name in {command.name for command in palette.commands(app, app.screen)}


@pytest.mark.parametrize(("key", "command"), [("e", "evaluate"), ("w", "save"), ("s", "stop")])
def test_the_other_keys_and_their_palette_entries(key: str, command: str) -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        name = "save now" if command == "save" else command
        assert _offers(app, name)
        await pilot.press(key)
        if command == "stop":
            await until(pilot, lambda: isinstance(app.screen, AskChoice))
            assert waiting(run) == []
            await pilot.press("enter")
        await until(pilot, lambda: waiting(run) == [command])

    with trained_elsewhere(run):
        play(scene)


def test_nothing_is_asked_of_a_process_that_is_to_stop_the_run() -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, AskChoice))
        await pilot.press("enter")
        await until(pilot, lambda: waiting(run) == ["stop"])
        await pilot.press("e")
        assert said(app) == "the run is stopping already"
        assert waiting(run) == ["stop"]
        assert not _offers(app, "evaluate")

    with trained_elsewhere(run):
        play(scene)


def test_a_silent_process_is_named_and_leaving_takes_the_command_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_commands, "ANSWER_SECONDS", 0.1)
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("p")
        await until(pilot, lambda: "has not answered" in said(app))
        assert "s stop" in shown(app)  # the keys work meanwhile
        await pilot.press("escape")
        await until(pilot, lambda: waiting(run) == [])

    with trained_elsewhere(run):
        play(scene)


def test_a_run_that_is_trained_here_is_not_offered_to_be_resumed() -> None:
    run = make_run("near", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await until(pilot, lambda: not _offers(app, "resume"))
        await pilot.press("r")
        assert said(app) == HERE

    with run.lock():
        play(scene)


def test_without_another_process_the_keys_say_why() -> None:
    run = make_run("near", status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        assert not _offers(app, "pause")
        await pilot.press("p")
        assert said(app) == "nobody trains this run now"
        assert waiting(run) == []

    play(scene)


def test_taking_over_stops_it_there_and_resumes_it_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the detail of the run, and from the list of runs."""
    run = make_run("far", status="running")
    resumed: list[str] = []
    monkeypatch.setattr(StudioApp, "resume_run", lambda self, run, **_: resumed.append(run.name))

    async def take_over(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("r")
        await until(pilot, lambda: "goes on here from it" in shown(app))
        await pilot.press("escape")
        await pilot.pause()
        assert waiting(run) == []
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, AskChoice))
        await pilot.press("enter")
        await until(pilot, lambda: waiting(run) == ["stop"])
        assert resumed == []

    async def from_detail(app: StudioApp, pilot: Pilot[int]) -> None:
        with trained_elsewhere(run):
            await opened(app, pilot, run)
            await take_over(app, pilot)
            run.update(status="stopped")
        await until(pilot, lambda: resumed == ["far"])

    async def from_list(app: StudioApp, pilot: Pilot[int]) -> None:
        with trained_elsewhere(run):
            run.update(status="running")
            await pilot.press("f5")
            await until(pilot, lambda: "1 run · 1 live" in shown(app))
            await take_over(app, pilot)
            run.update(status="stopped")
        await until(pilot, lambda: resumed == ["far"])

    play(from_detail)
    resumed.clear()
    play(from_list)


def test_a_run_that_finishes_before_it_is_taken_over_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run("far", status="running")
    monkeypatch.setattr(StudioApp, "resume_run", lambda self, run, **_: pytest.fail("resumed"))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        with trained_elsewhere(run):
            await opened(app, pilot, run)
            await pilot.press("r")
            await until(pilot, lambda: isinstance(app.screen, AskChoice))
            await pilot.press("enter")
            await until(pilot, lambda: waiting(run) == ["stop"])
            run.update(status="finished")
        await until(pilot, lambda: "ended before it could stop" in said(app))
        assert waiting(run) == []

    play(scene)


def test_nothing_is_taken_over_while_a_run_trains_here() -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run()))
        await opened(app, pilot, run)
        await pilot.press("r")
        await until(pilot, lambda: "polite is still going" in said(app))
        assert waiting(run) == []

    with trained_elsewhere(run):
        play(scene)
