"""The app in this terminal, from the first check to the last line that it leaves there."""

import contextlib
import faulthandler
import io
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.machine.launch import place
from tui.terminal.requirements import in_browser, refusal
from tui.terminal.screen_loop import ScreenFile, screen_runner
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.settings.schema import Settings
    from tui.state.run_control import RunControl

WITHOUT = "`lora-studio train starter` or `lora-studio train CONFIG.yaml` trains without the app"
RESUMED_WITHOUT = "`lora-studio resume {}` goes on without the app"
ON_RANKS = (
    "on {} ranks the app begins a run at once, and others wait for it: "
    f"`lora-studio CONFIG.yaml --start` or `lora-studio resume RUN --app`; {WITHOUT}"
)
ONLY_HERE = "a person judges the run {!r}, which needs the app"


def run_app(
    settings: "Settings | None" = None,
    *,
    start: bool = False,
    run: "Run | None" = None,
    back_to: int | None = None,
) -> int:
    """Open the app in this terminal; the exit status.

    `settings` are in the form then, and with `start` they are started at once. A `run` is gone on
    with at once, with `back_to` from its checkpoint of that step.

    Raises:
        UserError: there is no terminal here, or one that the app cannot run in; or this is a rank
            of several, and no run is begun at once.
    """
    here = place()
    if here and not (start or run):
        raise UserError(ON_RANKS.format(here.size))
    if reason := refusal():
        raise UserError(f"{reason}; {_instead(run)}")
    from tui.terminal.captured_output import CapturedOutput
    from tui.terminal.guard import Guard, crash_file

    with (
        CapturedOutput() as output,
        Guard(output.err.fileno(), output.last_words, crash_file()) as guard,
    ):
        faulthandler.enable(2)
        from tui.app import StudioApp
        from tui.terminal.job_control import JobControl
        from tui.terminal.signals import handle_signals
        from tui.textual_private.terminal_driver import TabDriver, TerminalDriver

        app = StudioApp(settings, start=start, run=run, back_to=back_to, output=output)
        control = app.control
        screen = output.err.fileno()
        if in_browser():  # which has no shell to go back to
            screen = output.out.fileno()
            app.driver_class = TabDriver
        else:
            app.driver_class = TerminalDriver
            app.after_first_frame = JobControl(app, control, guard, app.say).install
        with (
            _drawing_on(screen),
            handle_signals(app, control, guard, screen, app.quit_when_stopped),
        ):
            try:
                with screen_runner() as runner:
                    runner.run(app.run_async(mouse=wants_mouse(os.environ)))
            finally:
                control.end()
    exported = control.exported if control.waited_for_export else ""
    for line in filter(None, (last_line(control), exported, queue_line(control))):
        with contextlib.suppress(OSError):  # the terminal is gone
            print(safe_line(line), file=sys.stderr, flush=True)
    # Python's own exit would wait for the engine's thread, which may be loading, or hang in a sum
    # over ranks.
    if here or control.abandoned or control.lingers:
        os._exit(app.return_code or 0)
    return app.return_code or 0


@contextlib.contextmanager
def _drawing_on(descriptor: int) -> Iterator[None]:
    """Have Textual draw on a descriptor, since descriptors 1 and 2 take what libraries print.

    Textual draws on `sys.__stderr__` and asks `sys.__stdout__` for the size. It draws in UTF-8
    whatever the locale says: a wrong letter is better than a crash.
    """
    saved = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    terminal = io.BufferedWriter(ScreenFile(descriptor, "w", closefd=False))
    screen = io.TextIOWrapper(terminal, encoding="utf-8", errors="replace")
    sys.stderr = sys.__stdout__ = sys.__stderr__ = screen  # pyright: ignore[reportConstantRedefinition]
    try:
        yield
    finally:
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = saved  # pyright: ignore[reportConstantRedefinition]


def last_line(control: "RunControl") -> str:
    """What became of the run of this sitting, said once the terminal is the shell's again."""
    session, view = control.session, control.view
    if not session or not session.run or not view:
        return ""
    from tui.run.ending import ending, way_back

    view.fold(session.drain())  # what came after the screen had gone
    view.folder = str(session.run.path)
    where = f"the run is kept in {session.run.path}"
    if control.abandoned:
        at = f"{view.name} was left at step {view.step} of {view.total_steps}"
        return f"{at}; {way_back(view)} goes on from its newest checkpoint; {where}"
    if control.leaves_running and session.status == "stopped":
        from tui.terminal.detach import detach

        return f"{detach(session.run)}; {where}"
    if control.ended_by == signal.SIGHUP:  # whoever sits there now has not seen the run
        return ""
    error = [view.error.rstrip(".")] if view.error else []
    folder = [where] if session.has_folder else []
    return "; ".join([f"{view.name}: {ending(view)}", *error, *folder])


def queue_line(control: "RunControl") -> str:
    """That the queue is worked through further, by a process of its own; empty where it is not."""
    from engine.runs.queue import read_queue
    from engine.runs.sweep import QUEUE, worker_of

    if worker_of(QUEUE) is None or control.ended_by == signal.SIGHUP:
        return ""
    with contextlib.suppress(UserError):
        left = len(read_queue().left())
        runs = f"{left} run{'s' * (left != 1)} left"
        return f"the queue goes on, {runs}: `lora-studio runs` lists them, Q in the app stops it"
    return ""


def _instead(run: "Run | None") -> str:
    """What is to be done where the app cannot run."""
    if run is None:
        return WITHOUT
    if run.settings().human_judge:
        return ONLY_HERE.format(run.name)
    from engine.runs.archive import name_to_open

    return RESUMED_WITHOUT.format(name_to_open(run.path))


def wants_mouse(environ: Mapping[str, str]) -> bool:
    """Off over SSH, where it stands in the way of selecting text; LORA_STUDIO_MOUSE says else."""
    choice = environ.get("LORA_STUDIO_MOUSE")
    if choice is not None:
        return choice not in ("", "0", "off", "no", "false")
    return not any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"))
