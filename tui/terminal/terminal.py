"""The terminal itself: whether the app can run in it, and what is written beside the screen."""

import base64
import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.errors import UserError
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.settings.schema import Settings
    from tui.app import StudioApp

LEAST_COLUMNS, LEAST_LINES = 60, 16
WITHOUT = "`lora-studio train starter` or `lora-studio train CONFIG.yaml` trains without the app"
RESUMED_WITHOUT = "`lora-studio resume {}` goes on without the app"
ONLY_HERE = "a person judges the run {!r}, which needs the app"
ENGINE_TURN = 0.001  # seconds that the engine's thread may keep Python while the screen wants it
COPY_LIMIT = 74_000  # bytes that terminals take through OSC 52
CHUNK = 512  # bytes of a sequence that GNU screen passes on at once
ESC, BEL, ST = "\x1b", "\x07", "\x1b\\"


def run_app(
    settings: "Settings | None" = None, *, start: bool = False, run: "Run | None" = None
) -> int:
    """Open the app in this terminal; the exit status.

    `settings` are in the form then, and with `start` they are started at once. A `run` is gone on
    with at once.

    Raises:
        UserError: there is no terminal here, or one that the app cannot run in.
    """
    if reason := refusal():
        raise UserError(f"{reason}; {_instead(run)}")
    from tui.terminal.captured_output import CapturedOutput
    from tui.terminal.guard import Guard, crash_file

    sys.setswitchinterval(ENGINE_TURN)
    with (
        CapturedOutput() as output,
        Guard(output.err.fileno(), output.last_words, crash_file()) as guard,
    ):
        faulthandler.enable(2)
        from tui.app import StudioApp
        from tui.terminal.signals import handle_signals

        app = StudioApp(settings, start=start, run=run, output=output)
        app.guard = guard
        saved = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
        # Textual draws on `sys.__stderr__` and asks `sys.__stdout__` for the size; descriptors 1
        # and 2 themselves are for libraries now. Drawing in
        # UTF-8 whatever the locale says: an unknown letter is better than a crash.
        screen = open(output.err.fileno(), "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stdout__ = sys.__stderr__ = screen  # pyright: ignore[reportConstantRedefinition]
        try:
            with handle_signals(app, output.err.fileno()):
                try:
                    app.run(mouse=wants_mouse(os.environ))
                finally:
                    app.end_session()
        finally:
            sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = saved  # pyright: ignore[reportConstantRedefinition]
    if line := _last_line(app):
        with contextlib.suppress(OSError):  # the terminal is gone
            print(safe_line(line), file=sys.stderr, flush=True)
    if app.abandoned or (app.session and app.session.lingers):
        os._exit(app.return_code or 0)  # not waiting for the engine's thread, or for what it loads
    return app.return_code or 0


def _last_line(app: "StudioApp") -> str:
    """What became of the run of this sitting, said once the terminal is the shell's again."""
    session, view = app.session, app.view
    if not session or not session.run or not view:
        return ""
    from tui.run.ending import ending, way_back

    view.fold(session.drain())  # what came after the screen had gone
    if app.abandoned:
        at = f"{view.name} was left at step {view.step} of {view.total_steps}"
        return f"{at}; {way_back(view)} goes on from its newest checkpoint"
    if app.leaves_running and session.status == "stopped":
        from tui.terminal.detach import detach

        return detach(session.run)
    if app.ended_by == signal.SIGHUP:  # whoever sits there now has not seen the run
        return ""
    error = [view.error.rstrip(".")] if view.error else []
    kept = [f"the run is kept in {session.run.path}"] if session.kept else []
    return "; ".join([f"{view.name}: {ending(view)}", *error, *kept])


def _instead(run: "Run | None") -> str:
    """What is to be done where the app cannot run."""
    if run is None:
        return WITHOUT
    if run.settings().human_judge:
        return ONLY_HERE.format(run.name)
    return RESUMED_WITHOUT.format(run.name)


def refusal() -> str | None:
    """Why the app cannot run here, in one line; None: it can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        return "the app needs a terminal"
    if (kind := os.environ.get("TERM", "")) in ("", "dumb", "unknown"):
        return f"TERM is {kind!r}, which cannot draw a screen"
    try:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return None
    if 0 < columns < LEAST_COLUMNS or 0 < lines < LEAST_LINES:
        return (
            f"the terminal has {columns} x {lines} cells and the app needs "
            f"{LEAST_COLUMNS} x {LEAST_LINES}"
        )
    return None


def wants_mouse(environ: Mapping[str, str]) -> bool:
    """Off over SSH, where it stands in the way of selecting text; LORA_STUDIO_MOUSE says else."""
    chosen = environ.get("LORA_STUDIO_MOUSE")
    if chosen is not None:
        return chosen not in ("", "0", "off", "no", "false")
    return not any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"))


def copy_sequence(text: str, environ: Mapping[str, str]) -> str | None:
    """What puts `text` on the clipboard of the person's own machine (OSC 52); None: too long."""
    data = text.encode("utf-8", errors="replace")
    if len(data) > COPY_LIMIT:
        return None
    sequence = f"{ESC}]52;c;{base64.b64encode(data).decode()}{BEL}"
    # tmux takes the sequence itself where it may set the clipboard, and else passes it on.
    return sequence + _passed_on(sequence, environ) if _inside(environ) else sequence


def notify_sequence(text: str, environ: Mapping[str, str]) -> str:
    """A bell, and a desktop notification where the terminal knows them (OSC 9)."""
    if environ.get("TERM") == "linux":  # the console would print what it does not know
        return BEL
    sequence = f"{ESC}]9;{safe_line(text, 200)}{BEL}"
    return BEL + (_passed_on(sequence, environ) if _inside(environ) else sequence)


def _inside(environ: Mapping[str, str]) -> bool:
    """Whether tmux or screen stands between us and the terminal."""
    return bool(environ.get("TMUX") or environ.get("STY"))


def _passed_on(sequence: str, environ: Mapping[str, str]) -> str:
    """A sequence wrapped so that tmux or screen hands it to the terminal outside."""
    if environ.get("TMUX"):
        return f"{ESC}Ptmux;{sequence.replace(ESC, ESC + ESC)}{ST}"
    parts = (sequence[at : at + CHUNK] for at in range(0, len(sequence), CHUNK))
    return "".join(f"{ESC}P{part}{ST}" for part in parts)


class Lines:
    """Text as it is printed, taken apart into whole lines; of a progress bar, the last state."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """The lines that this text completes, without empty ones."""
        *whole, rest = (self._rest + text).split("\n")
        self._rest = rest.rpartition("\r")[2][-4000:] if "\r" in rest[:-1] else rest[-4000:]
        shown = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in whole)
        return [line for line in shown if line]
