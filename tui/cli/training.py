"""Train in the foreground of a terminal, a pipe or nothing at all, without the app."""

import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from engine.errors import RunError, UserError
from engine.events import Event, Log
from engine.json_number import whole
from engine.machine.launch import place
from engine.settings.schema import Settings
from tui.cli.console import Output, Silence, make_output
from tui.state.run_control import BY_SIGNAL, GOES_ON, TERMINAL_GONE
from tui.state.run_view import RunView
from tui.terminal.captured_output import CapturedOutput
from tui.terminal.cursor import SHOW_CURSOR, cursor_back_when_stopped
from tui.terminal.exit_status import BAD_INPUT, DONE, FAILED, NOTHING_LEARNED, STOPPED_BY
from tui.terminal.guard import Guard, crash_file
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.session import Session

REFRESH = 0.15  # seconds between two looks at the run
# Seconds within which a signal that comes again is no second wish: `timeout` and others send it to
# the process and then to its group.
ECHO = 0.5
STOPPING = "stopping with a checkpoint; the same again ends at once, without one"
STOPPING_TO_LOAD = "stopping: the run was still loading, and nothing is there to save"


def train(
    settings: Settings,
    run: "Run | None" = None,
    *,
    json: bool = False,
    back_to: int | None = None,
    failures: list[str] | None = None,
) -> int:
    """Train to the end, or to the first signal; returns the exit status: `NOTHING_LEARNED` where no
    pair was learned from, and where the run stopped since nobody is there to help it.

    `back_to` is the step of an earlier checkpoint of the run to go on from. Why it failed, if it
    does, is added to `failures`.

    Ctrl+C and SIGTERM stop with a checkpoint, or at once while the run loads; a second one, unless
    it is the `ECHO` of the first, ends the process at once. A terminal that goes away does what the
    setting `on_hangup` says.

    Raises:
        UserError: the settings want a person as the judge, or the run cannot start.
    """
    if settings.human_judge:
        begin = " --start`, of rank 0 on a terminal" if place() else "`"
        raise UserError(
            "judge: human needs a person at the screen, and so the app: `lora-studio CONFIG.yaml"
            + begin
        )
    with (
        CapturedOutput() as streams,
        Guard(streams.out.fileno(), streams.last_words, crash_file(), SHOW_CURSOR) as guard,
        cursor_back_when_stopped(streams.out),
    ):
        faulthandler.enable(2)
        from engine.runs.folder import LOG
        from engine.runs.trash import empty_trash
        from engine.session import Session

        empty_trash()

        view = _view_before(settings, run)
        session = Session(settings, run, back_to=back_to)
        with _signals(session, settings, streams, guard) as (received, passed):
            session.start()
            if session.run:
                streams.move_to(session.run.path / LOG)
            output = make_output(streams.out, view, json=json)
            output = _show_to_end(session, view, output, received, passed)
        with contextlib.suppress(OSError):
            output.close()
            if view.error:
                streams.err.write(f"lora-studio: {safe_line(view.error or '')}\n")
    if failures is not None and view.error:
        failures.append(view.error)
    status = _status(view, session, received)
    if session.lingers or place():  # a sum over ranks may hang, and others wait for this end
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)
    return status


def _view_before(settings: Settings, run: "Run | None") -> RunView:
    """The view of a run before the engine tells anything of it, which it may end without."""
    view = RunView(settings=settings)
    if run:
        state = run.state()
        view.name, view.folder = run.name, str(run.path)
        view.step = whole(state.get("step"))
        view.total_steps = whole(state.get("total_steps"))
    return view


def _show_to_end(
    session: "Session",
    view: RunView,
    output: Output,
    received: list[signal.Signals],
    passed: list[signal.Signals],
) -> Output:
    """Show the run until it is over, and what signals do to it; returns the output that is still
    good. The signals are those of `_signals`, which come in meanwhile."""
    stopping = told = False
    while session.alive:
        session.join(REFRESH)
        events = session.drain()
        if received and not stopping:
            stopping = True
            text = STOPPING_TO_LOAD if session.unbegun else STOPPING
            events.insert(0, Log(level="warning", text=text))
        if signal.SIGHUP in passed and not told:
            told = True
            _log_hangup(session)
        output = _show(events, view, output)
    return _show(session.drain(), view, output)


def _status(view: RunView, session: "Session", received: list[signal.Signals]) -> int:
    if view.status == "finished":
        return DONE
    if view.status == "untrained" or (view.status == "stopped" and view.error):
        return NOTHING_LEARNED
    if view.status == "stopped":
        return STOPPED_BY + (received[0] if received else signal.SIGINT)
    return BAD_INPUT if session.error_is_users else FAILED


def _log_hangup(session: "Session") -> None:
    if session.run and session.has_folder:
        with contextlib.suppress(RunError):  # the disk is full
            session.run.log("info", TERMINAL_GONE + GOES_ON)


def _show(events: list[Event], view: RunView, output: Output) -> Output:
    """Show events; returns the output that is still good."""
    view.fold(events)
    try:
        output.show(events)
    except OSError:  # the terminal or the reader of the pipe is gone; the run is not
        return Silence()
    return output


@contextlib.contextmanager
def _signals(
    session: "Session", settings: Settings, streams: CapturedOutput, guard: Guard
) -> Iterator[tuple[list[signal.Signals], list[signal.Signals]]]:
    """Let signals stop the session while the context lasts; gives those that came for that, and
    those that it goes on after."""
    received: list[signal.Signals] = []
    passed: list[signal.Signals] = []
    since = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and settings.on_hangup == "continue":
            passed.append(signal.Signals(number))
            return
        nonlocal since
        if received:
            if number == received[0] and time.monotonic() - since < ECHO:
                return
            with contextlib.suppress(OSError):
                if streams.out.isatty():
                    os.write(streams.out.fileno(), SHOW_CURSOR.encode())
            guard.dismiss()
            os._exit(STOPPED_BY + number)
        since = time.monotonic()
        received.append(signal.Signals(number))
        session.stop(by=BY_SIGNAL[received[0]])

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What the parent told this process to ignore, as nohup does, stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield received, passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
