"""What is pasted into an editor: terminals send a carriage return for each line break."""

import pytest
from rich.cells import cell_len
from textual import events
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from engine.settings.schema import Settings
from tests.hostile import harmful
from tests.tui.stage import play, shown, until
from tui.app import StudioApp
from tui.setup.screen import SetupScreen
from tui.text.safe_text import safe

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


# Text that is another one without what joins and keeps apart its letters and emoji.
SHAPED = [
    "می\u200cخواهم",
    "क\u094d\u200dष क\u094d\u200cष",
    "👩🏽\u200d⚕\ufe0f 👨\u200d👩\u200d👧 ❤\ufe0f",
]
HIDDEN = [
    ("a" + "\u200c\u200d" * 9, "a\u200c\u200d"),
    ("\u200dx\u2060y", "x<U+2060>y"),
    ("a\u202eb", "a<U+202E>b"),
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


def test_of_a_line_that_is_longer_than_its_room_the_part_at_the_cursor_is_seen() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, "run_name")
        await until(pilot, lambda: bool(editor.scrollable_content_region))
        app.post_message(events.Paste("its-start" + "-x" * 300 + "-its-end"))
        await until(pilot, lambda: "-its-end" in shown(app))
        await pilot.press("home")
        await until(pilot, lambda: "its-start-x" in shown(app))

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


@pytest.mark.parametrize("key", ["judge_system", "run_name"])
@pytest.mark.parametrize("how", ["typed", "pasted"])
@pytest.mark.parametrize("text", SHAPED)
def test_what_joins_letters_and_emoji_is_kept_and_not_drawn(key: str, how: str, text: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, key)
        editor.select_all()
        await pilot.press("backspace")
        if how == "pasted":
            app.post_message(events.Paste(text))
        else:
            for character in text:
                app.post_message(events.Key("a", character))
        await pilot.pause()
        await until(pilot, lambda: value_of(editor) == text)
        app.post_message(events.Key("x", "x"))
        await until(pilot, lambda: value_of(editor) == f"{text}x")
        # Drawn without them, with each character and the cursor after it in its own cells.
        line = next(row for row in shown(app).splitlines() if f"{safe(text)}x" in row)
        assert not harmful(line)
        strips = editor.render_lines(Region(0, 0, editor.size.width, 1))
        assert strips[0].cell_length == cell_len(strips[0].text)
        before = strips[0].text.partition("x")[0]
        assert cell_len(before.lstrip()) == cell_len(safe(text))
        await pilot.press("left")
        cursor = editor.cursor_screen_offset
        await pilot.press("home")
        assert cursor - editor.cursor_screen_offset == (cell_len(safe(text)), 0)
        await pilot.press("end")
        await pilot.press("backspace", "backspace")
        assert value_of(editor) == text[:-1]

    play(scene)


def value_of(editor: TextArea | Input) -> str:
    return editor.text if isinstance(editor, TextArea) else editor.value


@pytest.mark.parametrize("key", ["judge_system", "run_name"])
@pytest.mark.parametrize(("pasted", "kept"), HIDDEN)
def test_nothing_is_hidden_in_an_editor(key: str, pasted: str, kept: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, key)
        editor.select_all()
        app.post_message(events.Paste(pasted))
        await until(pilot, lambda: value_of(editor) == kept)

    play(scene)


def test_what_was_kept_is_copied_undone_and_shown_again() -> None:
    text = SHAPED[0]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await editor_of(app, pilot, "judge_system")
        assert isinstance(editor, TextArea)
        assert editor.text == text
        editor.select_all()
        assert editor.selected_text == text
        await pilot.press("backspace")
        assert editor.text == ""
        await pilot.press("alt+u")
        assert editor.text == text

    play(scene, settings=Settings(judge_system=text))
