"""Programs that keep the metrics of runs, each through its own library in a process of its own.

A library may hang, print, ask for a password, or take a signal for its own: there it does none of
this to the run. The process is `engine.follow.tracker_process`; it is sent lines of JSON and
answers with one where it fails.
"""

import hashlib
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO

from engine.events import (
    EVAL_WIN_RATE,
    WIN_RATE,
    Evaluated,
    Event,
    Guarded,
    PairJudged,
    Report,
    RunEnded,
    RunStarted,
)
from engine.runs.folder import Run
from engine.runs.json_lines import Record, from_line, to_json
from engine.secrets import hide
from engine.settings.schema import Settings

STALL_SECONDS = 60.0  # that a library may leave its lines unread while the run goes on
FINISH_SECONDS = 15.0  # that it gets for its last ones
NEWEST_PAIRS = 16  # in a table
TEXT_LIMIT = 2000  # characters of a text in it
PAIR_COLUMNS = ("step", "prompt", "first", "second", "choice", "q", "judge")


class TrackerFailed(Exception):
    """Why a tracker takes no more, in words."""


class Tracker:
    """One of `settings.report_to`."""

    def __init__(self, name: str, settings: Settings, run: Run, ending: threading.Event) -> None:
        self.name = f"report_to: {name}"
        self._library = name
        self._settings = settings
        self._run = run
        self._ending = ending
        self._newest: deque[PairJudged] = deque(maxlen=NEWEST_PAIRS)
        self._process = _start(name)  # imports its library while the run loads

    def take(self, events: Sequence[Event]) -> None:
        """Send what the events measured.

        Raises:
            TrackerFailed: the library has failed, or takes nothing any more.
        """
        for event in events:
            for line in self._lines(event):
                self._send(line)
        self._raise_failure(0.0)
        if any(isinstance(event, RunEnded) for event in events):
            self._finish()

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _lines(self, event: Event) -> list[Record]:
        """What is sent of an event."""
        match event:
            case RunStarted():
                return [self._opening(event)]
            case PairJudged():
                self._newest.append(event)
            case Report():
                metrics = {"kind": "metrics", "step": event.step, "values": event.metrics}
                pairs = [_row(pair) for pair in self._newest]
                self._newest.clear()
                table = {"kind": "pairs", "step": event.step, "rows": pairs}
                return [metrics, table] if pairs else [metrics]
            case Evaluated():
                return [{"kind": "metrics", "step": event.step, "values": _rates(event)}]
            case Guarded():
                right = {
                    f"guard/{each.suite}": (each.kept + each.gained) / each.items
                    for each in event.suites
                    if each.items
                }
                return [{"kind": "metrics", "step": event.step, "values": right}]
            case RunEnded():
                return [{"kind": "end", "status": event.status}]
            case _:
                pass
        return []

    def _opening(self, event: RunStarted) -> Record:
        created = str(self._run.state().get("created", self._run.name))
        return {
            "kind": "start",
            "project": self._settings.project_name,
            "name": self._run.name,
            # The same when the run is resumed, and under a new name too.
            "id": hashlib.sha256(created.encode()).hexdigest()[:16],
            "folder": str(self._run.path),
            "step": event.step,
            "columns": PAIR_COLUMNS,
            "config": self._settings.model_dump()
            | {"trainable_parameters": event.trainable_parameters, "device": event.device},
        }

    def _send(self, line: Record) -> None:
        """Write a line; waits for a process that is slow to read, up to a limit."""
        data = memoryview(to_json(line).encode() + b"\n")
        pipe, since = _open_pipe(self._process.stdin), time.monotonic()
        while data:
            limit = FINISH_SECONDS if self._ending.is_set() else STALL_SECONDS
            if time.monotonic() - since > limit:
                raise TrackerFailed(f"{self._library} has taken nothing for {limit:g} seconds")
            if not select.select([], [pipe], [], 0.2)[1]:
                continue
            try:
                data = data[os.write(pipe.fileno(), data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._raise_failure(FINISH_SECONDS)
                raise TrackerFailed(f"{self._library} ended by itself") from None

    def _finish(self) -> None:
        """Wait until the process has done what it was sent."""
        _open_pipe(self._process.stdin).close()
        try:
            status = self._process.wait(FINISH_SECONDS)
        except subprocess.TimeoutExpired:
            raise TrackerFailed(
                f"{self._library} was not done {FINISH_SECONDS:g} seconds after the end, so its "
                "last lines may be missing there"
            ) from None
        self._raise_failure(0.0)
        if status:
            raise TrackerFailed(f"{self._library} ended by itself (status {status})")

    def _raise_failure(self, seconds: float) -> None:
        """Raise what the process says it failed with, if it does within so many seconds."""
        replies = _open_pipe(self._process.stdout)
        if select.select([replies], [], [], seconds)[0]:
            reply = from_line(os.read(replies.fileno(), 1 << 16))
            if reply:
                raise TrackerFailed(str(reply.get("error")))


def _start(library: str) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path[:] = {sys.path!r}; from engine.follow import tracker_process as p"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; p.main({library!r})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # without a terminal to ask on, or to take Ctrl+C from
    )
    os.set_blocking(_open_pipe(process.stdin).fileno(), False)
    return process


def _open_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe
    return pipe


def _row(pair: PairJudged) -> list[str | float | None]:
    """A line of the table of pairs."""
    texts = (hide(text)[:TEXT_LIMIT] for text in (pair.prompt, pair.first, pair.second))
    return [pair.step, *texts, pair.choice, pair.q, pair.judge]


def _rates(event: Evaluated) -> dict[str, float]:
    """Win rates by their names in metrics.jsonl; those that are not of the split valid, with it."""
    place = "" if event.split == "valid" else f"{event.split}/"
    values = ((name, getattr(event, name)) for name in (*WIN_RATE, *EVAL_WIN_RATE))
    return {place + name: value for name, value in values if value is not None}
