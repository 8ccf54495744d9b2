"""Runs: every key, what is shown, and that nothing is lost."""

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.runs import archive, queue, trash
from engine.runs.checkpoints import Best
from engine.runs.folder import METRICS, Run
from engine.runs.storage import StorageError
from engine.runs.sweep import plan_sweep, write_sweep
from engine.settings.schema import Settings
from tests.tui.archive import make_run, metrics
from tests.tui.elsewhere import trained_elsewhere
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until, workers_done
from tui.app import StudioApp
from tui.archive.compare_screen import CompareScreen
from tui.archive.detail_screen import RunDetailScreen
from tui.archive.run_rows import Order
from tui.archive.runs_screen import RunsScreen
from tui.run.chart_screen import ChartScreen
from tui.setup.screen import SetupScreen
from tui.shell import keys
from tui.shell.ask import AskText
from tui.shell.keys_overlay import KeysOverlay
from tui.widgets.key_line import KeyLine


async def opened(app: StudioApp, pilot: Pilot[int]) -> RunsScreen:
    """The list of runs, read and with its trends."""
    await pilot.press("f5")
    screen = app.screen
    assert isinstance(screen, RunsScreen)
    await until(pilot, lambda: "reading the runs" not in shown(app))
    await workers_done(app)
    await pilot.pause()
    return screen


def named(screen: RunsScreen) -> list[str]:
    return [run.name for run in screen.table.rows]


def three() -> None:
    make_run(
        "polite", updated="2026-09-01T10:00:00+00:00", steps=40, created="2026-09-01T10:00:00Z"
    )
    make_run("short", steps=20, status="stopped", tags=["keep"], seed=2)
    make_run("failed-one", steps=3, status="failed", error="no space left", win_rate=None)


def test_the_key_line_begins_with_enter() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        said_first, *_, said_last = shown(app).rstrip().split("\n")[-1].split("  ")
        assert [said_first.strip(), said_last] == [f"{keys.display('enter')} open", "? keys"]

    play(scene, size=COMPACT)


def test_every_run_with_its_facts() -> None:
    three()
    broken = make_run("broken")
    (broken.path / "run.json").write_text("{")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        text = shown(app)
        assert "4 runs" in text
        line = next(line for line in text.splitlines() if " polite " in line)
        assert "finished" in line
        assert "71 ±6 %" in line
        assert "▁" in line
        assert any("broken" in line and "damaged" in line for line in text.splitlines())

    play(scene, STANDARD)
    play(scene)


def test_a_run_that_learned_nothing_says_so() -> None:
    why = "none of 24 pairs could be learned from: 24 tied"
    make_run("nothing", status="untrained", error=why)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        assert any(" nothing " in line and "untrained" in line for line in shown(app).splitlines())
        assert why in shown(app)
        await pilot.press("r")
        assert "this run is untrained" in said(app)

    play(scene, STANDARD)


def test_no_runs_yet() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        assert "no runs yet" in shown(app)
        keys = app.screen.query_one(KeyLine)
        assert "config" not in str(keys.render())
        for key in ("r", "delete", "y", "space"):
            app.screen.query_one(KeyLine).say("")
            await pilot.press(key)
            assert said(app) == "there is no run here"
        await pilot.press("enter")
        assert said(app) == "there are no rows"

    play(scene)


def test_what_is_done_to_a_run_is_offered_where_one_is_shown() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        keys = app.screen.query_one(KeyLine)
        assert "o config" in str(keys.render())
        await pilot.press("slash", *"none", "enter")
        await until(pilot, lambda: "o config" not in str(keys.render()))
        await pilot.press("escape")
        await until(pilot, lambda: "o config" in str(keys.render()))

    play(scene)


def test_sort_by_any_column_and_turn_round() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        by_age = named(screen)
        await pilot.press("<")
        assert named(screen) == by_age[::-1]
        assert said(app) == "sorted by age, turned round"
        for _ in range(20):
            if screen._order == Order("name"):
                break
            await pilot.press(">")
        assert named(screen) == ["failed-one", "polite", "short"]
        assert "sorted by name" in said(app)

    play(scene)


def test_n_goes_round_the_runs_of_a_search() -> None:
    for name in ("one", "two", "three"):
        make_run(name)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("n")
        assert "n does nothing here" in said(app)
        await pilot.press("slash", *"t", "enter", "home")
        for key, at in (("n", 1), ("n", 2), ("n", 0), ("N", 2), ("N", 1)):
            await pilot.press(key)
            assert screen.table.cursor == at

    play(scene)


def test_filter() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("slash", *"keep", "enter")
        assert named(screen) == ["short"]
        assert "/ keep" in shown(app)
        assert "1 of 3 runs" in shown(app)
        await pilot.press("escape")
        assert len(named(screen)) == 3
        await pilot.press("slash", *"zzz")
        assert "no run matches" in shown(app)
        await pilot.press("escape", "escape")
        assert "no filter" in said(app)

    play(scene)


def test_the_cursor_stays_with_its_run() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("end")
        name = screen.run.name if screen.run else ""
        make_run("newer")
        await until(pilot, lambda: "newer" in named(screen))
        assert screen.run
        assert screen.run.name == name

    play(scene)


def test_delete_and_undo() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        before = named(screen)
        await pilot.press("delete", "backspace")
        assert len(named(screen)) == 1
        assert "u brings it back" in said(app)
        await pilot.press("u", "u")
        assert sorted(named(screen)) == sorted(before)
        await pilot.press("u")
        assert "nothing was deleted" in said(app)

    play(scene)


def test_an_undo_that_could_not_be_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("mine", steps=3)

    def full(trashed: Path) -> Run:
        raise StorageError(trashed, OSError(errno.ENOSPC, "No space left on device"))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("delete")
        with monkeypatch.context() as patch:
            patch.setattr(trash, "undelete", full)
            await pilot.press("u")
        assert "No space left" in said(app)
        assert named(screen) == []
        await pilot.press("u")
        assert named(screen) == [run.name]

    play(scene)


def test_no_undo_is_offered_once_the_trash_was_emptied() -> None:
    run = make_run("mine", steps=3)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("delete")
        app.screen.query_one(KeyLine).clear()
        await until(pilot, lambda: "u undo delete" in shown(app))
        shutil.rmtree(run.path.parent / trash.TRASH)
        await until(pilot, lambda: "u undo delete" not in shown(app))
        await pilot.press("u")
        assert "is gone for good" in said(app)

    play(scene, STANDARD)


def test_what_was_deleted_more_than_a_day_ago_is_gone_for_good() -> None:
    old, new = (trash.delete(make_run(name, steps=3).path) for name in ("old", "new"))
    long_ago = time.time() - 1.01 * trash.KEPT_IN_TRASH.total_seconds()
    os.utime(old.parent, (long_ago, long_ago))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await until(pilot, lambda: not old.exists())
        assert new.exists()

    play(scene)


def test_a_run_in_use_is_not_deleted_or_renamed() -> None:
    run = make_run("busy", status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        with run.lock():
            await pilot.press("delete")
            assert "is in use by process" in said(app)
            assert named(screen) == ["busy"]

    play(scene)


def test_a_run_of_another_process_is_seen_to_move() -> None:
    run = make_run("elsewhere", status="running", steps=5)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        with run.lock():
            screen = await opened(app, pilot)
            await until(pilot, lambda: "1 live" in shown(app))
            assert "●" in shown(app)
            Run(run.path).append(METRICS, list(metrics(7))[5:])
            Run(run.path).update(step=7, loss=0.123)
            await until(pilot, lambda: "0.123" in shown(app))
            assert screen.run
            assert screen.run.step == 7
        await until(pilot, lambda: "interrupted" in shown(app))

    play(scene)


def test_a_new_name_and_tags_leave_the_age() -> None:
    run = make_run("old")
    state = run.state()
    run.path.joinpath("run.json").write_text(
        json.dumps(state | {"updated": "2026-01-01T10:00:00.000+00:00"})
    )

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        before = screen.run and screen.run.updated
        await pilot.press("#", *"keep", "enter")
        await until(pilot, lambda: screen.run and screen.run.tags == ("keep",))
        await pilot.press("M", *"/er", "enter")
        await until(pilot, lambda: screen.run and screen.run.name == "old-er")
        assert "renamed to old-er: a name has letters, digits and" in said(app)
        assert before is not None
        assert screen.run is not None
        assert screen.run.updated == before

    play(scene)


def test_rename_and_tags() -> None:
    make_run("old-name")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("M")
        assert isinstance(app.screen, AskText)
        app.screen.query_one(Input).value = "../new name"
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        await until(pilot, lambda: named(screen) != ["old-name"])
        (name,) = named(screen)
        assert "/" not in name
        assert (archive.runs_root() / name).is_dir()
        await pilot.press("#", *"keep, best,keep", "enter")
        await until(pilot, lambda: archive.open_run(name).state()["tags"] == ["keep", "best"])
        await until(pilot, lambda: screen.run and screen.run.tags == ("keep", "best"))
        assert "tags keep, best" in " ".join(shown(app).split())
        await pilot.press("M", "escape")
        assert named(screen) == [name]

    play(scene)


def test_a_sweep_that_loses_a_run_by_its_new_name_is_said() -> None:
    sweep = plan_sweep({"model": "starter", "data": "starter"}, "it", ["beta=0.1,0.2"], "grid")
    write_sweep(sweep)
    make_run(sweep.cells[0].run)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("M", *"x", "enter")
        await until(pilot, lambda: "the sweep grid has lost this run" in said(app))
        assert f"anew as {sweep.cells[0].run}" in said(app)

    play(scene)


def test_a_run_that_is_gone_and_waits_in_the_queue_is_said() -> None:
    queue.add_run(make_run("waits", status="stopped", steps=3))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("delete")
        assert "the queue would train waits anew" in said(app)
        await pilot.press("u", "M", *"/2", "enter")
        await until(pilot, lambda: "the queue would train waits anew" in said(app))

    play(scene)


def test_config_opens_in_the_form_and_enter_opens_the_run() -> None:
    make_run("a-run", settings=Settings(beta=0.77))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("o")
        form = app.screen
        assert isinstance(form, SetupScreen)
        assert form.form.settings.beta == 0.77
        assert "a-run" in shown(app)
        await pilot.press("f5", "enter")
        assert isinstance(app.screen, RunDetailScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, RunsScreen)

    play(scene)


def test_f5_goes_back_to_the_list_from_what_lies_over_it() -> None:
    make_run("a-run")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("enter")
        await workers_done(app)  # which read its files
        await pilot.press("enter")
        assert isinstance(app.screen, ChartScreen)
        await pilot.press("f5")
        assert app.screen is screen
        await pilot.press("f5")
        assert said(app) == "this is runs already"

    play(scene)


def test_while_words_are_typed_the_keys_are_on_f9() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        assert "? keys" in shown(app)
        await pilot.press("slash", "question_mark")
        await until(pilot, lambda: "f9 keys" in shown(app))
        assert "? keys" not in shown(app)
        await pilot.press("f9")
        assert isinstance(app.screen, KeysOverlay)

    play(scene)


def test_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("done")
    make_run("half", status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        resumed: list[str] = []
        monkeypatch.setattr(app, "resume_run", lambda run, **_: resumed.append(run.name))
        screen = await opened(app, pilot)
        names = named(screen)
        screen.table.cursor = names.index("done")
        await until(pilot, lambda: "r resume" not in shown(app))
        await pilot.press("r")
        assert "is finished" in said(app)
        screen.table.cursor = names.index("half")
        await pilot.press("r")
        assert resumed == ["half"]

    play(scene)


def test_a_run_that_goes_on_is_not_offered_to_be_resumed() -> None:
    """One that trains here is gone to, one of another process can be taken over; neither is deleted
    or renamed."""
    here, there = make_run("here", status="running"), make_run("there", status="running")
    make_run("half", status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        session.run = here  # type: ignore[assignment]
        attach(app, session)
        with here.lock(), trained_elsewhere(there):
            screen = await opened(app, pilot)
            offers = {"half": "r resume", "there": "r take over", "here": ""}
            for name, offer in offers.items():
                screen.table.cursor = named(screen).index(name)
                await until(pilot, lambda offer=offer: offer in shown(app))
                others = {"r resume", "r take over"} - {offer}
                await until(pilot, lambda others=others: not any(o in shown(app) for o in others))
                assert "⏎ open" in shown(app)
            await pilot.press("r")
            assert said(app) == "this run trains here: enter goes to it"
            for key in ("delete", "M"):  # not that its process, which is this one, could be ended
                await pilot.press(key)
                assert said(app) == "this run trains here: stop it first, on the run screen"
            await pilot.press("enter")
            assert app.current_mode == "run"

    play(scene)


def test_going_on_from_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("done")
    run.update(total_steps=10)
    for step in (2, 4, 6):
        with run.checkpoint_folder(step, Best(4, 0.75, 0.6, 1.0) if step > 2 else None):
            pass

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        back: list[int | None] = []
        monkeypatch.setattr(app, "resume_run", lambda run, *, back_to: back.append(back_to))
        await opened(app, pilot)
        await pilot.press("R")
        await until(pilot, lambda: "go on from which step?" in shown(app))
        assert "the best: it won 75% of held-out prompts" in shown(app)
        await pilot.press("down", "enter")  # the newest stands first
        await until(pilot, lambda: back == [4])
        await pilot.press("R")
        await until(pilot, lambda: "go on from which step?" in shown(app))
        await pilot.press("down", "down", "enter")  # before the best
        await until(pilot, lambda: "its checkpoint would go" in shown(app))
        await pilot.press("enter")  # leave it
        await pilot.pause()
        assert back == [4]
        await pilot.press("R")
        await until(pilot, lambda: "go on from which step?" in shown(app))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "its checkpoint would go" in shown(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: back == [4, 2])

    play(scene)


def test_try_it_and_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("a-run")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        asked: list[str] = []
        copied: list[str] = []
        monkeypatch.setattr(app.navigator, "open_try_it", lambda run: asked.append(run.name))
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await opened(app, pilot)
        await pilot.press("B", "y")
        assert asked == ["a-run"]
        assert copied == [str(archive.runs_root() / "a-run")]

    play(scene)


def test_marked_runs_are_compared() -> None:
    three()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("space", "equals_sign")
        assert "mark two or more" in said(app)
        await pilot.press("space")
        assert "2 marked" in shown(app)
        await pilot.press("equals_sign")
        assert isinstance(app.screen, CompareScreen)
        await pilot.press("escape", "escape")
        assert "marked" not in shown(app).splitlines()[0]

    play(scene)


def test_the_runs_of_a_sweep_are_compared_the_best_first() -> None:
    """By the evaluator, where there is one, as the sweep ranks them."""
    sweep = plan_sweep({"model": "starter", "data": "starter"}, "it", ["beta=0.1,0.2,0.3"], "grid")
    write_sweep(sweep)
    names = [cell.run for cell in sweep.cells]
    for name, rates in zip(names, ((0.9, 0.5), (0.5, 0.7), (0.6, 0.6)), strict=True):
        make_run(name, win_rate=rates[0], eval_win_rate=rates[1])

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press("equals_sign")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: len(screen.views) == 3)
        assert [view.name for view in screen.views] == [names[1], names[2], names[0]]

    play(scene)


def test_of_more_marked_runs_than_have_room_the_first_are_compared() -> None:
    for number in range(10):
        make_run(f"run-{number}", steps=3, pairs=0)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot)
        await pilot.press(*["space"] * 10, "equals_sign")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: len(screen.views) == 8)
        await until(pilot, lambda: "the 8 marked first of 10 runs" in said(app))
        assert all(view.name in shown(app) for view in screen.views)

    play(scene)


def test_a_damaged_run_harms_nothing_else() -> None:
    broken = make_run("broken")
    (broken.path / "run.json").write_text('{"step": [')

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        for key in ("enter", "r", "o", "space", "#", "M", "E", "B"):
            await pilot.press(key)
            assert "this run is damaged" in said(app)
            assert app.screen is screen
        for name, reason in (("broken", "run.json"), ("gone", "there is no run 'gone'")):
            app.navigator.open_run_detail(name)  # as the palette does, and enter for one just gone
            assert reason in said(app)
            assert app.screen is screen
        await pilot.press("delete")
        assert "no runs yet" in shown(app)

    play(scene)


def test_export_runs_beside_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("a-run")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("E", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskText))
        app.screen.query_one(Input).value = str(tmp_path / "out")
        await pilot.press("enter")
        done = lambda: app.screen is screen and "not exported" in said(app)  # noqa: E731
        await until(pilot, done, patience=120)
        # The run has no adapters, and the command line's own words say so.
        assert "a-run" in said(app) or str(run.path) in said(app) or "adapter" in said(app)

    play(scene)


def test_a_thousand_runs_are_one_list() -> None:
    one = make_run("run-0000", steps=3, pairs=0)
    for number in range(1, 1000):
        folder = one.path.with_name(f"run-{number:04}")
        folder.mkdir()
        for file in ("run.json", METRICS):
            (folder / file).write_bytes((one.path / file).read_bytes())

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        assert len(screen.table.rows) == 1000
        await pilot.press("end")
        assert len(screen.glances) < 100  # only the rows that were in sight are read

    play(scene)
