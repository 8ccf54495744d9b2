"""The line about a run that goes on, on every screen that does not show it, and its key."""

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot

from engine.data.pairs import JudgedPair, Verdict
from engine.runs import remote
from engine.runs.folder import PAIRS, SAMPLED, WAITING, Run
from tests.tui.archive import judged, make_run
from tests.tui.elsewhere import trained_elsewhere
from tests.tui.live import LiveSession, a_run, attach, started
from tests.tui.person import PersonSession, human_settings, pair
from tests.tui.stage import COMPACT, STANDARD, TIMEOUT, play, said, shown, until
from tui import app as app_module
from tui.app import StudioApp
from tui.archive.detail_screen import RunDetailScreen
from tui.archive.runs_screen import RunsScreen
from tui.review.screen import ReviewScreen
from tui.run.screen import RunScreen
from tui.setup.screen import SetupScreen
from tui.setup.start_line import StartLine
from tui.shell.base import StudioScreen
from tui.shell.live_line import LiveLine
from tui.state.live_elsewhere import live_elsewhere
from tui.state.run_view import RunView

WIDE = (120, 40)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "ELSEWHERE_SECONDS", 0.1)


def line(app: StudioApp) -> str:
    """What the line of the screen in front says; empty where it is not there."""
    lines = [each for each in app.screen.query(LiveLine) if each.display]
    if not lines:
        return ""
    return shown(app).split("\n")[lines[0].region.y].strip()


async def ready(app: StudioApp, pilot: Pilot[int], screen: type[StudioScreen]) -> None:
    await until(pilot, lambda: isinstance(app.screen, screen) and app.screen.ready)


@pytest.mark.parametrize("size", [COMPACT, WIDE, STANDARD])
def test_every_other_screen_tells_of_the_run_that_trains_here(size: tuple[int, int]) -> None:
    make_run("old")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run()))
        for key, screen in (("f2", SetupScreen), ("f5", RunsScreen), ("f4", ReviewScreen)):
            await pilot.press(key)
            await ready(app, pilot, screen)
            await until(pilot, lambda: "polite · step 40 of 100 · " in line(app))
            assert "66 ±6 %" in line(app)
            assert line(app).endswith("0 goes there")
            await pilot.press("0")
            await ready(app, pilot, RunScreen)
            assert line(app) == ""
        app.navigator.open_run_detail("old")
        await ready(app, pilot, RunDetailScreen)
        await until(pilot, lambda: line(app).startswith("polite"))
        await pilot.click(LiveLine)
        await ready(app, pilot, RunScreen)

    play(scene, size)


def test_the_line_goes_when_the_run_is_over() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await until(pilot, lambda: line(app))
        session.end()
        await until(pilot, lambda: not line(app))
        await pilot.press("0")
        assert said(app) == "no run goes on now · f2 starts one"

    play(scene)


def test_pairs_that_wait_are_counted_and_0_goes_to_them() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = PersonSession(human_settings(run_name="basil", self_check_every=0))
        app.control.session = session  # type: ignore[assignment]
        app.control.view = RunView("basil", settings=session.settings)
        session.submit(pair(1, 0), pair(1, 1))
        await until(pilot, lambda: line(app).endswith(" · 2 pairs wait · 0 goes there"))
        assert line(app).startswith("basil · step 0")
        await pilot.press("0")
        await ready(app, pilot, ReviewScreen)
        assert line(app) == ""

    play(scene)


def test_where_digits_are_typed_the_way_there_is_another() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run()))
        screen = app.screen
        assert isinstance(screen, SetupScreen)
        screen.go_to("beta")
        await until(pilot, lambda: line(app).endswith("esc 0 goes there"))
        await pilot.press("0", "escape", "escape")
        assert app.screen is screen
        await until(pilot, lambda: line(app).endswith("% · 0 goes there"))
        await pilot.press("0")
        await ready(app, pilot, RunScreen)

    play(scene)


def start_line(app: StudioApp) -> str:
    return str(app.screen.query_one(StartLine).render())


def start_help(app: StudioApp) -> str:
    """What is said beside the form with the cursor on Start."""
    return str(app.screen.query_one("#help").render())


def test_why_start_is_busy_is_whole_beside_a_long_name() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession([replace(started(), name="a-long-name-" * 20)]))
        await until(pilot, lambda: "! busy  a-long-name" in shown(app))
        assert "… trains here: one run at a time · 0 goes there" in shown(app)

    play(scene)


def test_start_is_busy_before_it_is_pressed() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "start" in start_line(app)
        assert "enter starts the run." in start_help(app)
        session = LiveSession(a_run())
        attach(app, session)
        busy = "! busy  polite trains here: one run at a time · 0 goes there"
        await until(pilot, lambda: start_line(app) == busy)
        assert "enter starts nothing while polite trains." in start_help(app)
        await pilot.press("enter")
        assert "polite is still going" in said(app)
        session.end()
        session.lingers = True
        busy = "! busy  what polite was loading is not over yet: in a moment, or in a new start"
        await until(pilot, lambda: start_line(app) == busy)
        assert "enter starts nothing yet: the run before is not over." in start_help(app)
        await pilot.press("enter")
        assert "what polite was loading cannot be broken off" in said(app)
        session.lingers = False
        await until(pilot, lambda: "▶ start" in start_line(app))
        assert "enter starts the run." in start_help(app)

    play(scene)


def test_the_help_says_what_enter_does_with_a_form_that_cannot_start() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = app.screen
        assert isinstance(screen, SetupScreen)
        settings = screen.form.settings.model_copy(update={"run_name": "beside"})
        screen.show(settings, "a test")
        line = screen.query_one(StartLine)
        line.show(screen.form, "it needs more than there is")
        screen.show_help()
        assert "enter starts nothing: the run will not fit." in start_help(app)
        screen.replace(screen.form.with_findings({"data": "is not there"}), "a test")
        assert "enter goes to data, which has to be mended first." in start_help(app)

    play(scene)


@pytest.mark.parametrize("size", [COMPACT, WIDE, STANDARD])
def test_a_run_of_another_process_is_told_of_too(size: tuple[int, int]) -> None:
    run = make_run("far", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        with trained_elsewhere(run):
            await until(pilot, lambda: line(app).startswith("far · step 40 of 80 · 36 s · "))
            assert "71 ±6 % · in another process · 0 goes there" in line(app)
            assert "▶ start  beside far · trains the bundled" in start_line(app)
            await pilot.press("0")
            await ready(app, pilot, RunDetailScreen)
            assert line(app) == ""
            depth = len(app.screen_stack)
            await pilot.press("0")
            assert said(app) == "this is the run that goes on"
            await until(pilot, lambda: "training" in shown(app))
            await pilot.press("Y", "c", "enter")  # its chart, over it
            await until(pilot, lambda: len(app.screen_stack) == depth + 1)
            await until(pilot, lambda: line(app).startswith("far"))
            await pilot.press("0")
            await until(pilot, lambda: len(app.screen_stack) == depth)
            await pilot.press("escape")
            await until(pilot, lambda: line(app).startswith("far"))
        await until(pilot, lambda: not line(app))
        assert "beside" not in start_line(app)

    play(scene, size)


def asked(run: Run, step: int, count: int) -> None:
    """A line of what a person was asked."""
    pairs = [{"pair_id": f"{step:07d}-{number:03d}"} for number in range(count)]
    run.append(SAMPLED, [json.dumps({"step": step, "order": {}, "pairs": pairs})])


def test_pairs_that_wait_in_another_process_are_counted() -> None:
    run = make_run("far", status="running", settings=human_settings(), steps=40, pairs=0)
    asked(run, 40, 3)  # learned from
    asked(run, 41, 3)
    each = judged(40)
    assert each.pair.pair_id == "0000041-000"
    run.append(PAIRS, [JudgedPair(each.pair, Verdict("first")).to_record("human")])
    with trained_elsewhere(run):
        live = live_elsewhere()
    assert live is not None
    assert (live.name, live.waiting, live.here) == ("far", 2, False)


def test_pairs_that_a_model_leaves_to_a_person_in_another_process_are_counted() -> None:
    hybrid = human_settings(judge="hybrid", hybrid_model="starter")
    run = make_run("far", status="running", settings=hybrid, steps=40, pairs=0, judge="hybrid")
    asked(run, 41, 3)  # of which the model judges some
    with trained_elsewhere(run):
        live = live_elsewhere()
        assert live is not None
        assert live.waiting == 0
        watch = remote.Watch(run, lambda command: None, lambda: 2)
        deadline = time.monotonic() + TIMEOUT
        while not remote.waiting(run) and time.monotonic() < deadline:
            time.sleep(0.02)
        live = live_elsewhere()
        assert live is not None
        assert (live.waiting, live.human) == (2, True)
        watch.close()
        assert remote.waiting(run) == 0
        for damaged in ("", "[", '{"pairs": "x"}', '{"pairs": -3}'):
            (run.path / WAITING).write_text(damaged)
            assert remote.waiting(run) == 0


@pytest.mark.parametrize(
    "leave",
    [
        lambda run: run.update(status="finished"),
        lambda run: (run.path / "run.json").write_text("{"),
        lambda run: (run.path / "run.json").unlink(),
    ],
)
def test_what_does_not_go_on_is_not_told_of(leave: Callable[[Run], object]) -> None:
    run = make_run("far", status="running")
    assert live_elsewhere() is None  # nobody holds it
    with trained_elsewhere(run):
        assert live_elsewhere() is not None
        leave(run)
        assert live_elsewhere() is None
