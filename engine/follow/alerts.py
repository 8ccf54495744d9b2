"""When somebody should look at a run: what is sent to the address of `notify_env`."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.events import (
    Event,
    Finding,
    HealthChanged,
    Level,
    Paused,
    Report,
    RunEnded,
    RunStarted,
    RunStatus,
)
from engine.follow.webhook import Notice, Refused, Undelivered, Webhook
from engine.secrets import hide
from engine.settings.schema import Settings

QUIET_SECONDS = 600.0  # in which a turn of health that was told is not told again
_LEVELS = ("steady", "warning", "bad")
_ENDS: dict[RunStatus, str] = {
    "finished": "has finished",
    "stopped": "has stopped",
    "untrained": "has learned nothing",
    "failed": "has failed",
}


class Alerts:
    """Turns events into notices, and sends them."""

    name = "notify_env"

    def __init__(
        self,
        settings: Settings,
        run: str,
        webhook: Webhook,
        tell: Callable[[Level, str], None],
        waiting: Callable[[], Sequence[str]],
    ) -> None:
        """`waiting` gives the ids of the pairs that wait for a person."""
        self._run = run
        self._seconds = 60 * settings.notify_minutes
        self._webhook = webhook
        self._tell = tell
        self._waiting = waiting
        self._step = self._total_steps = 0
        self._begun = False
        self._findings: Sequence[Finding] = ()  # on the run's health
        self._heard = 0  # the level of it that the person knows of, an index of `_LEVELS`
        self._told_level: dict[int, float] = {}  # when a level was told of last
        self._open: frozenset[str] = frozenset()  # pairs that wait
        self._since = time.monotonic()  # when the person answered last, or was first asked
        self._told_waiting = False
        self._told_undelivered = False

    def take(self, events: Sequence[Event]) -> None:
        """Send what is worth it.

        Raises:
            Refused: the address takes no notices.
        """
        for event in events:
            if notice := self._notice(event):
                self._send(notice)
        for notice in filter(None, (self._turn(), self._pair_that_waits())):
            self._send(notice)

    def close(self) -> None:
        """Nothing is kept open."""

    def _send(self, notice: Notice) -> None:
        try:
            self._webhook.send(notice)
        except Refused:
            raise
        except Undelivered as error:
            if not self._told_undelivered:  # once: whoever is there sees the run itself
                self._told_undelivered = True
                self._tell("warning", f"notify_env: a notice could not be delivered: {error}")

    def _notice(self, event: Event) -> Notice | None:
        match event:
            case RunStarted():
                self._begun = True
                self._step, self._total_steps = event.step, event.total_steps
            case Report():
                self._step = event.step
            case HealthChanged():
                self._step = event.step
                self._findings = event.findings
                return self._turn()
            case Paused():
                self._step = event.step
                return self._about("paused", "has paused", event.reason, urgent=True)
            case RunEnded() if self._begun or event.status != "stopped":
                self._step = max(self._step, event.step)
                self._findings, self._heard = (), 0  # of which nothing more is told
                words = _ENDS.get(event.status, f"has ended ({event.status})")
                good = event.status == "finished" or (event.status == "stopped" and not event.error)
                return self._about(event.status, words, event.error or "", urgent=not good)
            case _:
                pass
        return None

    def _turn(self) -> Notice | None:
        """That the run's health is worse than was told, or steady again. One that was told of
        lately is told of later, where the run is so still."""
        level = max((_LEVELS.index(each.level) for each in self._findings), default=0)
        if 0 < level < self._heard:  # somewhat better: not told, and worse once more is
            self._heard = level
        now = time.monotonic()
        recent = now - self._told_level.get(level, float("-inf")) < QUIET_SECONDS
        if recent or level == self._heard:
            return None
        self._told_level[level] = now
        self._heard = level
        if not level:
            return self._about("health", "is steady again")
        worst = [each for each in self._findings if each.level == _LEVELS[level]]
        text = "\n".join(f"{each.text}. Try: {each.advice}" for each in worst)
        words = "is in trouble" if _LEVELS[level] == "bad" else "needs a look"
        return self._about("health", words, text, urgent=_LEVELS[level] == "bad")

    def _pair_that_waits(self) -> Notice | None:
        """That the person has answered nothing for a while; told once, until they do."""
        waiting = frozenset(self._waiting())
        now = time.monotonic()
        if self._open - waiting or not self._open:
            self._since, self._told_waiting = now, False
        self._open = waiting
        if not waiting or self._told_waiting or now - self._since < self._seconds:
            return None
        self._told_waiting = True
        pairs = f"{len(waiting)} pairs wait" if len(waiting) > 1 else "1 pair waits"
        minutes = f"{self._seconds / 60:g} minute{'s' * (self._seconds != 60)}"
        text = f"{pairs} for your answer, the first of them for {minutes}."
        return self._about("waiting", "waits for you", text)

    def _about(self, event: str, words: str, text: str = "", *, urgent: bool = False) -> Notice:
        facts: dict[str, Any] = {
            "run": self._run,
            "step": self._step,
            "total_steps": self._total_steps,
            "time": time.time(),
        }
        at = f"Step {self._step:,} of {self._total_steps:,}." if self._total_steps else ""
        full = hide("\n".join(filter(None, (text, at))))
        return Notice(event, f"{self._run} {words}", full, facts, urgent=urgent)
