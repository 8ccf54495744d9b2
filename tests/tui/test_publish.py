"""Publishing from the app: chosen, listed, sent to a little hub on this machine, gone on with."""

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, cast

import numpy as np
import pytest
from safetensors.numpy import save_file
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.publish import Parts, upload
from engine.publish.process import (
    PublishBroken,
    PublishDone,
    PublishEvent,
    PublishFailed,
    PublishListed,
    PublishNote,
    PublishRequest,
    PublishSending,
    RepoFiles,
)
from engine.runs.folder import ADAPTERS, Run
from tests.end_to_end.little_hub import TOKEN, LittleHub
from tests.hostile import TEXTS, harmful
from tests.tui.archive import make_run
from tests.tui.stage import TIMEOUT, play, said, shown, until
from tui.app import StudioApp
from tui.archive import publish_words
from tui.archive.publish_screen import PublishScreen
from tui.shell.ask import AskChoice

ADAPTER_FILES = RepoFiles(
    "model",
    (("README.md", 2_400), ("adapter_config.json", 300), ("adapters.safetensors", 1_900_000)),
    "---\nlibrary_name: mlx\n---\n\n# polite\n\nHow to use it.",
)
LISTED = PublishListed("me/polite", (ADAPTER_FILES,))


class Sending:
    """Stands in for `engine.publish.process.Publishing`, whose process loads the model."""

    def __init__(self, request: PublishRequest) -> None:
        self.request = request
        self.events: list[PublishEvent] = []
        self.started = self.closed = False
        self.sent = 0

    def start(self) -> None:
        self.started = True

    def send_all(self) -> None:
        self.sent += 1

    def drain(self) -> list[PublishEvent]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.closed = True


class Desk:
    """A publish screen whose processes are stand-ins."""

    def __init__(self, app: StudioApp, pilot: Pilot[Any], name: str = "polite") -> None:
        self.app, self.pilot = app, pilot
        self.processes: list[Sending] = []
        self.run = make_run(name)

    def _open(self, request: PublishRequest) -> Sending:
        self.processes.append(Sending(request))
        return self.processes[-1]

    async def open(self) -> PublishScreen:
        screen = PublishScreen(self.run, cast("Any", self._open))
        await self.app.push_screen(screen)
        await self.pilot.pause()
        return screen

    async def list(self, event: PublishEvent = LISTED) -> Sending:
        """List the files; the process answers so."""
        before = len(self.processes)
        await self.pilot.press("P")
        await until(self.pilot, lambda: len(self.processes) > before)
        await self.tell(event)
        return self.processes[-1]

    async def tell(self, *events: PublishEvent) -> None:
        process = self.processes[-1]
        process.events += events
        await until(self.pilot, lambda: not process.events)


def text_of(app: StudioApp) -> str:
    """All that the files' pane holds, in sight or not."""
    return str(app.screen.query_one("#files", VerticalScroll).query_one(Static).render())


def desk_scene(scene: Callable[[Desk], Any], name: str = "polite", **how: Any) -> None:
    async def main(app: StudioApp, pilot: Pilot[Any]) -> None:
        desk = Desk(app, pilot, name)
        await desk.open()
        await scene(desk)

    play(main, **how)


def test_nothing_is_sent_before_every_file_was_listed() -> None:
    async def scene(desk: Desk) -> None:
        app, pilot = desk.app, desk.pilot
        assert app.screen.query_one("#repo", Input).value == "polite"
        await pilot.press("down", "down", "down", "down", "space")
        process = await desk.list()
        parts = Parts(adapters=True, pairs=True)
        assert process.request == PublishRequest(desk.run.path, "polite", parts, False, None)
        assert process.sent == 0
        text = text_of(app)
        assert "me/polite · new · 3 files · 1.9 MB" in text
        for name, size in (("adapters.safetensors", "1.9 MB"), ("README.md", "2.4 kB")):
            assert f"{size}  {name}" in text
        assert "How to use it." in text  # the card
        assert "nothing is sent yet" in shown(app)
        await pilot.press("P")
        await until(pilot, lambda: process.sent == 1)
        sending = [PublishSending(n, i, 3, s) for i, (n, s) in enumerate(ADAPTER_FILES.files, 1)]
        await desk.tell(*sending)
        assert "sending 3 of 3" in shown(app)
        assert "adapters.safetensors · 1.9 MB" in text_of(app)
        await desk.tell(PublishDone(("https://hub/me/polite",)))
        assert "published, for you alone\nhttps://hub/me/polite" in text_of(app)
        await pilot.press("y")
        assert app.clipboard == "https://hub/me/polite"

        await pilot.press("shift+tab", "space")  # another choice is another list
        assert process.closed
        assert "How to use it." not in text_of(app)
        await pilot.press("home", "space", "P")
        await until(pilot, lambda: "choose what is published" in said(app))

    desk_scene(scene)


def test_a_name_that_is_changed_while_it_is_checked_is_the_one_that_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = Event()
    monkeypatch.setattr(upload, "check_repo", lambda _: changed.wait(TIMEOUT))

    async def scene(desk: Desk) -> None:
        await desk.pilot.press("P")
        desk.app.screen.query_one("#repo", Input).value = "other"
        await desk.pilot.pause()
        changed.set()
        await until(desk.pilot, lambda: desk.processes)
        assert [each.request.repo for each in desk.processes] == ["other"]

    desk_scene(scene)


def test_all_may_see_it_by_intent_alone_and_a_break_is_gone_on_from() -> None:
    async def scene(desk: Desk) -> None:
        await desk.pilot.press("end", "space")
        process = await desk.list()
        assert process.request.public
        await desk.pilot.press("P")
        await until(desk.pilot, lambda: isinstance(desk.app.screen, AskChoice))
        await desk.pilot.press("down", "enter")
        assert process.sent == 0
        await desk.pilot.press("P")
        await until(desk.pilot, lambda: isinstance(desk.app.screen, AskChoice))
        await desk.pilot.press("enter")
        await until(desk.pilot, lambda: process.sent == 1)
        await desk.tell(
            PublishSending("README.md", 1, 3, 2_400),
            PublishBroken("publish: the hub cannot be reached (no route)"),
        )
        text = text_of(desk.app)
        assert text.startswith("the hub cannot be reached (no route)\nP goes on")
        await desk.pilot.press("P")  # that all may see it was said before
        await until(desk.pilot, lambda: process.sent == 2)

    desk_scene(scene)


def test_escape_stops_it_and_then_leaves() -> None:
    async def scene(desk: Desk) -> None:
        screen = desk.app.screen
        process = await desk.list(PublishNote("reading the run"))
        await desk.pilot.press("escape")
        assert process.closed
        assert "stopped" in said(desk.app)
        process = await desk.list()
        await desk.pilot.press("P", "escape")
        await until(desk.pilot, lambda: isinstance(desk.app.screen, AskChoice))
        assert not process.closed
        await desk.pilot.press("down", "enter")
        await until(desk.pilot, lambda: process.closed)
        assert desk.app.screen is screen
        await desk.pilot.press("escape")
        await until(desk.pilot, lambda: desk.app.screen is not screen)

    desk_scene(scene)


def test_what_cannot_be_is_one_sentence() -> None:
    no_token = PublishListed("polite", (ADAPTER_FILES,), (), "publish: there is no token")
    untrained = PublishFailed("the run 'polite' has trained nothing")

    async def scene(desk: Desk) -> None:
        line = desk.app.screen.query_one("#repo", Input)
        line.value = "me/a b"
        await desk.pilot.press("P")
        await until(desk.pilot, lambda: "write it as NAME or OWNER/NAME" in said(desk.app))
        line.value = ""
        await desk.pilot.press("P")
        await until(desk.pilot, lambda: said(desk.app).startswith("give the repository a name"))
        assert desk.processes == []  # nothing was loaded
        line.value = "me/polite"
        for event, words in ((no_token, "there is no token"), (untrained, "has trained nothing")):
            process = await desk.list(event)
            assert words in text_of(desk.app)
            assert "publish:" not in text_of(desk.app)
            await desk.list()  # P asks again
            assert process.sent == 0
            assert words not in text_of(desk.app)
            await desk.pilot.press("escape")  # stays in sight for nobody
            await desk.app.push_screen(PublishScreen(desk.run, cast("Any", desk._open)))
            await desk.pilot.pause()

    desk_scene(scene)


@pytest.mark.parametrize("name", ["a run", "--", "ünïcode", "a--b..c", "x" * 200])
def test_a_name_is_suggested_that_a_repository_may_have(name: str) -> None:
    from engine.publish.upload import check_repo

    check_repo(publish_words.suggested(name))


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_untrusted_reaches_the_terminal(text: str) -> None:
    view = publish_words.PublishView()
    files = RepoFiles("model", ((text, 3),), text)
    for event in (
        PublishNote(text),
        PublishListed(text, (files,), ("model",), text),
        PublishSending(text, 1, 1, 3),
        PublishBroken(text),
        PublishDone((text,)),
    ):
        view.take_in(event)
        assert not harmful(publish_words.body(view, 1.0, 80, public=False).plain)


# -- beside a hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LittleHub]:
    with LittleHub().running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield hub


def with_weights(run: Run) -> Run:
    weights = {
        f"model.layers.0.self_attn.q_proj.lora_{part}": np.ones((40, 40), np.float32)
        for part in "ab"
    }
    save_file(weights, run.path / ADAPTERS / "adapters.safetensors")
    (run.path / ADAPTERS / "adapter_config.json").write_text("{}")
    return run


def test_a_run_goes_to_the_hub_and_on_after_a_break(hub: LittleHub) -> None:
    run = with_weights(make_run("polite"))
    hub.breaks = 0  # the first transfer

    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        app.navigator.open_run_detail(str(run.path))
        await pilot.pause()
        await pilot.press("P")
        await until(pilot, lambda: isinstance(app.screen, PublishScreen))
        await pilot.press("P")
        await until(pilot, lambda: "nothing is sent yet" in shown(app), patience=120)
        assert "me/polite · new" in text_of(app)
        assert hub.repos == {}
        await pilot.press("P")
        await until(pilot, lambda: "goes on where it broke off" in text_of(app), patience=120)
        assert "the hub" in text_of(app).partition("\n")[0]  # a sentence of why
        assert hub.files("model", "me/polite") == {}
        await pilot.press("P")
        await until(pilot, lambda: "published, for you alone" in text_of(app), patience=120)

    play(scene)
    assert hub.repos["models/me/polite"]["private"]
    weights = (run.path / ADAPTERS / "adapters.safetensors").read_bytes()
    assert hub.files("model", "me/polite")["adapters.safetensors"] == weights
    assert not list(run.path.parent.glob(".publish-*"))
