"""Notices to an address that is a secret (`notify_env`): what is told when, in which form, and that
an address which refuses, breaks or stalls is never in the way."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.events import (
    Event,
    Finding,
    HealthChanged,
    Level,
    Paused,
    Report,
    RunEnded,
    RunStarted,
)
from engine.follow import Followers, alerts, check_followers, webhook
from engine.follow.alerts import Alerts
from engine.follow.webhook import Address, Notice, Webhook, address_of, body_of
from engine.runs import archive
from engine.session import Session
from engine.settings.checks import problems
from engine.settings.files import preset
from engine.settings.schema import Settings
from tests.engine.small_models import settings

VARIABLE = "STUDIO_TEST_ADDRESS"
SECRET = "a-topic-nobody-should-see"


class Receiver:
    """Takes notices. `behave` is given how many came before; a number is the status of the
    reply, and anything else a wait for the end of the test."""

    def __init__(self, behave: Callable[[int], int | None]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.behave = behave
        self.over = threading.Event()
        self.port = 0

    @contextlib.contextmanager
    def running(self) -> Iterator["Receiver"]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = owner.behave(len(owner.bodies))
                owner.bodies.append(json.loads(body))
                owner.paths.append(self.path)
                if status is None:
                    owner.over.wait(30)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Print nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            try:
                yield self
            finally:
                self.over.set()
                server.shutdown()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(webhook, "FIRST_PAUSE", 0.01)
    with Receiver(lambda count: 200).running() as running:
        monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{running.port}/hook/{SECRET}")
        yield running


# -- what is told ----------------------------------------------------------------------------------


class Recorder(Webhook):
    """Keeps notices in place of sending them."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.notices.append(notice)


class Scene:
    """Alerts of a run that a person judges, with a clock that stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(alerts.time, "monotonic", lambda: self.now)
        self.webhook = Recorder()
        self.pairs: list[str] = []
        chosen = settings(judge="human", notify_env=VARIABLE, notify_minutes=2)
        self.alerts = Alerts(chosen, "mine", self.webhook, lambda *line: None, lambda: self.pairs)

    def told(self, *events: Event, after: float = 0.0) -> list[tuple[str, str]]:
        """The kind and the title of what is sent of some events, so many seconds later."""
        self.now += after
        before = len(self.webhook.notices)
        self.alerts.take(events)
        return [(each.event, each.title) for each in self.webhook.notices[before:]]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def started(step: int = 0) -> RunStarted:
    return RunStarted(
        name="mine",
        folder="",
        step=step,
        total_steps=40,
        device="cpu",
        trainable_parameters=1,
        total_parameters=1,
        prompts=1,
        dropped_prompts={},
    )


def health(step: int, *levels: Any) -> HealthChanged:
    findings = tuple(Finding(level, f"kl is {level}", "", "Raise beta.", "kl") for level in levels)
    return HealthChanged(step=step, findings=findings)


def test_an_end_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*events: Event) -> Notice:
        scene = Scene(monkeypatch)
        [_] = scene.told(*events)
        return scene.webhook.notices[0]

    done = end(started(), Report(step=10, metrics={}), RunEnded(status="finished", step=40))
    assert (done.event, done.title, done.text) == (
        "finished",
        "mine has finished",
        "Step 40 of 40.",
    )
    assert not done.urgent
    assert done.facts["run"] == "mine"
    assert (done.facts["step"], done.facts["total_steps"]) == (40, 40)
    failed = end(started(), RunEnded(status="failed", step=3, error="The disk is gone."))
    assert (failed.title, failed.urgent) == ("mine has failed", True)
    assert failed.text.startswith("The disk is gone.")
    halted = end(started(), RunEnded(status="stopped", step=3, error="memory is full"))
    assert (halted.title, halted.urgent) == ("mine has stopped", True)
    assert not end(started(), RunEnded(status="stopped", step=3)).urgent
    assert end(RunEnded(status="failed", step=0, error="no model")).title == "mine has failed"


def test_a_run_that_was_stopped_while_it_loaded_is_nothing_to_tell(scene: Scene) -> None:
    assert scene.told(RunEnded(status="stopped", step=0)) == []


def test_a_pause_that_nobody_asked_for_is_told(scene: Scene) -> None:
    told = scene.told(started(), Paused(step=4, reason="the judge is away"))
    assert told == [("paused", "mine has paused")]
    assert "the judge is away" in scene.webhook.notices[0].text


def test_a_turn_of_health_is_told_and_flapping_is_not(scene: Scene) -> None:
    assert scene.told(started(), health(1)) == []
    assert scene.told(health(2, "warning")) == [("health", "mine needs a look")]
    assert "Try: Raise beta." in scene.webhook.notices[0].text
    assert scene.told(health(3, "warning", "warning")) == []  # no worse
    assert scene.told(health(4, "bad", "warning")) == [("health", "mine is in trouble")]
    assert scene.told(health(5)) == [("health", "mine is steady again")]
    for step in range(6, 20):
        assert scene.told(health(step, "bad")) == []
        assert scene.told(health(step)) == []
    assert scene.told(health(30, "bad"), after=700) == [("health", "mine is in trouble")]
    assert scene.told(health(31)) == [("health", "mine is steady again")]
    assert scene.told(health(32, "bad")) == []
    assert scene.told(after=500) == []
    assert scene.told(after=100) == [("health", "mine is in trouble")]  # it was, all the time
    assert scene.told(health(33, "warning"), after=1000) == []
    assert scene.told(health(34, "bad")) == [("health", "mine is in trouble")]
    ended = RunEnded(status="finished", step=40)
    assert scene.told(health(35), health(36, "bad"), ended, after=0) == [
        ("health", "mine is steady again"),
        ("finished", "mine has finished"),
    ]
    assert scene.told(after=1000) == []


def test_a_pair_has_waited_when_its_person_does_nothing(scene: Scene) -> None:
    scene.told(started())
    scene.pairs = ["a", "b"]
    assert scene.told() == []
    assert scene.told(after=119) == []
    assert scene.told(after=2) == [("waiting", "mine waits for you")]
    assert scene.webhook.notices[-1].text.startswith(
        "2 pairs wait for your answer, the first of them for 2 minutes."
    )
    assert scene.told(after=1000) == []  # once
    scene.pairs = ["b", "c"]  # the person is there
    assert scene.told() == []
    assert scene.told(after=100) == []
    scene.pairs = ["c", "d"]  # and still is
    assert scene.told(after=100) == []
    assert scene.told(after=121) == [("waiting", "mine waits for you")]


# -- where it is sent ------------------------------------------------------------------------------


def test_the_form_of_an_address_says_what_is_there() -> None:
    assert address_of("https://ntfy.sh/topic") == Address("ntfy", "https://ntfy.sh/", "topic")
    own = address_of("ntfy+http://me:pass@example.org:81/push/topic/")
    assert own == Address("ntfy", "http://me:pass@example.org:81/push/", "topic")
    for text, service in (
        ("https://hooks.slack.com/services/T0/B0/xyz", "slack"),
        ("https://hooks.slack.com/triggers/T0/1/xyz", "slack"),
        ("https://discord.com/api/webhooks/1/xyz", "discord"),
        ("https://example.org/anything?key=1", "json"),
    ):
        assert address_of(text) == Address(service, text)  # type: ignore[arg-type]
    for text in ("", "topic", "ftp://x/y", "https://ntfy.sh/", "https://a b/"):
        with pytest.raises(ValueError, match="no address"):
            address_of(text)


def test_each_service_gets_its_own_json() -> None:
    notice = Notice("failed", "mine has failed", "a <b> & @everyone", {"run": "mine"}, urgent=True)
    assert body_of(notice, Address("ntfy", "", "t")) == {
        "topic": "t",
        "title": "mine has failed",
        "message": "a <b> & @everyone",
        "priority": 4,
    }
    slack = body_of(notice, Address("slack", ""))
    assert slack == {"text": "mine has failed\na &lt;b&gt; &amp; @everyone"}
    discord = body_of(notice, Address("discord", ""))
    assert discord["allowed_mentions"] == {"parse": []}  # nobody is called by what a run says
    assert discord["content"] == "mine has failed\na <b> & @everyone"
    plain = body_of(notice, Address("json", ""))
    assert plain == {
        "event": "failed",
        "title": "mine has failed",
        "text": "a <b> & @everyone",
        "run": "mine",
    }


def test_an_address_that_is_none_is_one_sentence_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = settings(notify_env=VARIABLE, output_root=str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    session = Session(chosen)
    with pytest.raises(UserError, match=f"variable {VARIABLE} is not set"):
        session.start()
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv(VARIABLE, "secret-but-no-address")
    with pytest.raises(UserError, match="is no address") as caught:
        check_followers(chosen)
    assert "secret-but" not in str(caught.value)
    [problem] = problems(settings(notify_env="https://ntfy.sh/topic"))
    assert problem.key == "notify_env"
    assert "ntfy.sh" not in problem.message


def follow(chosen: Settings, *events: Event) -> list[str]:
    """What is logged while events are followed to the end."""
    lines: list[str] = []

    def tell(level: Level, text: str) -> None:
        lines.append(text)

    followers = Followers(chosen, archive.create(chosen), tell)
    for event in events:
        followers.put(event)
    followers.join()
    return lines


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return settings(notify_env=VARIABLE, output_root=str(tmp_path), run_name="mine")


ENDED = RunEnded(status="finished", step=40)


def test_a_server_that_breaks_is_asked_again(receiver: Receiver, chosen: Settings) -> None:
    receiver.behave = lambda count: (503, 429, 200)[min(count, 2)]
    paused = Paused(step=1, reason="r")
    followers = Followers(chosen, archive.create(chosen), lambda *line: None)
    followers.put(paused)
    end = time.monotonic() + 30
    while len(receiver.bodies) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    followers.put(ENDED)
    followers.join()
    assert [each["event"] for each in receiver.bodies] == ["paused"] * 3 + ["finished"]
    assert receiver.paths[0] == f"/hook/{SECRET}"


def test_a_server_that_refuses_is_named_once(receiver: Receiver, chosen: Settings) -> None:
    receiver.behave = lambda count: 404
    [line] = follow(chosen, started(), Paused(step=1, reason="r"), ENDED)
    assert line == "notify_env: it answers with status 404; the run goes on without it"
    assert len(receiver.bodies) == 1  # it is not asked any more


def test_nobody_at_the_address_is_named_once(
    monkeypatch: pytest.MonkeyPatch, chosen: Settings
) -> None:
    monkeypatch.setattr(webhook, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(webhook, "LONGEST_PAUSE", 0.02)
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:9/{SECRET}")
    [line] = follow(chosen, started(), Paused(step=1, reason="r"), ENDED)
    assert line == "notify_env: a notice could not be delivered: it cannot be reached"


def test_a_server_that_stalls_holds_no_run_up_and_no_secret_is_kept(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receiver.behave = lambda count: None
    monkeypatch.setattr(webhook, "TRY_SECONDS", 0.5)
    few = {"iters": 6, "batch_size": 4, "steps_per_report": 2, "steps_per_eval": -1}
    quick = {"guard": "off", "fuse": False, "output_root": str(tmp_path)}
    session = Session(preset("starter").model_copy(update=few | quick | {"notify_env": VARIABLE}))
    session.start()
    assert session.join(60)
    assert session.status == "finished"
    assert session._followers
    session._followers.join()
    assert session.run
    log = (session.run.path / "log.txt").read_text()
    assert log.count("a notice could not be delivered: it did not answer within 0.5 seconds") == 1
    assert [each["event"] for each in receiver.bodies] == ["finished", "finished"]
    for file in session.run.path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


@pytest.mark.slow
def test_a_pause_by_itself_reaches_the_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beside a screen a run that has no room pauses, and does not stop."""
    from engine.train.watch import memory_guard

    monkeypatch.setattr(memory_guard.MemoryGuard, "excess", lambda self: "memory is full")
    few = {"iters": 6, "batch_size": 4, "steps_per_report": 2, "steps_per_eval": -1}
    quick = {"guard": "off", "fuse": False, "output_root": str(tmp_path)}
    session = Session(
        preset("starter").model_copy(update=few | quick | {"notify_env": VARIABLE}),
        beside_screen=True,
    )
    session.start()
    end = time.monotonic() + 60
    while not receiver.bodies and time.monotonic() < end:
        time.sleep(0.02)
    session.stop()
    assert session.join(60)
    assert receiver.bodies[0]["event"] == "paused"
    assert "memory is full" in receiver.bodies[0]["text"]
    assert receiver.bodies[0]["run"] == session.run.name if session.run else False
