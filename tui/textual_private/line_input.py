"""What is private of Textual's input line: how it measures and draws its value."""

from rich.cells import cell_len
from rich.text import Text
from textual.strip import Strip
from textual.widgets import Input

from tui.text.safe_text import laid_out
from tui.textual_private.text_area import draw


class ShapedInput(Input):
    """An input line that measures and draws shapers as nothing."""

    def replace(self, text: str, start: int, end: int) -> None:
        """Put a text in the place of another. To the end of the first text that comes into a line
        Textual does not scroll."""
        self._initial_value = False
        super().replace(text, start, end)

    def render_line(self, y: int) -> Strip:
        """A line of what is typed."""
        return draw(super().render_line(y))

    @property
    def _value(self) -> Text:
        text = super()._value
        text.plain = laid_out(text.plain)
        return text

    def _position_to_cell(self, position: int) -> int:
        return cell_len(laid_out(self.value[:position]))  # which has no tabs
