"""A picture of every screen at 80 x 24, 120 x 40 and 200 x 50, against those in `pictures/`.

After a change that is meant, `UPDATE_PICTURES=1 pytest tests/tui/test_pictures.py` draws them
anew; look at what changed before you keep it. With another version of Textual than the one
that drew them, only the letters are compared.
"""

import difflib
import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.picture import letters, picture
from tests.tui.scenes import SCENES, stands_still, still
from tests.tui.stage import COMPACT, STANDARD, TIMEOUT, WIDE, play, until
from tui.app import StudioApp

KEPT = Path(__file__).with_name("pictures")


@pytest.fixture
def nothing_changes() -> Iterator[None]:
    """In the world around the app."""
    with still():
        yield


# Those of the same opening of the app: the second after the terminal was enlarged.
SIZES = [(COMPACT, WIDE), (STANDARD,)]


LIGHT = ("setup", "run", "review")  # scenes of which there is one in the light theme too


def file_of(name: str, size: tuple[int, int]) -> Path:
    return KEPT / f"{name}-{size[0]}x{size[1]}.txt"


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("sizes", SIZES, ids=["small", "large"])
@pytest.mark.parametrize("name", SCENES)
def test_looks_as_it_did(name: str, sizes: tuple[tuple[int, int], ...]) -> None:
    take_pictures(name, sizes)


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", LIGHT)
def test_looks_as_it_did_in_the_light(name: str) -> None:
    take_pictures(name, (WIDE,), theme="light")


def take_pictures(name: str, sizes: tuple[tuple[int, int], ...], theme: str = "") -> None:
    """Compare the pictures of a scene, in the app's own theme or in another."""
    draw = "UPDATE_PICTURES" in os.environ
    differences: list[str] = []

    async def take(app: StudioApp, pilot: Pilot[Any]) -> None:
        app.animation_level = "none"
        if theme:
            await until(pilot, lambda: theme in app.available_themes)
            app.theme = theme
        await SCENES[name](app, pilot)
        for size in sizes:
            file = file_of(f"{name}_{theme}" if theme else name, size)
            kept = None if draw else file.read_text(encoding="utf-8")
            if app.size != size:
                await pilot.resize_terminal(*size)
            taken = await settled(app, pilot, kept)
            if kept is None:
                file.parent.mkdir(exist_ok=True)
                file.write_text(taken, encoding="utf-8")
            elif lines := changed(kept, taken):
                differences.extend([file.name, *lines])

    play(take, sizes[0])
    assert not differences, "\n".join(differences)


async def settled(app: StudioApp, pilot: Pilot[Any], kept: str | None) -> str:
    """The picture once nothing moves any more; on a busy machine, a screen may stand still half
    drawn, and it is waited for what was kept."""

    def draw() -> str:
        return f"textual {version('textual')}\n{picture(app)}"

    end = time.monotonic() + TIMEOUT
    taken = await stands_still(pilot, draw)
    while kept and changed(kept, taken) and time.monotonic() < end:
        app.screen.refresh(layout=True)
        taken = await stands_still(pilot, draw)
    return taken


def changed(kept: str, taken: str) -> list[str]:
    """In what two pictures differ; only in their letters, if not drawn by the same version."""
    if kept.partition("\n")[0] != taken.partition("\n")[0]:
        kept, taken = (letters(each.partition("\n")[2]) for each in (kept, taken))
    return list(
        difflib.unified_diff(kept.split("\n"), taken.split("\n"), "kept", "now", lineterm="")
    )


def test_every_picture_is_still_taken() -> None:
    expected = {file_of(name, size).name for name in SCENES for sizes in SIZES for size in sizes}
    expected |= {file_of(f"{name}_light", WIDE).name for name in LIGHT}
    assert {file.name for file in KEPT.iterdir()} == expected
