"""The screenshots of the README show what the screens show now."""

import re
from pathlib import Path

import pytest

from tests.screenshots import FOLDER, SHOTS, file_of, letters
from tests.tui import picture
from tests.tui.stage import COMPACT
from tests.tui.test_pictures import file_of as picture_of

pytestmark = pytest.mark.quick

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
AGAIN = "run: python -m tests.screenshots"


@pytest.mark.parametrize("name", SHOTS)
def test_a_screenshot_says_what_the_picture_of_its_scene_says(name: str) -> None:
    text = picture_of(name, COMPACT).read_text(encoding="utf-8").partition("\n")[2]
    lines = ["".join(line.split()) for line in picture.letters(text).splitlines()]
    drawn = letters(file_of(name).read_text(encoding="utf-8"))
    assert [line for line in drawn if line] == [line for line in lines if line], AGAIN


def test_the_readme_shows_every_screenshot() -> None:
    shown = re.findall(r"!\[[^]]+\]\(\.github/pictures/(\w+)\.svg\)", README)
    assert sorted(shown) == sorted(SHOTS)
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}.svg" for name in SHOTS}


@pytest.mark.parametrize("name", SHOTS)
def test_a_screenshot_stands_alone(name: str) -> None:
    """It loads nothing, names no folder of a machine, and is no burden to a page."""
    svg = file_of(name).read_text(encoding="utf-8")
    assert len(svg.encode()) < 200_000
    assert set(re.findall(r"https?://[^\"'<\s]+", svg)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
    }
    assert "url(http" not in svg
    for line in letters(svg):
        assert not re.search(r"/(?:tmp|home|root|Users)\b", line), line
