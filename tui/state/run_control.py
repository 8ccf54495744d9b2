"""The run that trains in this process: its start and end, and how it goes on without a screen."""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import RunError, UserError
from engine.machine.launch import place
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from engine.events import Event
    from engine.runs.folder import Run
    from engine.session import Session
    from engine.settings.schema import Settings

EARLY_LINES = 200  # of library output that wait for a run to belong to

# Who stops a run, in its log: with a key of the screen, or by a signal.
THE_PERSON = "the person"
BY_SIGNAL = {
    signal.SIGINT: "ctrl+c",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "the loss of its terminal",
}
TERMINAL_GONE = "the terminal is gone; "
GOES_ON = "the run goes on without it"


class RunControl:
    """Starts and ends runs, one at a time.

    `session` is the run that trains in this process, or the last that did, or None; `view` is
    what is known of it.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.view: RunView | None = None
        self.leaves_running = False  # the run goes on in a process of its own after the screen
        self.abandoned = False  # the person left without waiting for a checkpoint
        self.ended_by: int | None = None  # a signal that asked for the end
        self.was_alive = False  # the run, when that signal came
        self.screen_gone = threading.Event()  # the terminal is given back
        self.early_lines: deque[str] = deque(maxlen=EARLY_LINES)
        self.exporting = False  # a run is being written into a folder
        self.exported = ""  # what came of the last one, in a sentence
        self.waited_for_export = False  # the person left as soon as it was over
        # Of what this sitting has exported, by the run's folder and the program that runs it.
        self.export_commands: dict[Path, dict[str, str]] = {}

    @property
    def name(self) -> str:
        """Of the run, for a sentence."""
        return self.view.name if self.view else "a run"

    @property
    def alive(self) -> bool:
        """Whether a run is going."""
        return bool(self.session and self.session.alive)

    @property
    def lingers(self) -> bool:
        """Whether what an ended run was loading is not over yet, so that no other can start."""
        return bool(self.session and self.session.lingers)

    def start(self, settings: "Settings") -> None:
        """Start a new run.

        Raises:
            UserError: it cannot start, or another run is still going.
        """
        self.refuse_second_run()
        self._begin(settings, None, RunView(settings=settings))

    def resume(self, run: "Run", *, back_to: int | None = None) -> None:
        """Resume a run from its newest checkpoint, or from an earlier one, of the step `back_to`.

        Raises:
            UserError: it cannot be resumed, or another run is still going.
        """
        from tui.state.run_from_files import RunFromFiles

        settings = run.settings()
        self.refuse_second_run()
        view = RunFromFiles(run).view
        view.status, view.error = "running", None
        if back_to is not None:
            view.suites = ()  # of a step that is gone then
        self._begin(settings, run, view, back_to)

    def _begin(
        self,
        settings: "Settings",
        run: "Run | None",
        view: RunView,
        back_to: int | None = None,
    ) -> None:
        from engine.session import Session

        session = Session(settings, run, beside_screen=True, back_to=back_to)
        session.start()
        view.name = session.run.name if session.run else view.name
        self.session, self.view = session, view
        if self.ended_by is not None:  # a signal came while there was no session to stop yet
            session.stop(by=BY_SIGNAL[signal.Signals(self.ended_by)])
        lines = list(self.early_lines)
        self.early_lines.clear()
        self.add_output(lines)

    def refuse_second_run(self) -> None:
        """One run at a time trains in this process, and only one where it is a rank of several.

        Raises:
            UserError: another run is still going, or was here on other ranks.
        """
        if self.alive:
            raise UserError(f"{self.name} is still going: stop it first, on the run screen.")
        if self.lingers:
            raise UserError(
                f"what {self.name} was loading cannot be broken off and is not over yet: try again "
                "in a moment, or leave the program and start it anew."
            )
        if self.session and place():
            raise UserError(
                f"the other ranks have ended with {self.name}: leave the program, and start it "
                "anew on all of them."
            )

    def stop(self, *, keep: bool = False, by: str = "") -> None:
        """Ask the run to end with a checkpoint; `keep` it even if nothing was trained yet. Its log
        names who asked, where that is given as `by`."""
        if self.session:
            self.session.stop(keep=keep, by=by)

    def drain(self) -> "Sequence[Event]":
        """What the run has told since the last time, folded into the view."""
        if not self.session or not self.view:
            return ()
        events = self.session.drain()
        self.view.fold(events)
        return events

    def add_output(self, lines: Iterable[str]) -> None:
        """Log what libraries have printed; what comes before the first run waits for it."""
        for line in lines:
            if self.view:
                self.view.add_log(time.time(), "debug", line)
            else:
                self.early_lines.append(line)

    def log(self, text: str) -> None:
        """Add a line about the run of this process to its log."""
        if self.view:
            self.view.add_log(time.time(), "info", text)
        if self.session and self.session.run:
            with contextlib.suppress(RunError):  # the disk is full
                self.session.run.log("info", text)

    # -- without a screen ------------------------------------------------------------------------

    def outlives_screen(self) -> bool:
        """Whether the run goes on when the terminal is lost; one that is paused would do so for
        ever."""
        session = self.session
        if not session or not session.alive or session.stopping or session.settings.human_judge:
            return False
        if session.status == "paused":
            return False
        return session.settings.on_hangup == "continue"

    def end(self) -> None:
        """See the run to its end after the screen has gone: now, or in its own time where only the
        terminal was lost. Nothing is waited for where the person left at once."""
        self.screen_gone.set()
        if self.session and not self.abandoned:
            goes_on = self.ended_by == signal.SIGHUP and self.outlives_screen()
            was_alive = self.was_alive or self.session.alive
            if self.ended_by == signal.SIGHUP and was_alive and self.session.status != "finished":
                self.log(TERMINAL_GONE + (GOES_ON if goes_on else "the run stops"))
            if not goes_on:
                self.session.stop()
            self.session.screen_has_gone()
            self.session.join()
