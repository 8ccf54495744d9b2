"""A line for text with what was typed there before on the arrow keys."""

from collections.abc import Iterable

from textual.binding import Binding

from tui.widgets.safe_editors import PromptLine

MOST = 500  # lines that are remembered


class HistoryLine(PromptLine):
    """Arrow up brings an earlier text, arrow down a later one, and after the newest what was
    being typed."""

    BINDINGS = [  # noqa: RUF012
        Binding("up", "recall(-1)", "typed before", show=False, id="history.up"),
        Binding("down", "recall(1)", "typed after", show=False, id="history.down"),
    ]

    def __init__(self, *, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, compact=True, id=id, select_on_focus=False)
        self._lines: list[str] = []
        self._at = 0  # the line in sight; after the last, what is being typed
        self._typed = ""

    def remember(self, lines: Iterable[str]) -> None:
        """Add lines, the newest last; the same twice in a row is one."""
        for line in lines:
            if line.strip() and line != (self._lines[-1] if self._lines else ""):
                self._lines.append(line)
        self._lines = self._lines[-MOST:]
        self._at, self._typed = len(self._lines), ""

    def action_recall(self, by: int) -> None:
        """Bring an earlier or a later line."""
        at = self._at + by
        if not 0 <= at <= len(self._lines):
            return
        if self._at == len(self._lines):
            self._typed = self.value
        self._at = at
        self.value = self._lines[at] if at < len(self._lines) else self._typed
        self.cursor_position = len(self.value)
