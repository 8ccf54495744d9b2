"""Run: what the run that trains now is doing."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import StudioScreen


class RunScreen(StudioScreen):
    """The live run."""

    TITLE = "run"

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        yield Static("run")
