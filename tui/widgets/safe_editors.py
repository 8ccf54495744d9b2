"""Editors whose text is always safe to draw, whatever is pasted or put into them."""

from textual.binding import Binding
from textual.widgets import Input

from tui.text.safe_text import safe, safe_line
from tui.textual_private.text_area import CheckedTextArea

# Keys of characters that Textual does not know by the key's name.
CHARACTER_KEYS = {"plus", "minus", "slash", "at", "backslash", "underscore"}


class LineEditor(Input):
    """An `Input` without control characters, line ends or hidden text in it."""

    BINDINGS = [Binding("enter", "submit", "done", id="line.done")]  # noqa: RUF012

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether a key is typed here, and so cannot mean anything else."""
        return key in CHARACTER_KEYS or super().check_consume_key(key, character)

    def validate_value(self, value: str) -> str:
        """What is kept of a text."""
        return safe_line(value)


class TextEditor(CheckedTextArea):
    """A `TextArea` without control characters or hidden text in it."""

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Whether a key is typed here, and so cannot mean anything else."""
        return key in CHARACTER_KEYS or super().check_consume_key(key, character)

    def checked(self, text: str) -> str:
        """What is kept of a text."""
        return safe(text)
