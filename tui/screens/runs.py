"""Runs."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import StudioScreen


class RunsScreen(StudioScreen):
    """Runs."""

    TITLE = "runs"

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        yield Static("runs")
