"""Opening: the first frame, drawn before anything that takes long to import."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from tui.shell.base import StudioScreen


class OpeningScreen(StudioScreen):
    """Says what comes, until it is there."""

    TITLE = "opening"
    DEFAULT_CSS = """
    OpeningScreen Static { padding: 0 1; color: $muted; }
    """

    def body(self) -> Iterable[Widget]:
        """One line."""
        yield Static("LoRA Studio · loading the form …", markup=False)
