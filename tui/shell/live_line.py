"""The line about the run that goes on, under the title of every screen that does not show it."""

from textual.content import Content
from textual.events import Click
from textual.widget import Widget

from tui.state.live_run import LiveRun
from tui.text.format import count, duration
from tui.text.safe_text import cut, safe_line
from tui.text.win_rates import win_rates

NAME_WIDTH = 28  # cells of the run's name


class LiveLine(Widget):
    """`calm-otter · step 214 of 1,000 · 38 min · 71 ±6 % · 2 pairs wait · 0 goes there`"""

    DEFAULT_CSS = "LiveLine { height: 1; padding: 0 1; display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._facts: list[Content] = []
        self._way = ""

    def show(self, live: LiveRun | None, *, typing: bool = False) -> None:
        """Tell of a run, or of none; `typing` is whether digits are typed now."""
        facts = live_facts(live) if live else []
        way = "esc 0" if typing else "0"
        if (facts, way) != (self._facts, self._way):
            self._facts, self._way = facts, way
            self.display = bool(facts)
            self.refresh()

    def render(self) -> Content:
        """As many facts as fit, in the order in which they matter, and the way there."""
        way = Content.assemble((self._way, "$accent"), (" goes there", "$muted"))
        room = self.size.width - way.cell_length
        fitting: list[Content] = []
        for fact in self._facts:
            room -= fact.cell_length + len(" · ")
            if room < 0:
                break
            fitting.append(fact)
        return Content.styled(" · ", "$muted").join([*fitting, way])

    def on_click(self, event: Click) -> None:
        """Go there."""
        self.call_later(self.app.run_action, "live")


def live_facts(live: LiveRun) -> list[Content]:
    """What is told of a run, a few words each, what may be left out last."""
    steps = f" of {count(live.total_steps)}" if live.total_steps else ""
    facts = [
        Content.styled(cut(safe_line(live.name or "a new run", 200), NAME_WIDTH), "$accent"),
        Content.styled(f"step {count(live.step)}{steps}", "$foreground"),
    ]
    if live.paused:
        facts.append(Content.styled("paused", "$foreground"))
    elif live.seconds_left is not None:
        facts.append(Content.styled(duration(live.seconds_left), "$muted"))
    if live.evaluation:
        rates = " · ".join(each.percent for each in win_rates(live.evaluation))
        facts.append(Content.styled(rates, "$muted"))
    if live.waiting:
        words = "1 pair waits" if live.waiting == 1 else f"{live.waiting:,} pairs wait"
        facts.append(Content.styled(words, "$foreground"))
    if not live.here:
        facts.append(Content.styled("in another process", "$muted"))
    return facts
