"""Guide."""

from collections.abc import Iterable

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import StudioScreen


class GuideScreen(StudioScreen):
    """The guide, opened at a topic."""

    TITLE = "guide"
    BINDINGS = [Binding("escape", "app.back", "back", id="guide.back")]  # noqa: RUF012

    def __init__(self, topic: str | None = None) -> None:
        super().__init__()
        self.topic = topic

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        yield Static(f"guide: {self.topic}", markup=False)
