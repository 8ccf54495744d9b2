"""`lora-studio serve`: the app in a browser, played by a client of its protocol."""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pyte
import pytest

from engine.runs import archive
from engine.runs.folder import PAIRS, Run
from engine.runs.remote import post
from tests.command import Command
from tests.end_to_end.program import TIMEOUT
from tests.end_to_end.review_screen import read
from tests.end_to_end.test_terminal_person import CONFIG
from tui.cli import serve_command

installed = pytest.mark.skipif(
    find_spec("textual_serve") is None, reason="the extra serve is not installed"
)
# Sequences that pyte does not know and would show as text.
UNKNOWN = re.compile(rb"\x1b\[[<>=?][0-9;]*\$?[a-zA-Z]|\x1b\][^\x07\x1b]*")


class Browser:
    """A tab: what it shows, and keys for it."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._screen = pyte.Screen(100, 40)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    async def wait_for(self, shows: Callable[[str], Any]) -> None:
        """Until a condition holds of what is shown, or of what it looks at itself."""
        end = time.monotonic() + TIMEOUT
        while not shows(self.text):
            assert time.monotonic() < end, self.text
            try:
                message = await self._socket.receive(timeout=0.5)
            except TimeoutError:
                continue
            assert isinstance(message.data, bytes | str), self.text
            if isinstance(message.data, bytes):
                self._stream.feed(UNKNOWN.sub(b"", message.data))

    async def press(self, keys: str) -> None:
        await self._socket.send_json(["stdin", keys])


class Served:
    """The server, and the address that it has printed."""

    def __init__(self, home: Path, *arguments: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.home = home
        command = [sys.executable, "-m", "tui.main", "serve", *arguments, "--port", str(self.port)]
        environment = {**os.environ, "LORA_STUDIO_HOME": str(home)}
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()

    def visit(self, scene: Callable[[Browser], Coroutine[Any, Any, None]]) -> None:
        """Play a scene in a tab, which is closed at its end."""

        async def play() -> None:
            aiohttp = import_module("aiohttp")
            jar = aiohttp.CookieJar(unsafe=True)  # of an address that is a number
            async with aiohttp.ClientSession(cookie_jar=jar) as client:
                async with client.get(self.address) as page:
                    assert page.status == 200
                    assert "token" not in str(page.url)
                url = f"ws://127.0.0.1:{self.port}/ws?width=100&height=40"
                async with client.ws_connect(url) as tab:
                    await scene(Browser(tab))

        asyncio.run(play())


@contextlib.contextmanager
def servers(home: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers, which end with it."""
    started: list[Served] = []

    def start(*arguments: str) -> Served:
        started.append(Served(home, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.terminate()
        each.process.communicate(timeout=TIMEOUT)


@pytest.fixture
def serve(studio_home: Path) -> Iterator[Callable[..., Served]]:
    with servers(studio_home) as start:
        yield start


@installed
def test_nobody_comes_in_without_the_address(serve: Callable[..., Served]) -> None:
    served = serve()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}", served.address)
    own = f"http://127.0.0.1:{served.port}"

    async def visits() -> None:
        aiohttp = import_module("aiohttp")

        async def status(client: Any, address: str, **headers: str) -> int:
            async with client.get(address, headers=headers, allow_redirects=False) as page:
                return page.status

        async with aiohttp.ClientSession() as stranger:
            for address in (
                own,
                f"{own}/?token=x",
                f"{own}/?token=",
                f"{own}/ws",
                f"{own}/static/",
            ):
                assert await status(stranger, address) == 403, address
            # Nor with the address, by way of another name or page.
            other = {"Host": f"evil.example:{served.port}"}
            assert await status(stranger, served.address, **other) == 403
            assert await status(stranger, served.address, Origin="http://evil.example") == 403
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as owner:
            assert await status(owner, served.address) == 303
            assert await status(owner, own) == 200
            evil = {"Origin": "http://evil.example"}
            assert await status(owner, f"{own}/ws", **evil) == 403
            [cookie] = jar
            assert cookie["httponly"]
            assert cookie["samesite"] == "Strict"
        async with aiohttp.ClientSession() as second:
            assert await status(second, served.address) == 403  # it was used

    asyncio.run(visits())
    listening = [
        each.laddr.ip
        for each in psutil.Process(served.process.pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


@installed
def test_a_run_is_watched_and_outlives_its_tab(serve: Callable[..., Served]) -> None:
    async def scene(tab: Browser) -> None:
        await tab.wait_for(lambda text: "▶ start" in text)
        await tab.press("\r")
        await tab.wait_for(lambda text: re.search(r"step [1-9]\d* / 80", text))

    serve().visit(scene)
    [summary] = archive.list_runs()
    run = Run(summary.path)
    step = run.state()["step"]
    end = time.monotonic() + TIMEOUT
    while run.holder() and run.state()["step"] <= step and time.monotonic() < end:
        time.sleep(0.1)
    assert run.state()["step"] > step  # as on_hangup says
    post(run, "stop")
    while run.holder() and time.monotonic() < end:
        time.sleep(0.1)
    assert run.holder() is None
    assert "the terminal is gone; the run goes on without it" in (run.path / "log.txt").read_text()


@installed
def test_a_pair_is_judged(serve: Callable[..., Served], tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(CONFIG)

    async def scene(tab: Browser) -> None:
        await tab.wait_for(lambda text: "▶ start" in text)
        await tab.press("\r")
        await tab.wait_for(lambda text: read(text.split("\n")))
        await tab.press("1")
        await tab.wait_for(lambda text: [*archive.open_run("by-hand").read(PAIRS)])

    serve(str(config)).visit(scene)
    run = archive.open_run("by-hand")
    end = time.monotonic() + TIMEOUT
    while run.holder() and time.monotonic() < end:  # nobody is there to judge
        time.sleep(0.1)
    assert run.state()["status"] == "stopped"
    [label] = run.read(PAIRS)
    assert label["judge"] == "human"


@installed
def test_open_tabs_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.cli.serve import StudioServer

    asked: dict[str, Any] = {}

    def run_app(app: Coroutine[Any, Any, Any], **how: Any) -> None:
        app.close()
        asked.update(how)

    monkeypatch.setattr(import_module("aiohttp.web"), "run_app", run_app)
    StudioServer(8000, []).serve()
    assert asked["shutdown_timeout"] < 1  # seconds; aiohttp's own is a minute


def test_without_the_extra_it_is_one_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_command, "find_spec", lambda name: None)
    status, _, err = command("serve")
    assert (status, err) == (2, "lora-studio: serve: it needs `pip install 'lora-studio[serve]'`\n")
