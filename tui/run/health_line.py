"""One line that says how a run is doing, in plain words."""

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from engine.events import Finding
from tui.text.safe_text import cut, safe_line


class HealthLine(Widget):
    """`health: steady`, or the worst finding and how many more there are."""

    DEFAULT_CSS = "HealthLine { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._findings: Sequence[Finding] = ()
        self._steady = True

    def show(self, findings: Sequence[Finding], *, steady: bool = True) -> None:
        """Show findings, the worst first; where there are none, whether the run is steady."""
        if (findings, steady) != (self._findings, self._steady):
            self._findings, self._steady = findings, steady
            self.refresh()

    def render(self) -> Content:
        """The line."""
        label = Content.styled("health: ", "$muted")
        if not self._findings and not self._steady:
            return Content("")
        if not self._findings:
            return label + Content.styled("steady", "$good")
        worst = self._findings[0]
        more = f" · {len(self._findings) - 1} more" if len(self._findings) > 1 else ""
        tail = f"{more} · H explains"
        text = cut(
            safe_line(worst.text), max(10, self.size.width - label.cell_length - len(tail) - 2)
        )
        mark = "✗ " if worst.level == "bad" else "! "
        style = "$bad" if worst.level == "bad" else "$warning"
        return Content.assemble(label, (mark + text, style), (tail, "$muted"))
