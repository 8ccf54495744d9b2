"""What is private of Textual's text area; apart from the rest, since it takes long to import."""

from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.document._document import EditResult
from textual.document._edit import Edit
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import TextArea

from tui.text.safe_text import as_kept, drawn, laid_out


class CheckedTextArea(TextArea, inherit_bindings=False):
    """A text area that keeps of every text what `checked` leaves of it, and measures and draws
    shapers as nothing. Undo and redo have no key: Textual's is `ctrl+z`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        each
        for each in TextArea.BINDINGS
        if not (isinstance(each, Binding) and each.action in ("undo", "redo"))
    ]

    def checked(self, text: str, before: str = "") -> str:
        """Called with all that is typed, pasted or put into it, after `before` in its line."""
        raise NotImplementedError

    def render_lines(self, crop: Region) -> list[Strip]:
        """Nothing once it was taken away: a frame may be drawn before the screen knows of that,
        and its styles are gone by then, without which Textual's breaks."""
        if not self._component_styles:
            return [Strip.blank(crop.width)] * crop.height
        return [draw(strip) for strip in super().render_lines(crop)]

    def _set_document(self, text: str, language: str | None) -> None:
        """Where a whole text comes in, by the constructor, `load_text` and `text` alike."""
        document = getattr(self, "document", None)
        if document is not None and text == document.text:  # its own, for another language
            text = as_kept(text)
        super()._set_document(laid_out(self.checked(text)), language)

    def edit(self, edit: Edit) -> EditResult:
        """Put in a text. The types of what it takes and gives are private."""
        row, column = edit.top
        before = as_kept(self.document.get_line(row)[:column])
        edit.text = laid_out(self.checked(edit.text, before))
        return super().edit(edit)

    @property
    def text(self) -> str:
        """All that was kept."""
        return as_kept(super().text)

    @text.setter
    def text(self, value: str) -> None:
        self.load_text(value)

    def get_text_range(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """What was kept between two places."""
        return as_kept(super().get_text_range(start, end))


def draw(strip: Strip) -> Strip:
    """A strip without the stand-ins of shapers, in as many cells."""
    if all(segment.text.isascii() for segment in strip):
        return strip
    segments = [Segment(drawn(text), style, control) for text, style, control in strip]
    return Strip(segments, strip.cell_length)
