"""A run watched from its folder, without the app: it may train in any process of this machine, or
on another one that shares the disk."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from engine.events import (
    Event,
    Finding,
    HealthChanged,
    Log,
    Report,
    RunEnded,
    RunStatus,
)
from engine.json_number import real, whole
from engine.runs.archive import open_run
from engine.runs.folder import METRICS, PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record, from_line, to_json
from tui.cli.arguments import print_lines
from tui.cli.console import make_output
from tui.cli.run_lines import run_lines
from tui.state.run_from_files import RunFromFiles, evaluation_in, to_pair
from tui.state.run_view import RunView
from tui.terminal.exit_status import DONE, FAILED, NOTHING_LEARNED, STOPPED_BY

POLL_SECONDS = 0.5  # between two looks at the folder


def follow_run(name: str, *, json: bool) -> int:
    """Print a run, and then what happens to it until it ends; the exit status that its own process
    ends with.

    Raises:
        UserError: there is no such run, or its folder is gone.
    """
    run = open_run(name)
    files, news = RunFromFiles(run), _News(run)
    lines = run_lines(name, json=json)
    if json:
        lines = [to_json({"event": "run"} | (from_line(lines[0].encode()) or {}))]
    try:
        print_lines([*lines, ""] if not json else lines)
        output = make_output(sys.stdout, files.view, json=json)
        try:
            while files.view.live:
                output.show([*news.read(files.view)])
                time.sleep(POLL_SECONDS)
                files.update()
            output.show([*news.read(files.view), _end(files.view)])
        finally:
            output.close()
    except KeyboardInterrupt:  # of who watches: the run goes on
        return STOPPED_BY + signal.SIGINT
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return _status(files.view)


class _News:
    """What is added to a run's files, as events."""

    def __init__(self, run: Run) -> None:
        self._metrics = _Added(run, METRICS)
        self._pairs = [_Added(run, file) for file in (PAIRS, UNDECIDED)]
        self._log_count: int | None = None
        self._findings: tuple[Finding, ...] | None = None

    def read(self, view: RunView) -> Iterator[Event]:
        """Events since the last call; `view` is what the run's other files say now."""
        for added in self._pairs:
            yield from map(to_pair, added.read())
        for line in self._metrics.read():
            if real(line.get("step")) is not None:
                yield _measured(line)
        known = view.log_count if self._log_count is None else self._log_count
        count = min(view.log_count - known, len(view.log))
        for each in list(view.log)[len(view.log) - count :]:
            yield Log(time=each.time, level=each.level, text=each.text)
        self._log_count = view.log_count
        if self._findings is not None and view.findings != self._findings:
            yield HealthChanged(step=view.step, findings=view.findings)
        self._findings = view.findings


class _Added:
    """The records that come into a file, also while older ones are taken out of it or changed: by
    a person who takes a label back, or a run that goes back to a checkpoint."""

    def __init__(self, run: Run, file: str) -> None:
        self._follower = run.follow(file)
        self._known: set[int] = set()
        self.read()

    def read(self) -> list[Record]:
        """The new ones since the last call."""
        replaced, lines = self._follower.read()
        marked = {hash(to_json(line)): line for line in lines}
        if not replaced:
            self._known |= marked.keys()
            return lines
        known, self._known = self._known, set(marked)
        return [line for mark, line in marked.items() if mark not in known]


def _measured(line: Record) -> Event:
    """A line of metrics.jsonl as the event that it was written for."""
    step, split = whole(line.get("step")), line.get("split")
    if split is None:
        numbers = {name: real(value) for name, value in line.items() if name != "step"}
        return Report(step=step, metrics={k: v for k, v in numbers.items() if v is not None})
    return replace(
        evaluation_in(line, step, split if split in ("test", "kept") else "valid"),
        prompts=whole(line.get("prompts")),
        eval_prompts=whole(line.get("eval_prompts")),
    )


def _end(view: RunView) -> RunEnded:
    status: RunStatus = "failed"  # interrupted: its process is gone
    for known in ("finished", "untrained", "stopped"):
        status = known if view.status == known else status
    return RunEnded(status=status, step=view.step, error=view.error)


def _status(view: RunView) -> int:
    match view.status:
        case "finished":
            return DONE
        case "untrained":
            return NOTHING_LEARNED
        case "stopped":
            return NOTHING_LEARNED if view.error else STOPPED_BY + signal.SIGINT
        case _:
            return FAILED
