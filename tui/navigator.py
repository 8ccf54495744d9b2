"""Where one can go in the app: from mode to mode, and to the screens that lie over them."""

import contextlib
from typing import TYPE_CHECKING, Any

from textual.app import App

from engine.errors import UserError
from tui import screens
from tui.shell.base import ERROR_SECONDS, StudioScreen
from tui.studio import studio_of
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.settings.schema import Settings
    from tui.setup.screen import SetupScreen
    from tui.state.live_run import LiveRun


class Navigator:
    """Makes the app's screens and puts them in front, as `tui.studio.Navigator` says.

    `settings` are those that Setup opens with; with `start` they are started at once.
    """

    def __init__(self, app: App[Any], settings: "Settings | None", *, start: bool) -> None:
        self._app = app
        self._settings = settings
        self._start = start

    # -- modes -----------------------------------------------------------------------------------

    def setup_screen(self) -> "SetupScreen":
        """The first screen of the mode `setup`."""
        return screens.setup(self._settings, start=self._start)

    def go(self, mode: str) -> None:
        """Go to one of the modes; from what lies over it, back to it."""
        if mode != self._app.current_mode:
            self._app.switch_mode(mode)
        elif len(self._app.screen_stack) == 1:
            studio_of(self._app).say(f"this is {mode} already")
        else:
            for _ in self._app.screen_stack[1:]:
                self._app.pop_screen()

    def go_live(self, live: "LiveRun | None") -> None:
        """Go to the run that goes on, wherever it is trained."""
        if live is None:
            studio_of(self._app).say("no run goes on now · f2 starts one")
        elif live.here:
            self.go("review" if live.human else "run")
        else:
            self._go_elsewhere(live)

    def _go_elsewhere(self, live: "LiveRun") -> None:
        stack = self._app.screen_stack
        shown = [isinstance(each, StudioScreen) and each.shows(live) for each in stack]
        if shown[-1]:
            studio_of(self._app).say("this is the run that goes on")
        elif any(shown):
            for _ in stack[shown.index(True) + 1 :]:
                self._app.pop_screen()
        else:
            self.open_run_detail(str(live.path))

    def open_setup(self, settings: "Settings | None" = None, source: str = "a run") -> None:
        """Show the form, with these settings in it if any are given; `source` says whose."""
        from tui.setup.screen import SetupScreen

        opened = []
        with contextlib.suppress(KeyError):  # nobody was there yet
            opened = self._app.get_screen_stack("setup")
        self._settings = settings
        self._app.switch_mode("setup")
        if settings and opened and isinstance(opened[0], SetupScreen):
            opened[0].show(settings, source)
            for _ in opened[1:]:  # what lies over the form
                self._app.pop_screen()

    def open_setting(self, key: str) -> None:
        """Show the form with the cursor on a setting."""
        from tui.setup.screen import SetupScreen

        if self._app.current_mode != "setup" or len(self._app.screen_stack) > 1:
            self.go("setup")
        form = self._app.get_screen_stack("setup")[0]
        if isinstance(form, SetupScreen):
            self._app.call_after_refresh(form.go_to, key)

    # -- over them -------------------------------------------------------------------------------

    def open_run_detail(self, name: str) -> None:
        """Show a run from its files; where it is gone or damaged, that is said."""
        try:
            self._app.push_screen(screens.run_detail(name))
        except UserError as error:
            studio_of(self._app).say(safe_line(str(error), 300), ERROR_SECONDS)

    def open_try_it(self, run: "Run") -> None:
        """Ask the starting and the trained policy of a run."""
        self._app.push_screen(screens.try_it(run))

    def open_chat(self, run: "Run") -> None:
        """Talk with the policies of a run."""
        self._app.push_screen(screens.chat(run))

    def open_queue(self) -> None:
        """Show the runs that wait for their turn."""
        self._app.push_screen(screens.queue())

    def open_judge_card(self, settings: "Settings") -> None:
        """Try the judge of the settings before anything is trained."""
        self._app.push_screen(screens.judge_card(settings))

    def open_export(self, run: "Run") -> None:
        """Ask what of a run is written for other programs, and where, and write it."""
        self._app.run_worker(screens.export(self._app, run))

    def open_publish(self, run: "Run") -> None:
        """Ask what of a run goes to the model hub, and send it."""
        self._app.push_screen(screens.publish(run))

    def open_guide(self, topic: str | None = None) -> None:
        """Show the guide at a topic, unless it is in front."""
        from tui.guide.screen import GuideScreen

        if isinstance(self._app.screen, GuideScreen):
            studio_of(self._app).say("this is the guide already")
        else:
            self._app.push_screen(screens.guide(topic))
