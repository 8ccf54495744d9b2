"""Try it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import StudioScreen

if TYPE_CHECKING:
    from engine.run_folder import Run


class TryItScreen(StudioScreen):
    """The starting and the trained policy, side by side."""

    TITLE = "try it"
    BINDINGS = [Binding("escape", "app.back", "back", id="try_it.back")]  # noqa: RUF012

    def __init__(self, run: "Run") -> None:
        super().__init__()
        self.run = run

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        yield Static(self.run.name, markup=False)
