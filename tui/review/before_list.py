"""What was answered before in this sitting, newest first: a line each, with what was said."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from engine.events import Pick, Shown
from tui.review.label_queue import PastLabel
from tui.text.choice import shown_choice, words
from tui.text.safe_text import cut, safe_line
from tui.widgets.row_list import OpeningList
from tui.widgets.section_title import SectionTitle

NUMBER, VERDICT = 5, 9  # cells


class BeforeList(Vertical):
    """Labels of a sitting under a title. The cursor is on the newest until it is moved."""

    DEFAULT_CSS = """
    BeforeList { width: 30; height: 1fr; padding: 1 1 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.list: OpeningList[tuple[int, PastLabel]] = OpeningList(
            line, empty="none in this sitting", id="before-list"
        )

    def compose(self) -> ComposeResult:
        """Title and rows."""
        yield SectionTitle("before")
        yield self.list

    def show(self, labels: Sequence[tuple[int, PastLabel]]) -> None:
        """Show labels with their numbers; where they changed, the cursor goes to the newest."""
        if list(labels) != list(self.list.rows):
            self.list.show(labels, 0)


def _verdict(shown: Shown | Pick) -> str:
    return f"{shown.best + 1} ✓" if isinstance(shown, Pick) else words(shown_choice(shown)).label


def line(row: tuple[int, PastLabel], width: int) -> Content:
    """`17 1 ✓      How do I keep basil …`"""
    number, label = row
    verdict = _verdict(label.shown) if label.shown else ""
    facts = f"{number:>{NUMBER - 1}} {verdict:<{VERDICT}}"
    prompt = cut(safe_line(label.prompt, 300), max(0, width - len(facts) - 1))
    return Content.assemble((facts, "$muted"), prompt)
