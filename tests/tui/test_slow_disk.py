"""Reading a slow disk comes to an end, and what it changes is changed where it is drawn."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

import tui.app
from engine.errors import UserError
from engine.runs import archive, queue
from engine.runs.folder import METRICS, Run
from engine.runs.sweep import Sweep
from tests.tui.archive import make_run
from tests.tui.elsewhere import trained_elsewhere
from tests.tui.stage import TIMEOUT, play, shown, until
from tests.tui.test_queue import queued
from tui.app import StudioApp
from tui.archive import queue_screen, run_table_screen
from tui.archive.detail_screen import RunDetailScreen
from tui.archive.pair_table import PairTable
from tui.run import watched
from tui.shell import themes
from tui.shell.ask import AskChoice
from tui.state.run_from_files import RunFromFiles

OFTEN = 0.05  # seconds between two looks
SLOW = 8 * OFTEN  # that a look takes


def slowly(look: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*args: Any) -> Any:
        time.sleep(SLOW)
        return look(*args)

    return slow


def test_the_theme_files_are_looked_at_beside_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps, readers = themes.stamps, list[threading.Thread]()

    def look(folders: Any) -> Any:
        readers.append(threading.current_thread())
        return stamps(folders)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: len(readers) >= 3)
        assert threading.main_thread() not in readers[1:]  # the first is as the app opens

    monkeypatch.setattr(themes, "stamps", look)
    monkeypatch.setattr(tui.app, "THEME_SECONDS", OFTEN)
    play(scene)


def test_the_runs_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "list_runs", slowly(archive.list_runs))
    monkeypatch.setattr(run_table_screen, "LEAST_SECONDS", OFTEN)
    make_run("polite")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f5")
        await until(pilot, lambda: "1 run" in shown(app))

    play(scene)


def test_the_queue_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = queued("beta=0.5,1.0")
    read_queue: Callable[[], Sweep] = slowly(queue.read_queue)
    monkeypatch.setattr(queue, "read_queue", read_queue)
    monkeypatch.setattr(queue_screen, "SECONDS", OFTEN)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_queue()
        await until(pilot, lambda: names[1] in shown(app))

    play(scene)


def test_who_trains_a_run_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("far", status="running")
    monkeypatch.setattr(Run, "holder", slowly(Run.holder))
    monkeypatch.setattr(watched, "HOLDER_SECONDS", OFTEN)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_run_detail(str(run.path))
        await until(pilot, lambda: "p pause" in shown(app))

    with trained_elsewhere(run):
        play(scene)


def test_pairs_can_be_looked_for_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("polite", pairs=8)
    read, may_end = PairTable.read, threading.Event()

    def reading(table: PairTable) -> bool:
        news = read(table)
        assert may_end.wait(TIMEOUT)
        return news

    monkeypatch.setattr(PairTable, "read", reading)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_run_detail(str(run.path))
        await until(pilot, lambda: "finished" in shown(app))
        screen = app.screen
        assert isinstance(screen, RunDetailScreen)
        await pilot.press("A")
        assert "reading the pairs …" in shown(app)
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, AskChoice))
        await pilot.press("escape", "slash", *"close")
        assert "reading the pairs …" in shown(app)
        assert screen.pairs.table.lines == {}
        may_end.set()
        await until(pilot, lambda: "close · 2 of 8" in shown(app))

    play(scene)


def test_a_view_changes_only_where_it_is_drawn() -> None:
    run = make_run("polite", steps=10)
    files = RunFromFiles(run)
    before = files.view.points("loss")
    run.append(METRICS, [{"step": 11, "loss": 0.1}])
    files.read()
    assert files.view.points("loss") == before
    run.append(METRICS, [{"step": 12, "loss": 0.2}])
    files.read()
    (run.path / "run.json").rename(run.path / "away")
    with pytest.raises(UserError):
        files.read()
    files.take()  # nothing is lost to the fault
    assert [*files.view.series["loss"].values[-2:]] == [0.1, 0.2]
    assert files.view.points("loss") == before + 2
    files.take()
    assert files.view.points("loss") == before + 2
