"""The app: it owns the run that trains, the modes one can go to, and what all screens share."""

import contextlib
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.events import Event as TextualEvent
from textual.events import Key, Paste, Print

from engine.data_folder import data_folder
from engine.errors import RunError, UserError
from engine.events import Event, RunEnded
from tui.shell import keys
from tui.shell.base import StudioScreen
from tui.shell.key_order import KeyHandled, KeyOrder
from tui.shell.modes import modes
from tui.shell.theme_registry import ThemeRegistry
from tui.state.run_view import RunView
from tui.terminal import terminal
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.session import Session
    from engine.settings.schema import Settings
    from tui.shell.palette import Commands
    from tui.terminal.captured_output import CapturedOutput
    from tui.terminal.guard import Guard

DRAINS_PER_SECOND = 8
THEME_LOOKS_PER_SECOND = 1
PROBLEM_SECONDS = 20.0  # that a sentence about a bad file stays
STRAY_LINES = 200  # of library output that wait for a run to belong to


def _commands() -> "type[Commands]":
    from tui.shell.palette import Commands

    return Commands


class StudioApp(App[int], inherit_bindings=False):
    """LoRA Studio in a terminal.

    `session` is the run that trains in this process, or the last that did, or None; `view` is
    what is known of it. Each place (setup, run, review, runs) keeps its own stack of screens.
    """

    CSS_PATH = "studio.tcss"
    TITLE = "LoRA Studio"
    DEFAULT_MODE = "opening"
    COMMANDS = {_commands}  # noqa: RUF012
    BINDINGS = [  # noqa: RUF012
        Binding("f1", "guide", "guide", show=False, id="app.guide"),
        Binding("f2", "go('setup')", "setup", show=False, id="app.setup"),
        Binding("f3", "go('run')", "run", show=False, id="app.run"),
        Binding("f4", "go('review')", "review", show=False, id="app.review"),
        Binding("f5", "go('runs')", "runs", show=False, id="app.runs"),
        Binding("f8", "themes", "themes", show=False, id="app.themes"),
        Binding(
            "ctrl+p",
            "app.command_palette",
            "all commands",
            show=False,
            priority=True,
            id="app.palette",
        ),
        Binding("q,ctrl+c", "quit", "quit", show=False, id="app.quit"),
        Binding("ctrl+z", "suspend_process", "to the shell", show=False, id="app.shell"),
        Binding("question_mark", "keys", "keys", key_display="?", id="app.keys"),
        Binding("f9", "keys", "keys", id="app.keys_while_typing"),  # where ? is a letter
    ]

    def __init__(
        self,
        settings: "Settings | None" = None,
        *,
        start: bool = False,
        run: "Run | None" = None,
        output: "CapturedOutput | None" = None,
    ) -> None:
        """As `tui.terminal.terminal.run_app` is asked."""
        # Textual drops colours only where the terminal's own are asked for.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.session: Session | None = None
        self.view: RunView | None = None
        self.leaves_running = False  # the run goes on in a process of its own after the app
        self.abandoned = False  # the person left without waiting for a checkpoint
        self.ended_by: int | None = None  # a signal that asked for the end
        self.gone = threading.Event()  # the screen is given back
        self.guard: Guard | None = None  # gives the terminal back where the app cannot
        self.first_settings = settings  # that Setup opens with
        self.starts_at_once = start
        self._first_run = run  # that is gone on with at once
        self._output = output
        self._lines = terminal.Lines()
        self._stray: deque[str] = deque(maxlen=STRAY_LINES)
        self.quitting = False  # as soon as the run has ended
        self._pairs_waited = False
        self._ticked = 0.0
        self._modes.update(modes(self))
        self._themes = ThemeRegistry(self)
        self._key_order = KeyOrder(self, super().on_event)

    def on_mount(self) -> None:
        """Listen to the run; what the first frame does not need comes after it."""
        self.begin_capture_print(self)
        self.set_interval(1 / DRAINS_PER_SECOND, self.drain)
        self.set_interval(1 / THEME_LOOKS_PER_SECOND, self._reload_themes)

    async def on_ready(self) -> None:
        """The first frame is drawn; the form takes longer to import than all before it."""
        from tui.terminal import job_control

        if not self.is_headless:
            job_control.install(self)
        await self.switch_mode("setup")
        keymap = keys.load(data_folder())
        self.set_keymap(keymap.keys)
        self._say_problems([*self._themes.reload(), *keymap.problems])
        if self._first_run:
            try:
                self.resume_run(self._first_run)
            except (UserError, RunError) as error:
                self.say(safe_line(str(error), 300), PROBLEM_SECONDS)

    def _reload_themes(self) -> None:
        self._say_problems(self._themes.reload())

    def _say_problems(self, problems: Sequence[str]) -> None:
        if problems:
            self.say("\n".join(problems[:3]), PROBLEM_SECONDS)

    # -- the run ---------------------------------------------------------------------------------

    def start_run(self, settings: "Settings") -> None:
        """Start a new run and show it.

        Raises:
            UserError: it cannot start, or another run is still going.
        """
        self._begin(settings, None)

    def resume_run(self, run: "Run") -> None:
        """Resume a run from its newest checkpoint and show it.

        Raises:
            UserError: it cannot be resumed, or another run is still going.
        """
        self._begin(run.settings(), run)

    def _begin(self, settings: "Settings", run: "Run | None") -> None:
        from engine.session import Session

        self.refuse_second_run()
        view = RunView(settings=settings)
        if run:
            from tui.state.run_from_files import RunFromFiles

            view = RunFromFiles(run).view
            view.status, view.error = "running", None
        session = Session(settings, run, beside_screen=True)
        session.start()
        view.name = session.run.name if session.run else view.name
        self.session, self.view = session, view
        for line in self._stray:
            view.add_log(time.time(), "debug", line)
        self._stray.clear()
        self.open_review() if settings.human_judge else self.open_run()

    def refuse_second_run(self) -> None:
        """One run at a time trains in this process.

        Raises:
            UserError: another run is still going.
        """
        name = self.view.name if self.view else "a run"
        if self.session and self.session.alive:
            raise UserError(f"{name} is still going: stop it first, on the run screen.")
        if self.session and self.session.lingers:
            raise UserError(
                f"what {name} was loading cannot be broken off and is not over yet: try again in a "
                "moment, or leave the program and start it anew."
            )

    def stop_run(self, *, keep: bool = False) -> None:
        """Ask the run to end with a checkpoint; `keep` it even if nothing was trained yet."""
        if self.session:
            self.session.stop(keep=keep)
            self._tell_screen(())

    def outlives_screen(self) -> bool:
        """Whether the run goes on when the terminal is lost; one that is paused would do so for
        ever."""
        session = self.session
        if not session or not session.alive or session.stopping or session.settings.human_judge:
            return False
        if session.status == "paused":
            return False
        return session.settings.on_hangup == "continue"

    def end_session(self) -> None:
        """See the run to its end after the app has gone: now, or in its own time where only the
        terminal was lost. Nothing is waited for where the person left at once."""
        self.gone.set()
        if self.session and not self.abandoned:
            if self.ended_by != signal.SIGHUP or not self.outlives_screen():
                self.session.stop()
            self.session.screen_has_gone()
            self.session.join()

    def quit_when_stopped(self) -> None:
        """Quit as soon as the run has written its checkpoint."""
        self.quitting = True
        if not self.session or not self.session.alive:
            self._quit_now()

    def _quit_now(self) -> None:
        self.exit(return_code=128 + self.ended_by if self.ended_by else 0)

    def drain(self) -> None:
        """Take in what the run has told since the last time, and let the screen in front know."""
        if self._output:
            self._take_output(self._output.unread())
        session, view = self.session, self.view
        if not session or not view:
            return
        events = session.drain()
        view.fold(events)
        now = time.monotonic()
        if events or (view.live and now - self._ticked >= 1):
            self._ticked = now
            self._tell_screen(events)
        self._notify_person(session, events)
        if self.quitting and not session.alive:
            self._quit_now()

    def _tell_screen(self, events: Sequence[Event]) -> None:
        if isinstance(self.screen, StudioScreen) and self.screen.ready:
            self.screen.run_changed(events)

    def _notify_person(self, session: "Session", events: Sequence[Event]) -> None:
        """Ring when the run ends, and when a first pair waits for somebody who looks elsewhere."""
        name = self.view.name if self.view else "the run"
        for event in events:
            if isinstance(event, RunEnded):
                self.ring(f"{name} {event.status}")
                if self.current_mode != "run":
                    self.say(f"{name} {event.status}: f3 shows it")
        if session.settings.human_judge:
            waits = bool(session.waiting())
            if waits and not self._pairs_waited and self.current_mode != "review":
                self.ring(f"{name}: a pair waits for you")
                self.say("a pair waits for you: f4")
            self._pairs_waited = waits

    # -- output of libraries ---------------------------------------------------------------------

    def on_print(self, event: Print) -> None:
        """What Python code prints while the app is up goes to the log."""
        self._take_output(event.text)

    def _take_output(self, text: str) -> None:
        for line in self._lines.feed(text) if text else ():
            if self.view:
                self.view.add_log(time.time(), "debug", line)
            else:
                self._stray.append(line)

    # -- going modes ----------------------------------------------------------------------------

    def open_setup(self, settings: "Settings | None" = None, source: str = "a run") -> None:
        """Show the form, with these settings in it if any are given; `source` says whose."""
        from tui.setup.screen import SetupScreen

        opened = "setup" in self._screen_stacks and self.get_screen_stack("setup")
        self.first_settings = settings
        self.switch_mode("setup")
        if settings and opened and isinstance(opened[0], SetupScreen):
            opened[0].show(settings, source)
            for _ in opened[1:]:  # what lies over the form
                self.pop_screen()

    def open_run(self) -> None:
        """Show the run that trains now, or the last that did."""
        self.switch_mode("run")

    def open_review(self) -> None:
        """Show the pairs that wait for a person."""
        self.switch_mode("review")

    def open_runs(self) -> None:
        """Show all runs."""
        self.switch_mode("runs")

    def open_run_detail(self, name: str) -> None:
        """Show a run from its files."""
        from tui.archive.detail_screen import RunDetailScreen

        self.push_screen(RunDetailScreen(name))

    def open_try_it(self, run: "Run") -> None:
        """Ask the starting and the trained policy of a run."""
        from tui.archive.try_it_screen import TryItScreen

        self.push_screen(TryItScreen(run))

    def open_guide(self, topic: str | None = None) -> None:
        """Show the guide at a topic."""
        from tui.guide.screen import GuideScreen

        self.push_screen(GuideScreen(topic))

    # -- telling the person ----------------------------------------------------------------------

    def say(self, message: str, seconds: float | None = None) -> None:
        """Put a sentence in the key line of the screen in front. It is never markup."""
        screens = [each for each in self.screen_stack if isinstance(each, StudioScreen)]
        if screens and screens[-1].ready:
            screens[-1].say(message, seconds)
        elif screens:
            self.set_timer(0.1, lambda: self.say(message, seconds))

    def ring(self, text: str) -> None:
        """A bell, and a notification of the desktop where the terminal passes one on."""
        if self._driver and not self.is_headless:
            self._driver.write(terminal.notify_sequence(text, os.environ))

    def copy_to_clipboard(self, text: str) -> None:
        """Copy to the clipboard of the person's machine, through SSH and tmux."""
        self._clipboard = text
        sequence = terminal.copy_sequence(text, os.environ)
        if sequence is None:
            self.say("this is too long for a terminal's clipboard")
        elif self._driver and not self.is_headless:
            self._driver.write(sequence)

    def _handle_exception(self, error: Exception) -> None:
        """What breaks in a screen while the app closes is no news to anybody."""
        if not self._exit:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """A defect of ours: the trace goes to a file, and one line to the terminal given back."""
        from engine.runs.durable import StorageError, write_file
        from tui.terminal.guard import crash_file

        file = crash_file()
        with contextlib.suppress(StorageError):
            write_file(file, traceback.format_exc().encode(errors="replace"))
        text = f"lora-studio: the app broke ({safe_line(repr(self._exception), 200)}); see {file}"
        self._exit_renderables.append(Text(text))
        self._close_messages_no_wait()

    # -- actions ---------------------------------------------------------------------------------

    def action_go(self, place: str) -> None:
        """Go to one of the modes; from what lies over it, back to it."""
        if place != self.current_mode:
            getattr(self, f"open_{place}")()
        elif len(self.screen_stack) == 1:
            self.say(f"this is {place} already")
        else:
            for _ in self.screen_stack[1:]:
                self.pop_screen()

    async def action_back(self) -> None:
        """Leave a screen that lies on top of another."""
        if len(self.screen_stack) > 1:
            await self.pop_screen()

    def action_guide(self) -> None:
        """Open the guide at what has the focus."""
        screen = self.screen
        self.open_guide(screen.guide_topic() if isinstance(screen, StudioScreen) else None)

    def action_keys(self) -> None:
        """Show all keys of the screen."""
        from tui.shell.keys_overlay import KeysOverlay

        self.push_screen(KeysOverlay(self.screen))

    def action_command_palette(self) -> None:
        """Offer all commands, by search."""
        from tui.shell.palette import Palette

        if not Palette.is_open(self):  # pyright: ignore[reportArgumentType]
            self.push_screen(Palette(id="--command-palette"))

    def action_themes(self) -> None:
        """Choose a theme, seeing each."""
        from tui.shell.theme_picker import ThemePicker

        self.push_screen(ThemePicker())

    async def action_quit(self) -> None:
        """Quit; with a run going, ask what is to become of it."""
        from tui.shell import leaving

        session, name = self.session, self.view.name if self.view else "a run"
        if not session or not session.alive:
            self.exit()
        elif self.quitting:
            self.push_screen(leaving.still_saving(name), self._quit)
        else:
            human, loading = session.settings.human_judge, session.unbegun
            self.push_screen(leaving.leaving(name, human_judge=human, loading=loading), self._quit)

    def action_suspend_process(self) -> None:
        """Leave the terminal to the shell until `fg`."""
        from tui.terminal import job_control

        if not self.is_headless:
            job_control.suspend(self)

    def _quit(self, answer: str | None) -> None:
        if answer in ("stop", "leave running"):
            self.quitting = True
            self.leaves_running = answer == "leave running"
            then = "; then the run goes on without a screen" if self.leaves_running else ""
            saving = (
                ""
                if self.session and self.session.unbegun
                else " after this step, with a checkpoint"
            )
            self.say(f"quitting{saving}{then} …", PROBLEM_SECONDS)
            self.stop_run(keep=self.leaves_running)
        elif answer == "leave at once":
            self.abandoned = True
            self.exit(return_code=130)

    def get_key_display(self, binding: Binding) -> str:
        """A key as it is written in the key line."""
        return binding.key_display or keys.display(binding.key)

    async def on_event(self, event: TextualEvent) -> None:
        """Keys, and what is pasted, one at a time."""
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            await self._key_order.take(event)
        else:
            await super().on_event(event)

    @property
    def key_pressed(self) -> float:
        """When the key arrived that is handled now, by Textual's clock; infinity: there is none."""
        return self._key_order.pressed

    def on_key_handled(self, message: KeyHandled) -> None:
        """The next key may come."""
        self._key_order.reached_app(message)

    def on_key(self, event: Key) -> None:
        """A key that does nothing now says why."""
        screen = self.screen
        if isinstance(screen, StudioScreen) and event.key not in screen.active_bindings:
            key = keys.display(event.key)
            reason = keys.reason(screen, event.key)
            self.say(reason or f"{key} does nothing here · ? shows all keys")
