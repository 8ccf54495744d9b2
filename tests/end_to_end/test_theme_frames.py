"""While a theme takes the place of another, no frame is drawn in both."""

from pathlib import Path

import pyte

from tests.end_to_end.pseudo_terminal import FRAME_END, PseudoTerminal, feed, studio
from tui.shell import themes

F8, ESCAPE = "\x1b[19~", "\x1b"
TOUR = (("high-contrast", "j"), ("light", "j"), ("monochrome", "j"), ("light", "k"))


def grounds(name: str) -> set[str]:
    """The colours that lie behind text in a theme, as pyte names them."""
    theme = themes.find([themes.BUNDLED]).themes[name]
    if theme.ansi:
        return {"default"}
    return {str(color).lstrip("#") for color in (theme.background, theme.surface)}


def behind_text(screen: pyte.Screen) -> set[str]:
    """The colours that lie behind the cells of a screen."""
    return {screen.buffer[y][x].bg for y in range(screen.lines) for x in range(screen.columns)}


def frames_of(terminal: PseudoTerminal) -> list[set[str]]:
    """The colours behind text in each frame that the program drew."""
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    colors = []
    for frame in b"".join(data for _, data in terminal.arrived).split(FRAME_END)[:-1]:
        feed(stream, frame + FRAME_END)
        colors.append(behind_text(screen))
    return colors


def test_no_frame_is_of_two_themes(studio_home: Path) -> None:
    def in_theme(name: str) -> bool:
        now = behind_text(terminal.screen) & everywhere
        return bool(now) and now <= grounds(name)

    everywhere = set[str]().union(*(grounds(name) for name in ("dark", *dict(TOUR))))
    with studio(studio_home) as terminal:
        terminal.wait_for("▶ start")
        opening = len(frames_of(terminal))
        terminal.press(F8)
        terminal.wait_for("esc as before")
        for name, key in TOUR:
            terminal.press(key)
            terminal.wait_for(lambda _, name=name: in_theme(name))
        terminal.press(ESCAPE)
        terminal.wait_for(lambda text: "esc as before" not in text and in_theme("dark"))
        frames = frames_of(terminal)[opening:]
    names = ("dark", *dict(TOUR))
    themed = [[name for name in names if colors & grounds(name)] for colors in frames]
    drawn = [each for each in themed if each]
    assert {tuple(each) for each in drawn} <= {(name,) for name in names}, drawn
    assert [name for name in names if [name] in drawn] == list(names)
