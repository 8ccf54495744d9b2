"""The app: it owns the run that trains, the modes one can go to, and what all screens share."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.events import Event as TextualEvent
from textual.events import Key, Paste, Print

from engine.data_folder import data_folder
from engine.errors import RunError, UserError
from engine.events import Event, RunEnded
from engine.machine.launch import place
from tui import screens, textual_private
from tui.bindings import bindings_by_id
from tui.navigator import Navigator
from tui.shell import keys
from tui.shell.base import ERROR_SECONDS, StudioScreen
from tui.shell.key_order import KeyHandled, KeyOrder
from tui.shell.theme_registry import ThemeRegistry
from tui.state.live_run import live_here
from tui.state.run_control import THE_PERSON, RunControl
from tui.terminal import guard, sequences
from tui.terminal.captured_output import Lines
from tui.terminal.exit_status import STOPPED_BY
from tui.text.safe_text import safe_line
from tui.widgets.from_thread import is_reading

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.session import Session
    from engine.settings.schema import Settings
    from tui.state.live_run import LiveRun
    from tui.state.run_view import RunView
    from tui.terminal.captured_output import CapturedOutput

DRAINS_PER_SECOND = 8
THEME_SECONDS = 1.0  # between two looks at the theme files
ELSEWHERE_SECONDS = 2.0  # between two looks at what other processes train


class StudioApp(textual_private.AppBase, inherit_bindings=False):
    """LoRA Studio in a terminal: what `tui.studio.Studio` says of it, and the keys of every screen.

    Each mode (setup, run, review, runs) keeps its own stack of screens.
    """

    CSS_PATH = "studio.tcss"
    TITLE = "LoRA Studio"
    MODES = screens.MODES
    DEFAULT_MODE = "opening"
    COMMANDS = {screens.commands}  # noqa: RUF012
    BINDINGS = [  # noqa: RUF012
        Binding("f1", "guide", "guide", show=False, id="app.guide"),
        Binding("f2", "go('setup')", "setup", show=False, id="app.setup"),
        Binding("f3", "go('run')", "run", show=False, id="app.run"),
        Binding("f4", "go('review')", "review", show=False, id="app.review"),
        Binding("f5", "go('runs')", "runs", show=False, id="app.runs"),
        Binding("0", "live", "the run that goes on", show=False, id="app.live"),
        Binding("f8", "themes", "themes", show=False, id="app.themes"),
        Binding(
            "ctrl+p",
            "app.command_palette",
            "all commands",
            show=False,
            priority=True,
            id="app.palette",
        ),
        Binding(
            "colon",
            "app.command_palette",
            "all commands",
            show=False,
            key_display=":",
            id="app.colon",
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
        back_to: int | None = None,
        output: "CapturedOutput | None" = None,
    ) -> None:
        """`settings`, `start`, `run` and `back_to` as `tui.run_app.run_app` takes them; what
        libraries print is read from `output`."""
        # Textual drops colours only where the terminal's own are asked for.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.control = RunControl()
        self.navigator = Navigator(self, settings, start=start)
        self.after_first_frame: Callable[[], None] = lambda: None
        self.quitting = False  # as soon as the run has ended
        self._leaves_after_export = False
        self._first_run = run  # that is gone on with at once
        self._back_to = back_to  # the step of the checkpoint that it goes on from
        self._output = output
        self._lines = Lines()
        self._pairs_waited = False
        self._ticked = 0.0
        self._alive = False  # whether the run was at work when last looked at
        self._elsewhere: LiveRun | None = None  # that another process trains
        self.add_mode("setup", self.navigator.setup_screen)
        self._themes = ThemeRegistry(self)
        self._key_order = KeyOrder(self, super().on_event)

    @property
    def session(self) -> "Session | None":
        """The run that trains in this process, or the last that did."""
        return self.control.session

    @property
    def view(self) -> "RunView | None":
        """What is known of it."""
        return self.control.view

    @property
    def live(self) -> "LiveRun | None":
        """The run that goes on now: the one of this process, or else one of another."""
        return live_here(self.session, self.view) or self._elsewhere

    def on_mount(self) -> None:
        """Listen to the run; what the first frame does not need comes after it."""
        self.begin_capture_print(self)
        self.set_interval(1 / DRAINS_PER_SECOND, self.drain)

    async def on_ready(self) -> None:
        """The first frame is drawn; the form takes longer to import than all before it."""
        self.after_first_frame()
        self._look_elsewhere()
        self.set_interval(ELSEWHERE_SECONDS, self._look_elsewhere)
        await self.switch_mode("setup")
        keymap = keys.load(data_folder(), lambda: bindings_by_id(StudioApp))
        self.set_keymap(keymap.keys)
        self._say_problems([*self._themes.reload(), *keymap.problems])
        self.set_interval(THEME_SECONDS, self._look_at_themes)
        if self._first_run:
            try:
                self.resume_run(self._first_run, back_to=self._back_to)
            except (UserError, RunError) as error:
                self.say(safe_line(str(error), 300), ERROR_SECONDS)

    def _look_at_themes(self) -> None:
        if not is_reading(self, "themes"):
            self._read_themes()

    @work(group="themes")
    async def _read_themes(self) -> None:
        files = await asyncio.to_thread(self._themes.read)
        self._say_problems(self._themes.take(files))

    def _say_problems(self, problems: Sequence[str]) -> None:
        if problems:
            self.say("\n".join(problems[:3]), ERROR_SECONDS)

    def _look_elsewhere(self) -> None:
        """Which run another process trains matters only while none trains here."""
        if not self.control.alive and not is_reading(self, "elsewhere"):
            self._read_elsewhere()

    @work(thread=True, group="elsewhere")
    def _read_elsewhere(self) -> None:
        from tui.state.live_elsewhere import live_elsewhere

        self._elsewhere = live_elsewhere()

    # -- the run ---------------------------------------------------------------------------------

    def start_run(self, settings: "Settings") -> None:
        """Start a new run and show it.

        Raises:
            UserError: it cannot start, or another run is still going.
        """
        self.control.start(settings)
        self._show_run()

    def resume_run(self, run: "Run", *, evaluate: bool = False, back_to: int | None = None) -> None:
        """Resume a run from its newest checkpoint, or from that of the step `back_to`, and show it;
        with `evaluate`, measure its win rate before it goes on.

        Raises:
            UserError: it cannot be resumed, or another run is still going.
        """
        self.control.resume(run, back_to=back_to)
        if evaluate and self.session:
            self.session.evaluate_now()
        self._show_run()

    def _show_run(self) -> None:
        self._pairs_waited = False
        human = self.session and self.session.settings.human_judge
        self.switch_mode("review" if human else "run")
        while isinstance(self.screen, StudioScreen) and self.screen.LOOKS_BACK:
            self.pop_screen()

    def quit_when_stopped(self) -> None:
        """Quit as soon as the run has written its checkpoint."""
        self.quitting = True
        if not self.control.alive:
            self._quit_now()

    def _quit_now(self) -> None:
        number = self.control.ended_by
        self.exit(return_code=STOPPED_BY + number if number else 0)

    def drain(self) -> None:
        """Take in what the run has told since the last time, and let the screen in front know."""
        if self._output:
            self._take_output(self._output.unread())
        self._tell_live()
        if self._leaves_after_export and not self.control.exporting:
            self._leaves_after_export = False
            self.control.waited_for_export = True
            self._leave_run()
        session, view = self.session, self.view
        if not session or not view:
            return
        # The last event comes just before the engine's thread ends, and what one can do then after.
        ended, self._alive = self._alive and not session.alive, session.alive
        events = self.control.drain()
        now = time.monotonic()
        if events or ended or (view.live and now - self._ticked >= 1):
            self._ticked = now
            self._tell_screen(events)
        self._notify_person(session, events)
        if self.quitting and not session.alive:
            self._quit_now()

    @property
    def _in_sight(self) -> StudioScreen | None:
        """The screen that is told of the run: the one in front, or under what is seen through."""
        if not self.is_running:  # it closes, and the screen's parts go one after the other
            return None
        through = getattr(self.screen, "SEEN_THROUGH", False) and len(self.screen_stack) > 1
        screen = self.screen_stack[-2] if through else self.screen
        return screen if isinstance(screen, StudioScreen) and screen.ready else None

    def _tell_live(self) -> None:
        if screen := self._in_sight:
            screen.show_live(self.live)

    def _tell_screen(self, events: Sequence[Event]) -> None:
        if screen := self._in_sight:
            screen.run_changed(events)

    def _notify_person(self, session: "Session", events: Sequence[Event]) -> None:
        """Ring when the run ends, and when a first pair waits for somebody who looks elsewhere."""
        name = self.control.name
        for event in events:
            if isinstance(event, RunEnded):
                self.ring(f"{name} {event.status}")
                if self.current_mode != "run":
                    self.say(f"{name} {event.status}: f3 shows it")
        if session.settings.asks_person:
            # Beside a model pairs come and go, so that only the first is worth a bell.
            rung = self._pairs_waited and not session.settings.human_judge
            waits = rung or bool(session.waiting())
            if waits and not self._pairs_waited and self.current_mode != "review":
                self.ring(f"{name}: a pair waits for you")
                self.say("a pair waits for you: f4")
            self._pairs_waited = waits

    # -- output of libraries ---------------------------------------------------------------------

    def on_print(self, event: Print) -> None:
        """What Python code prints while the app is up goes to the log."""
        self._take_output(event.text)

    def _take_output(self, text: str) -> None:
        if text:
            self.control.add_output(self._lines.feed(text))

    # -- telling the person ----------------------------------------------------------------------

    def say(self, message: str, seconds: float | None = None, *, gives_way: bool = False) -> None:
        """Put a sentence in the key line of the screen in front. It is never markup."""
        stack = [each for each in self.screen_stack if isinstance(each, StudioScreen)]
        if stack and stack[-1].ready:
            stack[-1].say(message, seconds, gives_way=gives_way)
        elif stack:
            self.set_timer(0.1, lambda: self.say(message, seconds, gives_way=gives_way))

    def ring(self, text: str) -> None:
        """A bell, and a notification of the desktop where the terminal passes one on."""
        textual_private.write(self, sequences.notify_sequence(text, os.environ))

    def copy_to_clipboard(self, text: str) -> None:
        """Copy to the clipboard of the person's machine, through SSH and tmux."""
        self.set_clipboard(text)
        sequence = sequences.copy_sequence(text, os.environ)
        if sequence is None:
            self.say("this is too long for a terminal's clipboard")
        else:
            textual_private.write(self, sequence)

    def defect_line(self, error: Exception | None) -> str:
        """A defect of ours: the trace goes to a file, and one line to the terminal given back."""
        file = guard.keep_trace()
        return f"lora-studio: the app broke ({safe_line(repr(error), 200)}); see {file}"

    # -- actions ---------------------------------------------------------------------------------

    def action_go(self, mode: str) -> None:
        """Go to one of the modes; from what lies over it, back to it."""
        self.navigator.go(mode)

    def action_live(self) -> None:
        """Go to the run that goes on, wherever it is trained."""
        self.navigator.go_live(self.live)

    async def action_back(self) -> None:
        """Leave a screen that lies on top of another."""
        if len(self.screen_stack) > 1:
            await self.pop_screen()

    def action_guide(self) -> None:
        """Open the guide at what has the focus."""
        screen = self.screen
        self.navigator.open_guide(
            screen.guide_topic() if isinstance(screen, StudioScreen) else None
        )

    def action_keys(self) -> None:
        """Show all keys of the screen."""
        self.push_screen(screens.keys(self.screen))

    def action_command_palette(self) -> None:
        """Offer all commands, by search."""
        palette = screens.palette()
        if not palette.is_open(self):  # pyright: ignore[reportArgumentType]
            self.push_screen(palette)

    def action_themes(self) -> None:
        """Choose a theme, seeing each."""
        self.push_screen(screens.themes())

    async def action_quit(self) -> None:
        """Quit; with an export or a run going, ask what is to become of it."""
        from tui.shell import leaving

        if self.control.exporting:
            self.push_screen(leaving.still_exporting(), self._leave_export)
        else:
            self._leave_run()

    def _leave_export(self, answer: str | None) -> None:
        from tui.shell.leaving import AT_ONCE, WAIT

        self._leaves_after_export = answer == WAIT
        if answer == AT_ONCE:
            self._leave_run()

    def _leave_run(self) -> None:
        from tui.shell import leaving

        session, name = self.session, self.control.name
        if not session or not session.alive:
            self.exit()
        elif self.quitting:
            self.push_screen(leaving.still_saving(name), self._quit)
        else:
            bound = session.settings.human_judge or place() is not None
            question = leaving.leaving(name, bound=bound, loading=session.unbegun)
            self.push_screen(question, self._quit)

    def _quit(self, answer: str | None) -> None:
        from tui.shell.leaving import AT_ONCE, LEAVE_RUNNING, STOP

        if answer in (STOP, LEAVE_RUNNING):
            self.quitting = True
            self.control.leaves_running = answer == LEAVE_RUNNING
            saves = self.session and not self.session.unbegun
            saving = " with a checkpoint" if saves else ""
            then = "; then the run goes on without a screen" if self.control.leaves_running else ""
            self.say(f"quitting{saving}{then} …", ERROR_SECONDS)
            goes_on = self.control.leaves_running
            self.control.stop(keep=goes_on, by="" if goes_on else THE_PERSON)
            self._tell_screen(())
        elif answer == AT_ONCE:
            self.control.abandoned = True
            self.exit(return_code=STOPPED_BY + signal.SIGINT)

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
