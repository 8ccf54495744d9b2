"""Editors whose text is always safe to draw, whatever is pasted or put into them."""

import re

from textual import events
from textual.binding import Binding

from tui.text.safe_text import SHAPERS, kept
from tui.textual_private.line_input import ShapedInput
from tui.textual_private.text_area import CheckedTextArea

# Keys of characters that Textual does not know by the key's name.
CHARACTER_KEYS = {"plus", "minus", "slash", "at", "backslash", "underscore"}
_BREAKS = re.compile("[\n\v\f\x85\u2028\u2029]+")


class LineEditor(ShapedInput):
    """An `Input` without control characters, line ends or hidden text in it."""

    BINDINGS = [Binding("enter", "submit", "done", id="line.done")]  # noqa: RUF012

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether a key is typed here, and so cannot mean anything else."""
        typed = key in CHARACTER_KEYS or is_shaper(character)
        return typed or super().check_consume_key(key, character)

    def on_key(self, event: events.Key) -> None:
        """Put in a shaper, which an `Input` takes for no character."""
        if is_shaper(event.character):
            event.prevent_default()
            event.stop()
            self.replace(event.character or "", *self.selection)

    def validate_value(self, value: str) -> str:
        """What is kept of a text: several lines become one, with a space for each break."""
        return one_line(value)

    def on_paste(self, event: events.Paste) -> None:
        """Put in all that is pasted; an `Input` takes the first line alone."""
        event.prevent_default()
        event.stop()
        self.replace(event.text.strip("\r\n"), *self.selection)

    def replace(self, text: str, start: int, end: int) -> None:
        """Put a text in the place of another, with the cursor after what is kept of it."""
        before = self.value[: max(0, min(start, end))]
        super().replace(one_line(text, before), start, end)


class PromptLine(LineEditor):
    """A line for what a model is asked."""

    BINDINGS = [Binding("enter", "submit", "ask", id="line.ask")]  # noqa: RUF012


class TextEditor(CheckedTextArea):
    """A `TextArea` without control characters or hidden text in it.

    Undo is on the key of readline and on that of nano, since `ctrl+z` is the shell's.
    """

    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+underscore,alt+u", "undo", "undo", key_display="ctrl+_", id="text.undo"),
        Binding("ctrl+y,alt+e", "redo", "redo", show=False, id="text.redo"),
    ]

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Whether a key is typed here, and so cannot mean anything else."""
        typed = key in CHARACTER_KEYS or is_shaper(character)
        return typed or super().check_consume_key(key, character)

    def on_key(self, event: events.Key) -> None:
        """Put in a shaper, which a `TextArea` takes for no character."""
        if is_shaper(event.character) and not self.read_only:
            event.prevent_default()
            event.stop()
            self.replace(event.character or "", *self.selection, maintain_selection_offset=False)

    def checked(self, text: str, before: str = "") -> str:
        """What is kept of a text."""
        return kept(line_feeds(text), before)


def is_shaper(character: str | None) -> bool:
    """Whether a character is one that chooses between forms of those beside it."""
    return character is not None and len(character) == 1 and ord(character) in SHAPERS


def line_feeds(text: str) -> str:
    """`text` with one way to end a line; terminals paste a carriage return for each."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def one_line(text: str, before: str = "") -> str:
    """What is kept of a text after `before`, on one line: a run of line breaks, or a tab, is a
    space."""
    joined = _BREAKS.sub(" ", line_feeds(text).replace("\t", " "))
    return kept(joined, before)
