"""Run detail."""

from collections.abc import Iterable

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import StudioScreen


class RunDetailScreen(StudioScreen):
    """A run from its files."""

    TITLE = "run detail"
    BINDINGS = [Binding("escape", "app.back", "back", id="run_detail.back")]  # noqa: RUF012

    def __init__(self, name: str) -> None:
        super().__init__()
        self.run_name = name

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        yield Static(self.run_name, markup=False)
