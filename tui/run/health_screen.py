"""What the health line means: each finding, what it says of the run, and what to try."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.events import Finding, SuiteChange
from tui.text.safe_text import safe_line
from tui.text.suite_changes import table


class HealthOverlay(ModalScreen[None]):
    """All findings in full."""

    DEFAULT_CSS = """
    HealthOverlay { align: center middle; background: $background 60%; }
    HealthOverlay VerticalScroll {
        width: 78; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; padding: 1 2;
    }
    HealthOverlay Static { height: auto; }
    """
    BINDINGS = [Binding("escape,H,q", "dismiss", "close", id="health.close")]  # noqa: RUF012

    def __init__(self, findings: Sequence[Finding], suites: tuple[SuiteChange, ...] = ()) -> None:
        super().__init__()
        self._findings = findings
        self._suites = suites

    def compose(self) -> ComposeResult:
        """A paragraph a finding, and a line each suite of the guard."""
        with VerticalScroll():
            if self._suites:
                yield Static(suites_in_words(self._suites))
            yield Static(explained(self._findings))


def suites_in_words(suites: tuple[SuiteChange, ...]) -> Content:
    """What the model could do before the run, and can do now."""
    title = Content.styled("what it could do before, and now", "$accent")
    return Content("\n").join([title, *map(Content, table(suites)), Content("")])


def explained(findings: Sequence[Finding]) -> Content:
    """What is seen, what it means, what to try."""
    if not findings:
        return Content.assemble(
            ("steady\n\n", "$good bold"),
            "Nothing unusual in the recent steps: losses and gradients are finite, answers keep "
            "their length, the policy stays near its reference, and the judge agrees with itself.",
            ("\n\nesc closes", "$muted"),
        )
    parts: list[Content] = []
    for finding in findings:
        style = "$bad bold" if finding.level == "bad" else "$warning bold"
        mark = "✗" if finding.level == "bad" else "!"
        parts.append(
            Content.assemble(
                (f"{mark} {safe_line(finding.text)}\n", style),
                f"{safe_line(finding.means)}\n",
                ("try: ", "$accent"),
                safe_line(finding.advice),
            )
        )
    return Content("\n\n").join([*parts, Content.styled("esc closes", "$muted")])
