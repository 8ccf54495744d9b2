"""Who follows a run from outside: programs that keep its metrics (`report_to`), and an address that
is told when somebody should look at it (`notify_env`).

Each follower has a thread of its own, which takes events from a bounded buffer. So nothing that it
does, or that its network does, holds up the engine. One that fails is named once in the log, and
the run goes on without it. Importing this is light.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from engine.events import Event, EventBuffer, Level, Log, Progress, RunEnded, StepDone
from engine.runs.folder import Run
from engine.secrets import hide
from engine.settings.schema import Settings

Tell = Callable[[Level, str], None]  # a line for the run's log, from any thread
Waiting = Callable[[], Sequence[str]]  # ids of the pairs that wait for a person

POLL_SECONDS = 1.0  # between two looks of a follower where nothing happens
IGNORED = (Log, Progress, StepDone)  # which no follower has a use for
BUFFERED = 1000  # events that wait for a follower; then the oldest fall out


class Follower(Protocol):
    """One program or address, on the thread of its own."""

    name: str  # begins each line about it in the log

    def take(self, events: Sequence[Event]) -> None:
        """Take in what happened, oldest first; called every second also with nothing.

        Raises:
            Exception: it can follow no further; the text says why.
        """
        ...

    def close(self) -> None:
        """Let go, in a few seconds, after the last event or a failure."""
        ...


class FollowerThread:
    """Hands events to a follower until the run has ended, or the follower has failed."""

    def __init__(self, follower: Follower, tell: Tell) -> None:
        self._follower = follower
        self._tell = tell
        self._events = EventBuffer(BUFFERED)
        self._news = threading.Event()
        # No daemon: a process that ends waits for the last lines, which have their time limits.
        self._thread = threading.Thread(target=self._work, name=f"follow {follower.name}")
        self._thread.start()

    def put(self, event: Event) -> None:
        """Leave an event for the follower."""
        if self._thread.is_alive():
            self._events.put(event)
            self._news.set()

    def join(self) -> None:
        """Wait for the follower to let go."""
        self._thread.join()

    def _work(self) -> None:
        try:
            over = False
            while not over:
                self._news.wait(POLL_SECONDS)
                self._news.clear()
                events = self._events.drain()
                over = any(isinstance(event, RunEnded) for event in events)
                self._follower.take(events)
        except Exception as error:  # a library may raise anything
            words = hide(" ".join(str(error).split()) or type(error).__name__)
            self._tell("warning", f"{self._follower.name}: {words}; the run goes on without it")
        finally:
            with contextlib.suppress(Exception):
                self._follower.close()


class Followers:
    """All that follow a run."""

    def __init__(
        self, settings: Settings, run: Run, tell: Tell, waiting: Waiting = lambda: ()
    ) -> None:
        """Start those that the settings ask for, which `check_followers` has looked at."""
        self._ending = threading.Event()  # what is left is to be done in seconds
        followers = _followers(settings, run, tell, waiting, self._ending)
        self._threads = [FollowerThread(each, tell) for each in followers]

    def put(self, event: Event) -> None:
        """Leave an event for each of them; never waits. `RunEnded` is the last that they take."""
        if isinstance(event, IGNORED) or self._ending.is_set():
            return
        if isinstance(event, RunEnded):
            self._ending.set()
        for thread in self._threads:
            thread.put(event)

    def join(self) -> None:
        """Wait for them to let go, after the run has ended."""
        for thread in self._threads:
            thread.join()


def check_followers(settings: Settings) -> None:
    """Look at what followers need, before anything is made or loaded.

    Raises:
        UserError: the environment has no usable address under the name of `notify_env`.
    """
    if settings.notify_env is not None:
        from engine.follow.webhook import webhook_of

        webhook_of(settings.notify_env)


def _followers(
    settings: Settings, run: Run, tell: Tell, waiting: Waiting, ending: threading.Event
) -> list[Follower]:
    followers: list[Follower] = []
    if settings.notify_env is not None:
        from engine.follow.alerts import Alerts
        from engine.follow.webhook import Webhook, webhook_of

        webhook = Webhook(webhook_of(settings.notify_env), ending)
        followers.append(Alerts(settings, run.name, webhook, tell, waiting))
    if settings.report_to:
        from engine.follow.trackers import Tracker

        names = dict.fromkeys(settings.report_to)
        followers += [Tracker(name, settings, run, ending) for name in names]
    return followers


@contextlib.contextmanager
def followed(settings: Settings, run: Run, tell: Tell) -> Iterator[Followers]:
    """Followers of a run that is trained in this thread, waited for at the end."""
    followers = Followers(settings, run, tell)
    try:
        yield followers
    finally:
        followers.put(RunEnded(status="stopped", step=0))  # for who was not told before
        followers.join()
