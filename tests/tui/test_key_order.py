"""Keys that arrive in one piece do what they would do one by one."""

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import OptionList

from tests.tui.archive import make_run
from tests.tui.stage import play, said, shown, until
from tui.app import StudioApp
from tui.archive.runs_screen import RunsScreen
from tui.setup.screen import SetupScreen
from tui.setup.setting_list import Fields
from tui.setup.start_line import StartLine
from tui.shell.ask import AskChoice


def send(app: StudioApp, *keys: str) -> None:
    """Keys all at once: nothing has happened when the last one is there."""
    for key in keys:
        char = key if len(key) == 1 else None
        app.post_message(events.Key(_character_to_key(key) if char else key, char))


def setup(app: StudioApp) -> SetupScreen:
    assert isinstance(app.screen, SetupScreen)
    return app.screen


def key_in_focus(app: StudioApp) -> str:
    """The setting whose field has the focus; empty: none has."""
    field = setup(app).query_one(Fields).current
    return field.key if field else ""


def chosen(app: StudioApp) -> int | None:
    """Which answer of the question in front is lit; None: there is no question."""
    asks = isinstance(app.screen, AskChoice) and app.screen.is_mounted
    return app.screen.query_one(OptionList).highlighted if asks else None


def test_words_and_enter_search_and_do_not_start_a_run() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert isinstance(app.focused, StartLine)
        send(app, *"/beta", "enter")
        await until(pilot, lambda: key_in_focus(app) == "beta")
        assert app.session is None

    play(scene)


def test_keys_right_after_the_list_was_asked_for_reach_it() -> None:
    for number in range(4):
        make_run(f"run-{number}", steps=3, pairs=0)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        send(app, "f5", "j", "<", "/", *"run-2")
        await until(pilot, lambda: "/ run-2" in shown(app))
        assert isinstance(app.screen, RunsScreen)
        assert app.screen._order.flipped
        await until(pilot, lambda: [run.name for run in app.screen.table.rows] == ["run-2"])  # type: ignore[attr-defined]

    play(scene)


def test_a_key_after_the_words_of_a_filter_is_for_the_list() -> None:
    for number in range(3):
        make_run(f"run-{number}", steps=3, pairs=0)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f5")
        await until(pilot, lambda: "3 runs" in shown(app))
        send(app, "/", *"run-1", "enter", " ", "/", *["backspace"] * 5, *"run-2", "enter", " ")
        await until(pilot, lambda: "2 marked" in shown(app))
        assert "/ run-2 " in shown(app)

    play(scene)


def test_a_key_for_a_run_before_the_runs_are_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunsScreen, "read_runs", lambda self: None)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        send(app, "f5", "space")
        await until(pilot, lambda: said(app) == "the runs are still being read")

    play(scene)


def test_a_question_is_answered_by_the_keys_behind_it() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        send(app, "O", "escape", "f5", "f2", "/", *"seed", "escape", "O", "j")
        await until(pilot, lambda: chosen(app) == 1)
        send(app, "escape", "Y")
        await until(pilot, lambda: app.screen.has_class("-yaml"))

    play(scene)


def test_what_is_pasted_waits_for_its_turn() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        send(app, "/")
        app.post_message(events.Paste("learning"))
        send(app, "enter")
        await until(pilot, lambda: key_in_focus(app) == "learning_rate")

    play(scene)


def test_a_key_waits_for_the_cursor_of_a_screen_that_is_being_made() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        answers: list[str | None] = []
        for _ in range(5):
            await app.push_screen(AskChoice("which?", [("one", ""), ("two", "")]), answers.append)
            send(app, "down", "enter")
            await until(pilot, lambda: not isinstance(app.screen, AskChoice))
        assert answers == ["two"] * 5

    play(scene)
