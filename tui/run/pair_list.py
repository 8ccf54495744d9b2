"""The last pairs of a run, a line each; the one under the cursor is shown in full below."""

from collections.abc import Sequence

from textual.content import Content

from engine.events import PairJudged
from tui.text.choice import words
from tui.text.prompt_text import prompt_line
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList


class PairList(RowList[PairJudged]):
    """Pairs, the newest first. The cursor follows the newest until it is moved."""

    DEFAULT_CSS = "PairList { height: 10; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(line, id=id, empty="no pair was judged yet")

    def show_pairs(self, pairs: Sequence[PairJudged]) -> None:
        """Show other pairs; the cursor stays with its pair, and on the newest where it was."""
        if list(pairs) == list(self.rows):
            return
        current = self.current if self.cursor else None
        at = next((place for place, each in enumerate(pairs) if each is current), 0)
        self.show(pairs, at)


def line(pair: PairJudged, width: int) -> Content:
    """What was said of a pair, how surely, and its prompt."""
    sure = "" if pair.q is None else f"{max(pair.q, 1 - pair.q):.2f}"
    facts = f"{words(pair.choice, pair.judge).cells:<4} {sure:>4}  "
    prompt = safe_line(prompt_line(pair.prompt, pair.messages), max(0, width - len(facts) - 1))
    return Content.assemble((facts, "$muted"), prompt)
