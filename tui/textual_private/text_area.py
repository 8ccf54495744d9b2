"""What is private of Textual's text area; apart from the rest, since it takes long to import."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.document._document import EditResult
from textual.document._edit import Edit
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import TextArea


class CheckedTextArea(TextArea, inherit_bindings=False):
    """A text area that keeps of every text what `checked` leaves of it. Undo and redo have no key:
    Textual's is `ctrl+z`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        each
        for each in TextArea.BINDINGS
        if not (isinstance(each, Binding) and each.action in ("undo", "redo"))
    ]

    def checked(self, text: str) -> str:
        """Called with all that is typed, pasted or put into it."""
        raise NotImplementedError

    def render_lines(self, crop: Region) -> list[Strip]:
        """Nothing once it was taken away: a frame may be drawn before the screen knows of that,
        and its styles are gone by then, without which Textual's breaks."""
        if not self._component_styles:
            return [Strip.blank(crop.width)] * crop.height
        return super().render_lines(crop)

    def _set_document(self, text: str, language: str | None) -> None:
        """Where a whole text comes in, by the constructor, `load_text` and `text` alike."""
        super()._set_document(self.checked(text), language)

    def edit(self, edit: Edit) -> EditResult:
        """Put in a text. The types of what it takes and gives are private."""
        edit.text = self.checked(edit.text)
        return super().edit(edit)
