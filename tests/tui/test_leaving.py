"""Leaving the program while a run trains: what is asked, and what Ctrl+C again and again does."""

import asyncio
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.events import RunStatus
from engine.runs import queue, sweep
from engine.runs.archive import name_to_open, open_run, runs_root
from engine.runs.folder import Run
from engine.settings.files import preset
from tests.tui.archive import make_run
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.person import human_settings
from tests.tui.stage import TIMEOUT, play, said, shown, until
from tui.app import StudioApp
from tui.run_app import last_line, queue_line
from tui.shell.leaving import LeaveQuestion
from tui.terminal import detach as detaching


def test_ctrl_c_again_stops_with_a_checkpoint_and_never_without() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "ctrl+c")
        assert isinstance(app.screen, LeaveQuestion)
        assert session.asked == []
        await pilot.press("ctrl+c")
        assert (session.asked, session.stopped_by) == (["stop"], "the person")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "still writing its checkpoint" in shown(app))
        await pilot.press(*["ctrl+c"] * 5)
        assert session.asked == ["stop"]
        assert not app.control.abandoned
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
        assert app.control.abandoned
        assert app.return_code == 130

    play(scene)


def test_a_run_that_an_llm_judges_may_be_left_running() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await pilot.press("f3", "q", "j", "enter")
        assert (session.asked, session.stopped_by) == (["stop"], "")  # it only changes hands
        assert app.control.leaves_running
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


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("finished", None, "polite: done: step 40 of 100 in 5 min"),
        ("stopped", None, "polite: stopped at step 40 of 100 with a checkpoint; `{back}` goes on"),
        ("failed", "cannot write.", "polite: failed at step 40 of 100; cannot write"),
        ("untrained", "all tied", "polite: nothing was learned: step 40 of 100 in 5 min; all tied"),
    ],
)
@pytest.mark.parametrize("person", [False, True])
def test_how_the_run_ended_is_said_after_the_app(
    status: RunStatus, error: str | None, said: str, person: bool
) -> None:
    app = StudioApp()
    assert last_line(app.control) == ""
    session = LiveSession(a_run(), human_settings() if person else None)
    session.run = Run(runs_root() / "polite")
    attach(app, session)
    session.end(status, error)
    back = "lora-studio resume polite --app" if person else "lora-studio resume polite"
    line = last_line(app.control)
    assert line == f"{said.format(back=back)}; the run is kept in {session.run.path}"
    app.control.ended_by = signal.SIGHUP
    assert last_line(app.control) == ""


def test_of_a_run_that_nothing_is_kept_of_no_folder_is_said(tmp_path: Path) -> None:
    app, session = StudioApp(), LiveSession()
    session.run, session.has_folder = Run(tmp_path / "polite"), False
    attach(app, session)
    session.end()
    line = last_line(app.control)
    assert line.startswith("polite: stopped while loading")
    assert "kept" not in line


def test_a_run_that_was_left_at_once_goes_on_from_its_checkpoint() -> None:
    app, session = StudioApp(), LiveSession(a_run())
    session.run = make_run("polite")
    attach(app, session)
    app.control.abandoned = True
    line = last_line(app.control)
    assert line.startswith("polite was left at step 40 of 100; `lora-studio resume polite` goes on")
    assert line.endswith(f"; the run is kept in {session.run.path}")


def test_of_a_run_that_is_left_running_the_folder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detaching, "detach", lambda run: f"{run.name} goes on")
    app, session = StudioApp(), LiveSession(a_run())
    session.run = make_run("polite")
    attach(app, session)
    app.control.leaves_running = True
    session.end()
    assert last_line(app.control) == f"polite goes on; the run is kept in {session.run.path}"


def moved(run: Run, to: Path) -> Run:
    """The run in the folder that an `output_root` names, with a space in it."""
    folder = to / "own place" / "runs"
    folder.mkdir(parents=True)
    return Run(Path(shutil.move(run.path, folder / run.name)))


def command(line: str) -> list[str]:
    """The words of the first command of a line."""
    [first, *_] = re.findall("`(.*?)`", line)
    return shlex.split(first)


def test_a_run_outside_of_the_default_folder_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = moved(make_run("polite"), tmp_path)
    assert name_to_open(run.path) == shlex.quote(str(run.path))
    for at_once in (False, True):
        app, session = StudioApp(), LiveSession(a_run())
        session.run = run
        attach(app, session)
        session.end()
        app.control.abandoned = at_once
        program, resume, name = command(last_line(app.control))
        assert (program, resume) == ("lora-studio", "resume")
        assert open_run(name).path == run.path
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert open_run(command(detaching.detach(run))[2]).path == run.path


@pytest.mark.parametrize(
    ("hangup", "then"), [("continue", "goes on without it"), ("stop", "stops")]
)
def test_a_terminal_that_goes_leaves_a_line_in_the_log(hangup: str, then: str) -> None:
    settings = preset("starter").model_copy(update={"on_hangup": hangup})
    app, session = StudioApp(), LiveSession(a_run(), settings)
    session.run = make_run("polite", status="running")
    attach(app, session)
    app.control.ended_by = signal.SIGHUP
    app.control.end()
    line = f"the terminal is gone; the run {then}"
    assert line in (session.run.path / "log.txt").read_text()
    assert app.control.view is not None
    assert line in [each.text for each in app.control.view.log]
    assert ("stop" in session.asked) == (hangup == "stop")


@pytest.mark.parametrize(
    ("alive", "status", "says"),
    [(True, "stopped", True), (True, "finished", False), (False, "stopped", False)],
)
def test_a_run_that_has_stopped_since_the_terminal_went_says_so_too(
    alive: bool, status: RunStatus, says: bool
) -> None:
    """A run that was over before, or came to its end, says nothing."""
    app, session = StudioApp(), LiveSession(a_run(), human_settings())
    session.run = make_run("polite", status="running")
    attach(app, session)
    app.control.ended_by, app.control.was_alive = signal.SIGHUP, alive
    session.end(status)
    app.control.end()
    log = (session.run.path / "log.txt").read_text()
    assert ("the terminal is gone; the run stops" in log) == says


def test_an_end_that_was_asked_for_says_nothing_of_the_terminal() -> None:
    app, session = StudioApp(), LiveSession(a_run())
    session.run = make_run("polite", status="running")
    attach(app, session)
    app.control.end()
    assert "terminal" not in (session.run.path / "log.txt").read_text()


def test_that_the_queue_goes_on_is_said_after_the_app() -> None:
    app = StudioApp()
    queue.add_settings(preset("starter"))
    assert queue_line(app.control) == ""
    with sweep.working_on("queue"):
        line = queue_line(app.control)
        assert line.startswith("the queue goes on, 1 run left: `lora-studio runs`")


def test_what_breaks_while_the_app_closes_is_no_news() -> None:
    async def draw_late() -> None:
        try:
            await asyncio.sleep(TIMEOUT)
        finally:
            raise ValueError("the parts are gone")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.run_worker(draw_late())
        await pilot.pause()

    play(scene)
