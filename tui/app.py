"""The app: it owns the run that trains, the screens and the themes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.events import Key
from textual.screen import Screen

from engine.errors import UserError
from tui import themes
from tui.run_view import RunView
from tui.screens.base import StudioScreen

if TYPE_CHECKING:
    from engine.run_folder import Run
    from engine.session import Session
    from engine.settings import Settings

DRAINS_PER_SECOND = 8


class StudioApp(App[int], inherit_bindings=False):
    """LoRA Studio in a terminal.

    `session` is the run that trains in this process, or None; `view` is what is known of it.
    Each place (setup, run, review, runs) keeps its own stack of screens.
    """

    CSS_PATH = "studio.tcss"
    TITLE = "LoRA Studio"
    DEFAULT_MODE = "setup"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {}
    BINDINGS = [  # noqa: RUF012
        Binding("f1", "guide", "guide", show=False, id="app.guide"),
        Binding("f2", "go('setup')", "setup", show=False, id="app.setup"),
        Binding("f3", "go('run')", "run", show=False, id="app.run"),
        Binding("f4", "go('review')", "review", show=False, id="app.review"),
        Binding("f5", "go('runs')", "runs", show=False, id="app.runs"),
        Binding("q,ctrl+c", "quit", "quit", show=False, id="app.quit"),
        Binding("question_mark,f9", "keys", "keys", key_display="?", id="app.keys"),
    ]

    def __init__(self, settings: "Settings | None" = None) -> None:
        super().__init__()
        self.register_theme(themes.read(themes.BUNDLED / f"{themes.DEFAULT}.yaml"))
        self.theme = themes.DEFAULT
        self.session: Session | None = None
        self.view: RunView | None = None
        self._first_settings = settings
        for mode, screen in _PLACES.items():
            self._modes[mode] = screen

    def on_mount(self) -> None:
        """Begin to listen to the run."""
        self.set_interval(1 / DRAINS_PER_SECOND, self.drain)
        if self._first_settings:
            self.open_setup(self._first_settings, "the given config")

    # -- the run ---------------------------------------------------------------------------------

    def start_run(self, settings: "Settings") -> None:
        """Start a new run and show it.

        Raises:
            UserError: it cannot start, or another run is still going.
        """
        from engine.session import Session

        self._begin(Session(settings), RunView(settings.run_name or "", settings=settings))

    def resume_run(self, run: "Run") -> None:
        """Resume a run from its newest checkpoint and show it.

        Raises:
            UserError: it cannot be resumed, or another run is still going.
        """
        from engine.session import Session

        settings = run.settings()
        self._begin(Session(settings, run), RunView(run.name, settings=settings))

    def _begin(self, session: "Session", view: RunView) -> None:
        if self.session and self.session.alive:
            name = self.view.name if self.view else "a run"
            raise UserError(f"{name} is still going: stop it first, on the run screen.")
        session.start()
        self.session, self.view = session, view
        self.open_run()

    def drain(self) -> None:
        """Take in what the run has told since the last time, and let the screen in front know."""
        if not self.session or not self.view:
            return
        if events := self.session.drain():
            self.view.fold(events)
            if isinstance(self.screen, StudioScreen) and self.screen.is_mounted:
                self.screen.run_changed(events)

    # -- going places ----------------------------------------------------------------------------

    def open_setup(self, settings: "Settings | None" = None, source: str = "a run") -> None:
        """Show the form; if settings are given, with them in it, and where they come from."""
        from tui.screens.setup import SetupScreen

        self.switch_mode("setup")
        form = self.screen_stack[0]
        if settings is not None and isinstance(form, SetupScreen):
            form.show(settings, source)

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
        from tui.screens.run_detail import RunDetailScreen

        self.push_screen(RunDetailScreen(name))

    def open_try_it(self, run: "Run") -> None:
        """Ask the starting and the trained policy of a run."""
        from tui.screens.try_it import TryItScreen

        self.push_screen(TryItScreen(run))

    def open_guide(self, topic: str | None = None) -> None:
        """Show the guide at a topic."""
        from tui.screens.guide import GuideScreen

        self.push_screen(GuideScreen(topic))

    def say(self, message: str, seconds: float | None = None) -> None:
        """Put a sentence in the key line of the screen in front. It is never markup."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, StudioScreen):
                screen.say(message, seconds)
                return

    # -- actions ---------------------------------------------------------------------------------

    def action_go(self, place: str) -> None:
        """Go to one of the places."""
        getattr(self, f"open_{place}")()

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
        from tui.screens.keys_overlay import KeysOverlay

        self.push_screen(KeysOverlay(self.screen))

    def on_key(self, event: Key) -> None:
        """A key that does nothing now says why."""
        screen = self.screen
        if isinstance(screen, StudioScreen) and event.key not in screen.active_bindings:
            bound = (
                namespace.key_to_bindings.get(event.key, ())
                for _, namespace in screen._binding_chain
            )
            reasons = (
                screen.why_not(binding.action.partition("(")[0])
                for each in bound
                for binding in each
            )
            key = self.get_key_display(Binding(event.key, ""))
            reason = next(filter(None, reasons), None)
            self.say(reason or f"{key} does nothing here · ? shows all keys")


def _setup() -> Screen[Any]:
    from tui.screens.setup import SetupScreen

    return SetupScreen()


def _run() -> Screen[Any]:
    from tui.screens.run import RunScreen

    return RunScreen()


def _review() -> Screen[Any]:
    from tui.screens.review import ReviewScreen

    return ReviewScreen()


def _runs() -> Screen[Any]:
    from tui.screens.runs import RunsScreen

    return RunsScreen()


_PLACES: dict[str, Callable[[], Screen[Any]]] = {
    "setup": _setup,
    "run": _run,
    "review": _review,
    "runs": _runs,
}
