"""What all screens share: the key line, and how they hear of the run."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from engine.events import Event
from tui.widgets.key_line import KeyLine

if TYPE_CHECKING:
    from tui.app import StudioApp


class StudioScreen(Screen[None]):
    """A full screen of the program.

    A subclass yields its widgets from `body`; the key line comes last by itself. Every binding
    has an id, `<screen>.<action>`, by which keys.yaml can give it another key. For an action that
    can do nothing now, `why_not` gives the reason: its key is not shown, and pressing it says so.
    """

    # A width from which parts stand side by side.
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (36, "-tall")]  # noqa: RUF012

    TITLE = ""  # of the screen, in the list of its keys

    @property
    def studio(self) -> "StudioApp":
        """The app, with its own type."""
        from tui.app import StudioApp

        assert isinstance(self.app, StudioApp)
        return self.app

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        return ()

    def compose(self) -> ComposeResult:
        """The body above the key line."""
        yield from self.body()
        yield KeyLine()

    def on_screen_resume(self) -> None:
        """Catch up with the run after another screen was in front."""
        self.run_changed(())

    def run_changed(self, events: Sequence[Event]) -> None:
        """Called when `studio.view` has changed; `events` are those folded into it since."""

    def why_not(self, action: str) -> str | None:
        """Why an action can do nothing now, in a short sentence; None: it can."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done is not offered."""
        return self.why_not(action) is None

    def guide_topic(self) -> str | None:
        """What the guide opens at: for Setup the focused field, for others the screen's topic."""
        return self.TITLE or None

    def say(self, message: str, seconds: float | None = None) -> None:
        """Put a sentence in the place of the keys for some seconds. It is never markup."""
        self.query_one(KeyLine).say(message, *(() if seconds is None else (seconds,)))
