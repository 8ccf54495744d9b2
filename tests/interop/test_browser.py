"""`lora-studio serve` in a real browser: Chromium without a window, driven by playwright.

Needs the extra `serve`, `pip install playwright` and a Chromium (`apt install chromium`).
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyte
import pytest

from engine.runs import archive
from engine.runs.folder import PAIRS, Run
from engine.runs.remote import post
from tests.end_to_end.program import TIMEOUT
from tests.end_to_end.review_screen import read
from tests.end_to_end.test_serve import UNKNOWN, Served, servers
from tests.end_to_end.test_terminal_person import CONFIG

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt install chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="pip install playwright"),
    pytest.mark.skipif(find_spec("textual_serve") is None, reason="the extra serve is missing"),
]


class Page:
    """A tab of the browser. Its terminal is drawn as a picture, so what it shows is told from what
    it was sent; keys go through the page."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._screen = pyte.Screen(240, 80)  # larger than the page's; the rest stays empty
        self._stream = pyte.ByteStream(self._screen)
        page.on("websocket", lambda socket: socket.on("framereceived", self._take_in))

    def _take_in(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            self._stream.feed(UNKNOWN.sub(b"", frame))

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def open(self, address: str) -> None:
        self._page.goto(address)
        self._page.locator(".xterm-helper-textarea").focus()

    def wait_for(self, shows: Callable[[str], Any]) -> None:
        """Until a condition holds of what is shown, or of what it looks at itself."""
        end = time.monotonic() + TIMEOUT
        while not shows(self.text):
            assert time.monotonic() < end, self.text
            self._page.wait_for_timeout(300)

    def press(self, key: str) -> None:
        self._page.keyboard.press(key)

    def picture(self) -> bytes:
        """What a person sees, as PNG."""
        return self._page.screenshot()


@pytest.fixture
def page() -> Iterator[Page]:
    library: Any = import_module("playwright.sync_api")
    with library.sync_playwright() as playwright:
        # Without a sandbox, which root cannot have.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Page(browser.new_page(viewport={"width": 1280, "height": 800}))
        browser.close()


@pytest.fixture
def serve(studio_home: Path) -> Iterator[Callable[..., Served]]:
    with servers(studio_home) as start:
        yield start


def test_a_run_is_watched(serve: Callable[..., Served], page: Page) -> None:
    served = serve()
    page.open(served.address)
    page.wait_for(lambda text: "▶ start" in text)
    form = page.picture()
    page.press("Enter")
    page.wait_for(lambda text: re.search(r"step [1-9]\d* / 80", text))
    page.wait_for(lambda text: "newest pair" in text or "last pairs" in text)
    assert page.picture() != form
    [summary] = archive.list_runs()
    run = Run(summary.path)
    assert run.holder()
    post(run, "stop")
    page.wait_for(lambda text: run.holder() is None)


def test_a_pair_is_judged(serve: Callable[..., Served], page: Page, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG)
    page.open(serve(str(config)).address)
    page.wait_for(lambda text: "▶ start" in text)
    page.press("Enter")
    page.wait_for(lambda text: read(text.split("\n")))
    page.press("1")
    page.wait_for(lambda text: [*archive.open_run("by-hand").read(PAIRS)])
    [label] = archive.open_run("by-hand").read(PAIRS)
    assert label["judge"] == "human"
    post(archive.open_run("by-hand"), "stop")
    page.wait_for(lambda text: archive.open_run("by-hand").holder() is None)
