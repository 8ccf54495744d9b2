"""How the form lies at each width: what of a value is seen, and two sections side by side."""

import pytest
from textual.pilot import Pilot

from engine.settings.schema import SECTIONS, Settings
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.setup.screen import SetupScreen
from tui.setup.section_list import beside, keys_of
from tui.setup.setting_field import SettingField
from tui.setup.setting_line import NAME_WIDTH
from tui.setup.setting_list import Fields
from tui.setup.start_line import StartLine

WIDE = (120, 40)
MODEL = "mlx-community/Qwen3-0.6B-4bit!"  # of 30 cells


def form(app: StudioApp) -> SetupScreen:
    screen = app.screen
    assert isinstance(screen, SetupScreen)
    return screen


def fields(app: StudioApp) -> list[SettingField]:
    return form(app).query_one(Fields).visible_fields()


def test_a_value_of_30_cells_is_whole_at_120_columns_beside_help_of_40() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: MODEL in shown(app))
        assert all(each.size.width >= NAME_WIDTH + 30 for each in fields(app))
        assert form(app).query_one("#side").outer_size.width == 40
        assert "activations" not in shown(app)
        await pilot.press("i")
        await until(pilot, lambda: "activations" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: "activations" not in shown(app))
        assert MODEL in shown(app)

    play(scene, WIDE, Settings(model=MODEL))


def test_a_value_of_30_cells_is_whole_beside_a_scroll_bar_too() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("a")
        form(app).go_to("judge_model")  # among more settings than lines
        await until(pilot, lambda: form(app).query_one(Fields).show_vertical_scrollbar)
        assert all(each.size.width >= NAME_WIDTH + 30 for each in fields(app))
        await until(pilot, lambda: MODEL in shown(app))

    play(scene, (120, 24), Settings(judge_model=MODEL, judge="http://127.0.0.1:9/v1"))


def test_two_sections_stand_side_by_side_at_200_columns() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "activations" in shown(app))
        await pilot.press("a")
        keys = {each.key for each in fields(app)}
        assert keys == {*keys_of(SECTIONS[0]), *keys_of(SECTIONS[1])}
        first, second = fields(app)[0], fields(app)[len(keys_of(SECTIONS[0]))]
        assert (first.key, second.key) == (keys_of(SECTIONS[0])[0], keys_of(SECTIONS[1])[0])
        assert first.region.y == second.region.y
        assert first.region.right < second.region.x
        assert MODEL in shown(app)
        await pilot.press("i")
        assert said(app) == "memory by part stands on the right"

    play(scene, STANDARD, Settings(model=MODEL))


def test_going_about_in_two_sections() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        sections = form(app).browser.sections
        await pilot.press("a")
        form(app).go_to(keys_of(SECTIONS[1])[1])
        await pilot.pause()
        assert sections.section == SECTIONS[1]
        await pilot.press("up", "up")  # above the second column ends the first
        await until(pilot, lambda: form(app).guide_topic() == keys_of(SECTIONS[0])[-1])
        assert sections.section == SECTIONS[0]
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: form(app).guide_topic() == keys_of(SECTIONS[1])[0])
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: form(app).guide_topic() == keys_of(SECTIONS[2])[0])
        form(app).go_to(keys_of(SECTIONS[1])[0])
        await pilot.pause()
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: form(app).guide_topic() == keys_of(SECTIONS[0])[0])
        await pilot.press("down")
        for _ in fields(app):
            await pilot.press("down")
        assert isinstance(app.focused, StartLine)

    play(scene, STANDARD)


def test_another_width_lays_the_form_anew_and_keeps_the_cursor() -> None:
    key = keys_of(SECTIONS[1])[2]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("a")
        form(app).go_to(key)
        await pilot.pause()
        for size, sections in ((COMPACT, 1), (STANDARD, 2), (WIDE, 1), (STANDARD, 2)):
            await pilot.resize_terminal(*size)
            await until(
                pilot, lambda n=sections: len({each.setting.section for each in fields(app)}) == n
            )
            assert form(app).guide_topic() == key

    play(scene, STANDARD)


@pytest.mark.parametrize("words", ["rank", "learning"])
def test_a_search_has_one_column_at_any_width(words: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("slash", *words)
        await until(pilot, lambda: len({each.region.x for each in fields(app)}) == 1)
        await pilot.press("escape")
        await until(pilot, lambda: len({each.region.x for each in fields(app)}) == 2)

    play(scene, STANDARD)


def test_every_section_has_a_place_beside_another() -> None:
    pages = {tuple(beside(section)) for section in SECTIONS}
    assert sorted(each for page in pages for column in page for each in column) == sorted(SECTIONS)
    for section in SECTIONS:
        assert any(section in column for column in beside(section))
        assert all(column for column in beside(section))
