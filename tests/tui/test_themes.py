"""Theme files: the program's own, a user's, broken ones, and changes while the app runs."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color
from textual.css.stylesheet import Stylesheet
from textual.pilot import Pilot

from engine.errors import UserError
from tests.tui.stage import play, said, shown, until
from tui.app import StudioApp
from tui.archive.runs_screen import RunsScreen
from tui.run.screen import RunScreen
from tui.setup.screen import SetupScreen
from tui.shell import preferences, themes

pytestmark = pytest.mark.quick


GOOD = (themes.BUNDLED / "dark.yaml").read_text()


def luminance(color: Color) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""

    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.r) + 0.7152 * linear(color.g) + 0.0722 * linear(color.b)


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(Color.parse(one)), luminance(Color.parse(other))))
    return (high + 0.05) / (low + 0.05)


def test_the_bundled_themes() -> None:
    found = themes.find([themes.BUNDLED])
    assert found.problems == ()
    assert set(found.themes) == {
        "dark",
        "light",
        "high-contrast",
        "blue-orange-dark",
        "blue-orange-light",
        "monochrome",
    }


@pytest.mark.parametrize(
    "name", ["dark", "light", "high-contrast", "blue-orange-dark", "blue-orange-light"]
)
def test_text_can_be_read_on_both_backgrounds(name: str) -> None:
    theme = themes.find([themes.BUNDLED]).themes[name]
    colors = {**theme.variables, "foreground": theme.foreground, "accent": theme.accent}
    least = 7.0 if name == "high-contrast" else 4.5
    for ground in (theme.background, theme.surface):
        for key in ("foreground", "accent", "muted", "good", "bad"):
            assert contrast(str(colors[key]), str(ground)) >= least, (key, ground)
        assert contrast(colors["faint"], str(ground)) >= 3
    focus = Color.parse(str(theme.background)).blend(Color.parse(str(theme.accent)), 0.2).hex
    for key in ("foreground", "accent"):
        assert contrast(str(colors[key]), focus) >= 4.5, key
    assert contrast(colors["muted"], focus) >= 3


@pytest.mark.parametrize("system", [ColorSystem.EIGHT_BIT, ColorSystem.STANDARD])
def test_few_colours_are_enough(system: ColorSystem) -> None:
    for theme in themes.find([themes.BUNDLED]).themes.values():
        if theme.ansi:
            continue

        def seen(color: object, system: ColorSystem = system) -> int | None:
            return RichColor.parse(str(color)).downgrade(system).number

        grounds = {seen(theme.background), seen(theme.surface)}
        names = ("muted", "faint", "good", "bad", "series-1", "series-2", "series-6")
        for color in (theme.foreground, theme.accent, *(theme.variables[name] for name in names)):
            assert seen(color) not in grounds, (theme.name, color)
        assert len(grounds) == 2 or system is ColorSystem.STANDARD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("accent:", "acent:"), "did you mean accent?"),
        (('"#7cc4ff"\ngood', '"sky"\ngood'), "accent is 'sky'"),
        (("dark: true", "dark: maybe"), "dark has to be true or false"),
        (("series: [", "series: 7 #"), "list of 6 colours"),
        (("name: dark", "name: ../dark"), "name has to be"),
        (("name: dark\n", ""), "name is missing"),
        (("muted:", "muted: ["), "line"),
    ],
)
def test_a_broken_file_is_named_with_its_error(
    change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace(*change))
    found = themes.find([themes.BUNDLED, tmp_path])
    assert len(found.themes) == 6
    assert len(found.problems) == 1
    assert str(tmp_path / "mine.yaml") in found.problems[0]
    assert words in found.problems[0]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_theme_or_a_sentence(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.yaml"
        file.write_bytes(data)
        with contextlib.suppress(UserError):
            themes.read(file)


def test_a_users_theme_takes_the_place_of_ours(studio_home: Path) -> None:
    folder = studio_home / "themes"
    folder.mkdir()
    (folder / "dark.yaml").write_text(GOOD.replace("#111316", "#000001"))
    preferences.save(theme="dark")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert app.current_theme.background == "#000001"

    play(scene)


def test_a_theme_changes_while_the_app_runs(studio_home: Path) -> None:
    folder = studio_home / "themes"
    folder.mkdir()
    file = folder / "mine.yaml"
    file.write_text(GOOD.replace("name: dark", "name: mine"))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "mine" in app.available_themes)
        app.theme = "mine"
        await pilot.pause()
        file.write_text(GOOD.replace("name: dark", "name: mine").replace("#111316", "#123456"))
        await until(pilot, lambda: app.screen.styles.background.hex == "#123456")
        file.write_text("name: mine")
        await until(pilot, lambda: "is missing" in said(app))
        assert app.theme == themes.DEFAULT

    play(scene)


def test_every_mode_has_the_theme_of_now_and_opening_one_reads_no_style_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_again: list[str] = []
    reparse = Stylesheet.reparse

    def counted(sheet: Stylesheet) -> None:
        read_again.append("all styles")
        reparse(sheet)

    def wears_theme(app: StudioApp) -> bool:
        background = app.screen.styles.background
        return background == Color.parse(app.current_theme.background or "")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        monkeypatch.setattr(Stylesheet, "reparse", counted)
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        assert wears_theme(app)
        assert read_again == []
        for theme in ("light", "high-contrast"):
            app.theme = theme
            await pilot.press("f2")
            await until(pilot, lambda: isinstance(app.screen, SetupScreen) and wears_theme(app))
            await pilot.press("f3")
            await until(pilot, lambda: isinstance(app.screen, RunScreen) and wears_theme(app))
            await pilot.press("f5")
            await until(pilot, lambda: isinstance(app.screen, RunsScreen) and wears_theme(app))

    play(scene)


def test_the_picker_tries_each_and_remembers_the_chosen_one() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: len(app.available_themes) == 6)
        await pilot.press("f8", "j")
        assert app.theme == "high-contrast"
        assert "enter use" in shown(app)
        await pilot.press("escape")
        assert app.theme == "dark"
        await pilot.press("f8", "j", "k", "k", "k", "enter")
        assert app.theme == "blue-orange-dark"
        assert preferences.load()["theme"] == "blue-orange-dark"

    play(scene)


def test_no_color_means_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert app.theme == "monochrome"
        strips = app.screen._compositor.render_strips()
        for filter_ in app.get_line_filters():
            strips = [strip.apply_filter(filter_, Color.parse("black")) for strip in strips]
        for strip in strips:
            for segment in strip:
                for color in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                    assert color is None or color.is_default

    play(scene)
