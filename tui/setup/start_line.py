"""The last line of the form: what a start will do, and the key for it."""

from textual.binding import Binding
from textual.events import Click
from textual.message import Message
from textual.widgets import Static


class StartLine(Static, can_focus=True):
    """Starts the run, and says in one sentence what that will do."""

    DEFAULT_CSS = """
    StartLine {
        height: 1; padding: 0 1;
        &:focus { background: $accent 30%; text-style: bold; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("enter", "press", "start", show=False, id="start.press"),
        Binding("space", "press", "start", show=False, id="start.press_too"),
    ]

    class Pressed(Message):
        """The run shall start."""

    def on_click(self, event: Click) -> None:
        """Start with a click."""
        self.action_press()

    def action_press(self) -> None:
        """Start with a key."""
        self.post_message(self.Pressed())
