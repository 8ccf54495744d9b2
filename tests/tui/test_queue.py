"""The queue's screen: what it shows, what its keys do, and the ways to add to it."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.runs import queue, sweep
from engine.runs.folder import METRICS, Run
from engine.runs.sweep import plan_sweep, write_sweep
from engine.settings.files import preset
from tests.tui.archive import make_run
from tests.tui.stage import STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.archive.compare_screen import CompareScreen
from tui.archive.queue_screen import QueueScreen
from tui.archive.runs_screen import RunsScreen
from tui.shell.ask import AskChoice, AskText
from tui.terminal import queue_process
from tui.widgets.key_line import KeyLine
from tui.widgets.row_list import RowList

RATE = {"step": 40, "win_rate": 0.78, "win_rate_low": 0.7, "win_rate_high": 0.86}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the process that works through the queue is asked; it holds its lock meanwhile."""
    asked: list[str] = []
    with contextlib.ExitStack() as stack:

        def start() -> None:
            asked.append("start")
            stack.enter_context(sweep.working_on("queue"))

        def stop() -> None:
            asked.append("stop")
            stack.close()

        monkeypatch.setattr(queue_process, "start", start)
        monkeypatch.setattr(queue_process, "stop", stop)
        yield asked


def grid(*words: str, name: str = "grid") -> list[str]:
    """Make a sweep of the starter; the names of its runs."""
    made = plan_sweep(preset("starter").model_dump(mode="json"), "the test", words, name)
    write_sweep(made)
    return [cell.run for cell in made.cells]


def queued(*words: str) -> list[str]:
    """Put a sweep into the queue; the names of its runs."""
    names = grid(*words)
    queue.add_sweep(sweep.open_sweep("grid"))
    return names


def order() -> list[str]:
    return [cell.run for cell in queue.read_queue().cells]


async def opened(app: StudioApp, pilot: Pilot[Any]) -> QueueScreen:
    app.navigator.open_queue()
    await until(pilot, lambda: isinstance(app.screen, QueueScreen))
    await until(pilot, lambda: "reading the queue" not in shown(app))
    screen = app.screen
    assert isinstance(screen, QueueScreen)
    return screen


def line_of(app: StudioApp, name: str) -> str:
    return next(line for line in shown(app).splitlines() if f" {name} " in line)


def test_every_run_with_how_far_it_is() -> None:
    first, second, third = queued("beta=0.5,1.0,2.0")
    queue.add_settings(preset("starter"))
    make_run(first, total_steps=40).append(METRICS, [{"split": "valid", **RATE}])
    holder = Run(make_run(second, steps=20, status="running", total_steps=80).path)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        assert "1 of 4 done · 1 trains · 2 wait · about 3 min left" in shown(app)
        assert "at rest" in shown(app)
        assert line_of(app, first).split()[:2] == ["✓", first]
        assert "finished" in line_of(app, first)
        assert "78%  70% to 86%" in line_of(app, first)
        assert "running" in line_of(app, second)
        assert "20 of 80" in line_of(app, second)
        assert "waits" in line_of(app, third)
        assert "0 of 80" in line_of(app, "starter-q1")
        assert ("beta=0.5" in line_of(app, first).replace(first, "")) is (app.size.width > 80)

    with holder.lock():
        play(scene)
        play(scene, (120, 40))


def test_it_is_started_and_stopped(worker: list[str]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        assert "nothing waits · + in the form" in shown(app)
        keys = app.screen.query_one(KeyLine)
        await until(pilot, lambda: str(keys.render()).startswith("+ add a sweep"))
        await pilot.press("s")
        assert "nothing waits" in said(app)
        assert worker == []
        queue.add_settings(preset("starter"))
        app.screen.query_one("#table").focus()
        screen = app.screen
        assert isinstance(screen, QueueScreen)
        screen.look()
        await until(pilot, lambda: "at rest" in shown(app))
        keys.clear()
        assert str(keys.render()).startswith("s start")
        await pilot.press("s")
        assert "also after this program is left" in said(app)
        await until(pilot, lambda: "at rest" not in shown(app))
        await pilot.press("s")
        assert worker == ["start", "stop"]
        await until(pilot, lambda: "at rest" in shown(app))

    play(scene)


def test_a_second_stop_does_not_end_it_without_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *sign: sent.append(sign))
    queue.add_settings(preset("starter"))
    queue_process.stop()  # nobody is at work
    with sweep.working_on("queue"):
        queue_process.stop()
        queue_process.stop()
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_order_and_what_leaves_it() -> None:
    first, second, third = queued("seed=0,1,2")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("<")
        assert "is first of those that wait" in said(app)
        await pilot.press(">")
        assert order() == [second, first, third]
        await until(pilot, lambda: screen.table.cursor == 1)  # the cursor goes with its run
        await pilot.press("delete")
        assert order() == [second, third]
        make_run(second)
        screen.look()
        await until(pilot, lambda: "1 of 2 done" in shown(app))
        await pilot.press("K")
        assert "dropped 1 that is done" in said(app)
        assert order() == [third]
        assert Run(sweep.runs_in(None) / second).path.is_dir()
        await until(pilot, lambda: "0 of 1 done" in shown(app))
        await pilot.press("enter")
        assert "has not begun yet" in said(app)
        await pilot.press("K")
        assert "none of them is done" in said(app)

    play(scene)


def test_runs_of_a_sweep_are_compared() -> None:
    first, second, _ = queued("seed=0,1,2")
    queue.add_settings(preset("starter"))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("=")
        assert "fewer than two runs of grid have begun" in said(app)
        make_run(first)
        make_run(second, seed=2)
        make_run("starter-q1")
        screen.look()
        await until(pilot, lambda: "3 of 4 done" in shown(app))
        await pilot.press("=")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await until(pilot, lambda: "finished, 40 steps" in shown(app))
        assert isinstance(app.screen, CompareScreen)
        assert {view.name for view in app.screen.views} == {first, second}

    play(scene)


def test_the_list_of_runs_compares_those_of_a_sweep() -> None:
    first, second = grid("seed=0,1")
    make_run(first)
    make_run("polite")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f5")
        await until(pilot, lambda: first in shown(app))
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        screen.show_runs(cursor_at=sweep.runs_in(None) / first)
        await pilot.press("=")
        assert "or go to one of a sweep" in said(app)
        make_run(second)
        screen.read_runs()
        await until(pilot, lambda: second in shown(app))
        await pilot.press("=")
        await until(pilot, lambda: "finished, 40 steps" in shown(app))
        assert isinstance(app.screen, CompareScreen)
        assert {view.name for view in app.screen.views} == {first, second}

    play(scene)


def test_a_sweep_is_added_here() -> None:
    names = grid("seed=0,1")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, AskChoice))
        assert "2 of 2 runs left" in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "0 of 2 done" in shown(app))
        assert order() == names
        await pilot.press("plus")
        await until(pilot, lambda: "there is no sweep that is not in the queue" in said(app))

    play(scene)


def test_the_form_adds_one_run_or_a_grid() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "needs" in shown(app))
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        await pilot.press("enter")
        await until(pilot, lambda: "starter-q1 waits in the queue" in said(app))
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        for letter in "seed=0,x":
            await pilot.press(letter)
        await pilot.press("enter")
        await until(pilot, lambda: "seed" in shown(app) and isinstance(app.screen, AskText))
        assert "--set" not in shown(app)  # an option of the command line
        assert order() == ["starter-q1"]
        await pilot.press("backspace", "7", "enter")
        await until(pilot, lambda: "2 runs of starter-sweep wait" in said(app))
        assert order()[1:] == ["starter-sweep-01-seed=0", "starter-sweep-02-seed=7"]
        await pilot.press("Q")
        await until(pilot, lambda: "0 of 3 done · 3 wait" in shown(app))
        await pilot.press("escape")
        sweep.file_of("queue").unlink()
        sweep.file_of("queue").mkdir()  # it cannot be written
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        await pilot.press("enter")
        await until(pilot, lambda: "cannot be kept" in said(app))

    play(scene, settings=preset("starter"))


def test_a_form_that_cannot_start_is_not_queued() -> None:
    settings = preset("starter").model_copy(update={"judge": "human"})

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "needs" in shown(app))
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        await pilot.press("enter")
        await until(pilot, lambda: "a person cannot judge in a queue" in said(app))
        assert order() == []

    play(scene, settings=settings)


def test_the_list_of_runs_adds_what_can_go_on_and_asks_for_the_rest() -> None:
    make_run("half", status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f5")
        await until(pilot, lambda: "half" in shown(app))
        await pilot.press("plus")
        await until(pilot, lambda: "half waits in the queue to go on" in said(app))
        await pilot.press("plus")
        await until(pilot, lambda: "is in the queue already" in said(app))
        Run(sweep.runs_in(None) / "half").update(status="finished")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        screen.read_runs()
        await until(pilot, lambda: "finished" in shown(app))
        await pilot.press("plus")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        await pilot.press("enter")
        await until(pilot, lambda: "starter-q1 waits in the queue" in said(app))
        assert order() == ["half", "starter-q1"]
        await pilot.press("Q")
        await until(pilot, lambda: isinstance(app.screen, QueueScreen))

    play(scene, STANDARD)


def test_a_run_that_failed_before_it_began_says_why() -> None:
    queue.add_settings(preset("starter"))
    queue.settle("starter-q1", "data: there is no file 'd.jsonl'")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        assert "0 of 1 done · 1 failed" in shown(app)
        assert "failed" in line_of(app, "starter-q1")
        assert "there is no file" in shown(app)
        await pilot.press("enter")
        assert "failed before its first step" in said(app)

    play(scene)


def test_what_was_dropped_comes_back_to_its_place() -> None:
    names = queued("beta=0.5,1.0,2.0")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("u")
        assert "nothing was dropped" in said(app)
        await pilot.press("down", "delete", "delete")
        assert order() == names[:1]
        await pilot.press("u")
        assert "is back" in said(app)
        table = app.screen.query_one("#table", RowList)

        def under_cursor() -> str:
            return table.current.cell.run if table.current else ""

        await until(pilot, lambda: under_cursor() == names[2])
        await pilot.press("u")
        assert order() == names
        await until(pilot, lambda: under_cursor() == names[1])

    play(scene)


def test_the_settings_of_a_run_that_waits_open_in_the_form() -> None:
    queued("beta=0.5,1.0")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("down", "o")
        await until(pilot, lambda: app.current_mode == "setup")
        await until(pilot, lambda: "grid-02-beta=1.0" in shown(app))

    play(scene)
