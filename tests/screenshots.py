"""The screenshots of the README, as SVG: `python -m tests.screenshots` draws them anew.

They show scenes that `tests/tui/test_pictures.py` compares as text, and a test holds each against
that text: after a change of one of these screens, draw both.
"""

import os
import re
import tempfile
from html import unescape
from itertools import groupby
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from tests.tui.stage import COMPACT, play
from tui.app import StudioApp

FOLDER = Path(__file__).parents[1] / ".github" / "pictures"
# By the name of their scene, what stands in the frame's title.
SHOTS = {
    "setup": "the form",
    "run": "a run",
    "review": "labelling by hand",
    "runs_list": "all runs",
    "chat": "a chat with two models",
}
# A picture in a page may load nothing, so it names only what a machine may have.
FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
FONTS = "Fira Code, ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
TEXT = re.compile(r'<text [^>]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')


def main() -> None:
    """Draw every one."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    FOLDER.mkdir(exist_ok=True)
    for name in SHOTS:
        with tempfile.TemporaryDirectory() as home:
            os.environ["LORA_STUDIO_HOME"] = home
            file_of(name).write_text(draw(name), encoding="utf-8")
            print(file_of(name).relative_to(FOLDER.parents[1]))


def file_of(name: str) -> Path:
    """Where the screenshot of a scene lies."""
    return FOLDER / f"{name}.svg"


def draw(name: str) -> str:
    """A scene as SVG, in the default theme."""
    from tests.tui.scenes import SCENES, stands_still, still

    drawings: list[str] = []

    async def take(app: StudioApp, pilot: Pilot[Any]) -> None:
        app.animation_level = "none"
        await SCENES[name](app, pilot)
        title = f"LoRA Studio: {SHOTS[name]}"
        drawings.append(await stands_still(pilot, lambda: app.export_screenshot(title=title)))

    with still():
        play(take, COMPACT)
    return FONT_FACE.sub("", drawings[0]).replace("Fira Code, monospace", FONTS)


def letters(svg: str) -> list[str]:
    """What a drawing says, a string a line, without spaces: those at the ends of its pieces are not
    drawn."""
    pieces = [(float(y), float(x), unescape(text)) for x, y, text in TEXT.findall(svg)]
    lines = groupby(sorted(pieces), key=lambda piece: piece[0])
    return ["".join("".join(text for *_, text in line).split()) for _, line in lines]


if __name__ == "__main__":
    main()
