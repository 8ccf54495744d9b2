"""The last line of the form: what a start will do, and the key for it."""

from textual.binding import Binding
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from tui.setup import presets
from tui.setup.form import Form
from tui.text.safe_text import safe_line


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

    def show(self, form: Form, refusal: str) -> None:
        """Say what a start will do, or why it cannot be: for the form, or for its cost."""
        if form.problems:
            key, reason = next(iter(form.problems.items()))
            text = Content.assemble(("! cannot start  ", "$bad"), safe_line(f"{key} {reason}", 300))
        elif refusal:
            text = Content.assemble(("! will not fit  ", "$bad"), safe_line(refusal, 400))
        else:
            words = safe_line(presets.describe(form.settings), 200)
            text = Content.assemble(("▶ start  ", "$accent"), (words, "$muted"))
        self.update(text)

    def on_click(self, event: Click) -> None:
        """Start with a click."""
        self.action_press()

    def action_press(self) -> None:
        """Start with a key."""
        self.post_message(self.Pressed())
