"""What is pasted into an editor: terminals send a carriage return for each line break."""

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from engine.settings.schema import Settings
from tests.tui.stage import play
from tui.app import StudioApp
from tui.setup.screen import SetupScreen

LINES = [
    ("short\rwins", "short\nwins"),
    ("short\r\nwins", "short\nwins"),
    ("short\n\rwins", "short\n\nwins"),
    ("- a\t1\r- b\t2\r", "- a    1\n- b    2\n"),
    ("x" * 120_000, "x" * 120_000),
]
ONE_LINE = [
    ("two\rwords", "two words"),
    ("two\r\n\r\nwords\r\n", "two words"),
    ("two\twords", "two words"),
    ("\rtwo\nwords", "two words"),
    ("two\u2028words", "two words"),
]


async def editor_of(app: StudioApp, pilot: Pilot[int], key: str) -> Input | TextArea:
    screen = app.screen
    assert isinstance(screen, SetupScreen)
    screen.go_to(key)
    await pilot.press("enter")
    await pilot.pause()
    editor = app.focused
    assert isinstance(editor, Input | TextArea)
    return editor


@pytest.mark.parametrize(("pasted", "kept"), LINES)
def test_line_breaks_pasted_into_the_rubric_are_line_breaks(pasted: str, kept: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, "judge_system")
        assert isinstance(editor, TextArea)
        editor.select_all()
        app.post_message(events.Paste(pasted))
        await pilot.pause()
        assert editor.text == kept
        assert isinstance(app.screen, SetupScreen)
        assert app.screen.form.settings.judge_system == kept

    play(scene)


def test_a_rubric_with_carriage_returns_from_a_file_is_mended_in_its_editor() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, "judge_system")
        assert isinstance(editor, TextArea)
        assert editor.text == "short\nwins"

    play(scene, settings=Settings(judge_system="short\r\nwins"))


@pytest.mark.parametrize(("pasted", "kept"), ONE_LINE)
def test_several_lines_pasted_into_one_are_joined_by_spaces(pasted: str, kept: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, "run_name")
        assert isinstance(editor, Input)
        app.post_message(events.Paste(pasted))
        await pilot.pause()
        assert editor.value == kept
        assert editor.cursor_position == len(kept)

    play(scene)


def test_what_is_pasted_stands_where_the_cursor_was() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, "run_name")
        assert isinstance(editor, Input)
        await pilot.press(*"ad", "left")
        app.post_message(events.Paste("b\r\nc"))
        await pilot.press("X")
        assert editor.value == "ab cXd"

    play(scene)


def test_line_breaks_from_the_programs_own_clipboard() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.set_clipboard("b\r\nc")
        editor = await editor_of(app, pilot, "run_name")
        assert isinstance(editor, Input)
        await pilot.press("ctrl+v")
        assert editor.value == "b c"

    play(scene)


def test_yaml_is_pasted_line_by_line() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("Y")
        editor = app.focused
        assert isinstance(editor, TextArea)
        editor.select_all()
        app.post_message(events.Paste("beta: 0.7\rjudge_system: |\r\n  a\r\n  b\r"))
        await pilot.pause()
        assert isinstance(app.screen, SetupScreen)
        assert app.screen.form.settings.beta == 0.7
        assert app.screen.form.settings.judge_system == "a\nb\n"

    play(scene)
