"""A thin titled rule above a part of a screen, with a word about its state at the right."""

from textual.content import Content
from textual.widget import Widget

from tui.text.safe_text import cut


class SectionTitle(Widget):
    """`log ─────────────── following`"""

    DEFAULT_CSS = "SectionTitle { height: 1; }"

    def __init__(self, title: str = "", state: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = title
        self._state = state
        self.accented = False

    def show(self, title: str, state: str = "", *, accented: bool = False) -> None:
        """Change the words; `accented` where the part below has the focus."""
        if (title, state, accented) != (self._title, self._state, self.accented):
            self._title, self._state, self.accented = title, state, accented
            self.refresh()

    def render(self) -> Content:
        """One line of the width of the part."""
        width = self.size.width
        title = cut(self._title, max(0, width - len(self._state) - 5))
        left = Content.styled(title, "$accent" if self.accented else "$muted")
        right = Content.styled(f" {self._state}" if self._state else "", "$muted")
        rule = max(0, width - left.cell_length - right.cell_length - 1)
        return Content.assemble(left, (" " + "─" * rule, "$faint"), right)
