"""What came of a run that is over, in a sentence."""

from textual.content import Content
from textual.widget import Widget

from engine.events import Split
from tui.state.run_view import NOT_MEASURED, RunView
from tui.text.fault import setting_at_fault
from tui.text.safe_text import safe_line
from tui.text.win_rates import WinRate, win_rates

# What the win rate of the outcome was measured on. It may differ from the newest win rate among the
# run's metrics, which is from a validation during training.
MEASURED_ON: dict[Split, str] = {
    "valid": ", on prompts held out.",
    "test": ", on the test prompts.",
    "kept": ", on prompts held out, with answers drawn anew.",
}


class Outcome(Widget):
    """Shown once the run has ended: its win rate, or why it failed and where to look."""

    DEFAULT_CSS = """
    Outcome { height: auto; max-height: 4; margin: 1 0 0 0; display: none; }
    Outcome.-over { display: block; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Content("")

    def show(self, view: RunView | None, *, key: str = "") -> None:
        """Show the outcome of a view, or nothing while it is live; `key` measures a win rate."""
        over = view is not None and not view.live
        self.set_class(over, "-over")
        text = outcome(view, key) if view and over else Content("")
        if text != self._text:
            self._text = text
            self.refresh(layout=True)

    def render(self) -> Content:
        """The sentence."""
        return self._text


def _way_to_settings(view: RunView) -> str:
    key = setting_at_fault(view.error or "")
    return f"o the form at {key}" if key else "o its settings in the form"


def outcome(view: RunView, key: str = "") -> Content:
    """In words: how the run ended and what it is worth; `key` goes on with it and measures that."""
    if view.status == "failed":
        reason = safe_line(view.error or "see the log", 600)
        ways = f" (l opens the log, {_way_to_settings(view)})"  # first: a long reason is cut
        return Content.assemble(("It failed", "$bad"), (ways, "$muted"), (f": {reason}", "$bad"))
    if view.status == "untrained":
        reason = safe_line(view.error or "see the log", 600)
        ways = f" ({_way_to_settings(view)})"
        return Content.assemble(
            ("Nothing was learned", "$bad bold"), (ways, "$muted"), (f": {reason}", "$bad")
        )
    if view.error:
        return Content.styled(f"It can be resumed: {safe_line(view.error, 600)}", "$bad")
    if view.status == "stopped" and not view.total_steps:
        return Content.styled(
            "Stopped while it was loading: nothing was trained.", "$foreground bold"
        )
    ended = "Finished" if view.status == "finished" else "Stopped, and can be resumed"
    if view.ended_early and view.status == "finished":
        ended = safe_line(view.ended_early[:1].upper() + view.ended_early[1:], 300)
    could = _could(view)
    rated = view.evaluation
    if rated is None:
        return Content.assemble((f"{ended}.", "$foreground bold"), could)
    if view.only_start_measured:
        offer = f" · {key} goes on and measures it" if key and view.can_measure else ""
        return Content.assemble(
            (f"{ended}. ", "$foreground bold"),
            (f"Its win rate was {NOT_MEASURED}", "$foreground"),
            (f"{offer}.", "$muted"),
            could,
        )
    at = f" at step {rated.step:,}" if rated.step < view.step else ""
    return Content.assemble(
        (f"{ended}. ", "$foreground bold"),
        (f"Its answers{at} beat those of the model it started from ", "$foreground"),
        *_rates(win_rates(rated)),
        (MEASURED_ON[rated.split], "$foreground"),
        could,
    )


def _could(view: RunView) -> tuple[str, str]:
    """How much is left of what the model could do before, by the guard's suites; with its style."""
    suites = [
        f"{each.kept} of {each.before} {safe_line(each.suite, 24)}"
        for each in view.suites
        if each.before
    ]
    text = f" Of what it could do before it kept {', '.join(suites)}." if suites else ""
    return (text, "$foreground")


def _rates(rates: list[WinRate]) -> list[tuple[str, str]]:
    """`78 ±10 % of the time`, or by whom how often, with their styles."""
    parts = []
    for index, each in enumerate(rates):
        parts += [(" and ", "$foreground")] if index else []
        parts.append((each.percent, "$good bold" if each.low > 0.5 else "$foreground bold"))
        time = "" if index else " of the time"
        parts.append((f"{time} {each.who}".rstrip(), "$foreground"))
    return parts
