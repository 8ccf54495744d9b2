"""What a line of text may become: a list below it, moved through from the line."""

from collections.abc import Callable, Sequence

from textual.content import Content
from textual.widgets import OptionList

Complete = Callable[[str], list[str]]  # what a text that was begun may become


class Offers(OptionList, can_focus=False):
    """Texts on offer; there only while there are any. The line that they complete keeps the focus.

    None is under the cursor until the line's owner moves there.
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.texts: Sequence[str] = ()
        self.display = False

    def offer(self, texts: Sequence[str]) -> None:
        """Offer other texts."""
        self.texts = texts
        self.display = bool(texts)
        self.set_options([Content(text) for text in texts])

    def move(self, by: int) -> None:
        """Move among the offers; above the first is the line itself."""
        if self.texts:
            at = self.highlighted
            at = (0 if by > 0 else len(self.texts) - 1) if at is None else at + by
            self.highlighted = None if at < 0 else min(at, len(self.texts) - 1)

    @property
    def selection(self) -> str | None:
        """The text under the cursor; None where the cursor is in the line."""
        return None if self.highlighted is None else self.texts[self.highlighted]

    @property
    def suggestion(self) -> str | None:
        """The text under the cursor, or the first one."""
        return self.selection or (self.texts[0] if self.texts else None)
