"""What every screen writes can be read in every theme, by the ratios of the WCAG."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.segment import Segment
from textual.pilot import Pilot

from tests.tui.scenes import SCENES, stands_still, still
from tests.tui.stage import COMPACT, STANDARD, WIDE, play, shown
from tests.tui.test_themes import contrast
from tui.app import StudioApp
from tui.shell import themes

pytestmark = pytest.mark.slow

TEXT, QUIET = 4.5, 3.0  # the least contrast of text, and of labels, defaults, times and drawings
NAMES = [name for name, theme in themes.find([themes.BUNDLED]).themes.items() if not theme.ansi]
LARGER = ["light"]  # what has more parts on a larger screen has no other colours there
DRAWING = re.compile(r"[\u2500-\u259f\u2800-\u28ff\s]+")  # lines, blocks, dots
SHADED = {"keys", "health", "question", "palette"}  # lie over a screen that is dimmed on purpose


@pytest.mark.parametrize("name", sorted(SCENES.keys() - SHADED))
def test_all_that_is_written_can_be_read(name: str) -> None:
    faults: set[tuple[str, str, str, float]] = set()

    async def look(app: StudioApp, pilot: Pilot[Any]) -> None:
        app.animation_level = "none"
        await SCENES[name](app, pilot)
        for size, names in ((COMPACT, NAMES), (WIDE, LARGER), (STANDARD, LARGER)):
            if app.size != size:
                await pilot.resize_terminal(*size)
            for theme in names:
                app.theme = theme
                await stands_still(pilot, lambda: shown(app))
                faults.update((theme, *fault) for fault in unreadable(app))

    with still():
        play(look)
    assert not faults


def unreadable(app: StudioApp) -> Iterator[tuple[str, str, float]]:
    """What is written with too little contrast, its colours, and the ratio."""
    quiet = {app.theme_variables[each].lower() for each in ("muted", "faint")}
    for strip in app.screen._compositor.render_strips():
        for segment in strip:
            if pair := colors_of(segment):
                ink, ground = pair
                drawing = DRAWING.fullmatch(segment.text)
                ratio = contrast(ink, ground)
                if ratio < (QUIET if drawing or ink in quiet else TEXT) - 0.005:
                    yield segment.text.strip()[:40], f"{ink} on {ground}", round(ratio, 2)


def colors_of(segment: Segment) -> tuple[str, str] | None:
    """The colour of the ink and of the ground; None where nothing is written."""
    style = segment.style
    if not segment.text.strip() or style is None or style.color is None or style.bgcolor is None:
        return None
    ink, ground = style.color.get_truecolor().hex, style.bgcolor.get_truecolor().hex
    return (ground, ink) if style.reverse else (ink, ground)
