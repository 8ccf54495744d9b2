"""What screens ask of the app, beside what Textual's own App gives them."""

from typing import TYPE_CHECKING, Protocol, cast

from textual.dom import DOMNode

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.session import Session
    from engine.settings.schema import Settings
    from tui.state.live_run import LiveRun
    from tui.state.run_control import RunControl
    from tui.state.run_view import RunView


class Navigator(Protocol):
    """The screens that one can go to from others."""

    def open_setup(self, settings: "Settings | None" = None, source: str = "a run") -> None:
        """Show the form, with these settings in it if any are given; `source` says whose."""
        ...

    def open_setting(self, key: str) -> None:
        """Show the form with the cursor on a setting."""
        ...

    def open_run_detail(self, name: str) -> None:
        """Show a run from its files."""
        ...

    def open_try_it(self, run: "Run") -> None:
        """Ask the starting and the trained policy of a run."""
        ...

    def open_chat(self, run: "Run") -> None:
        """Talk with the policies of a run."""
        ...

    def open_queue(self) -> None:
        """Show the runs that wait for their turn."""
        ...

    def open_judge_card(self, settings: "Settings") -> None:
        """Try the judge of the settings before anything is trained."""
        ...

    def open_export(self, run: "Run") -> None:
        """Ask what of a run is written for other programs, and where, and write it."""
        ...

    def open_publish(self, run: "Run") -> None:
        """Ask what of a run goes to the model hub, and send it."""
        ...


class Studio(Protocol):
    """The app as its screens know it: the run that trains in it, and the way to other screens.

    `session` is the run that trains in this process, or the last that did, or None; `view` is
    what is known of it.
    """

    @property
    def control(self) -> "RunControl":
        """What starts and ends the run."""
        ...

    @property
    def navigator(self) -> Navigator:
        """What opens other screens."""
        ...

    @property
    def session(self) -> "Session | None": ...

    @property
    def view(self) -> "RunView | None": ...

    @property
    def live(self) -> "LiveRun | None":
        """The run that goes on now: the one of this process, or else one of another."""
        ...

    @property
    def key_pressed(self) -> float:
        """When the key arrived that is handled now, by Textual's clock; infinity: there is none."""
        ...

    def start_run(self, settings: "Settings") -> None:
        """Start a new run and show it.

        Raises:
            UserError: it cannot start, or another run is still going.
        """
        ...

    def resume_run(self, run: "Run", *, evaluate: bool = False, back_to: int | None = None) -> None:
        """Resume a run from its newest checkpoint, or from that of the step `back_to`, and show it;
        with `evaluate`, measure its win rate before it goes on.

        Raises:
            UserError: it cannot be resumed, or another run is still going.
        """
        ...

    def say(self, message: str, seconds: float | None = None, *, gives_way: bool = False) -> None:
        """Put a sentence in the key line of the screen in front. It is never markup. One that
        gives way is shown only where no other stands."""
        ...


def studio_of(node: DOMNode) -> Studio:
    """The app of a screen or widget, with its own type."""
    return cast(Studio, node.app)
