"""Setup."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import StudioScreen


class SetupScreen(StudioScreen):
    """Setup."""

    TITLE = "setup"

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        yield Static("setup")
