"""The last line of the form: what a start will do, and the key for it."""

from textual.binding import Binding
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from tui.setup import presets
from tui.setup.form import Form
from tui.state.live_run import LiveRun
from tui.text.safe_text import cut, safe_line

NAME_WIDTH = 24  # cells of the name of a run that goes on: with all else they fill 80


def absence(key: str, name: str) -> str:
    """That a model or data cannot be had, in a sentence without its end."""
    return f"{key} {safe_line(name, 60)} is not on this machine, and the hub is out of reach"


class StartLine(Static, can_focus=True):
    """Starts the run, and says in one sentence what that will do."""

    DEFAULT_CSS = """
    StartLine {
        height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis;
        &:focus { background: $accent 20%; text-style: bold; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("enter", "press", "start", show=False, id="start.press"),
        Binding("space", "press", "start", show=False, id="start.press_too"),
    ]

    class Pressed(Message):
        """The run shall start."""

    def __init__(self) -> None:
        super().__init__()
        self._form: Form | None = None
        self._refusal = ""
        self._absent: tuple[str, str] | None = None
        self._live = ("", False)  # the run that goes on, and whether it does so here
        self._lingering = ""  # the run that is over and whose load is not

    def show(self, form: Form, refusal: str, absent: tuple[str, str] | None = None) -> None:
        """Say what a start will do, or why it cannot be: for the form, for what is not on this
        machine (the key and the name), or for its cost."""
        self._form, self._refusal, self._absent = form, refusal, absent
        self._draw()

    def show_live(self, live: LiveRun | None, lingering: str = "") -> bool:
        """Say that a run goes on, or that what the one of that name was loading is not over: one
        at a time trains here. Whether that is new."""
        now = (live.name or "a run", live.here) if live else ("", False)
        if (now, lingering) == (self._live, self._lingering):
            return False
        self._live, self._lingering = now, lingering
        self._draw()
        return True

    def what_enter_does(self) -> str:
        """What a press does now, in a sentence: it starts the run, or says why there is none."""
        name, here = self._live
        if self._form and self._form.problems:
            return f"enter goes to {next(iter(self._form.problems))}, which has to be mended first."
        if here:
            return f"enter starts nothing while {cut(safe_line(name, 200), NAME_WIDTH)} trains."
        if self._lingering:
            return "enter starts nothing yet: the run before is not over."
        if self._refusal:
            return "enter starts nothing: the run will not fit."
        return "enter starts the run."

    def _draw(self) -> None:
        if self._form is None:
            return
        name, here = cut(safe_line(self._live[0], 200), NAME_WIDTH), self._live[1]
        if self._form.problems:
            key, reason = next(iter(self._form.problems.items()))
            text = Content.assemble(("! cannot start  ", "$bad"), safe_line(f"{key} {reason}", 300))
        elif here:
            words = f"{name} trains here: one run at a time · 0 goes there"
            text = Content.assemble(("! busy  ", "$warning"), words)
        elif self._lingering:
            loading = cut(safe_line(self._lingering, 200), NAME_WIDTH)
            words = f"what {loading} was loading is not over yet: in a moment, or in a new start"
            text = Content.assemble(("! busy  ", "$warning"), words)
        elif self._absent:
            text = Content.assemble(("! not here  ", "$bad"), absence(*self._absent))
        elif self._refusal:
            text = Content.assemble(("! will not fit  ", "$bad"), safe_line(self._refusal, 400))
        else:
            words = safe_line(presets.describe(self._form.settings), 200)
            beside = f"beside {name} · " if name else ""
            text = Content.assemble(
                ("▶ start  ", "$accent"), (beside, "$warning"), (words, "$muted")
            )
        self.update(text)

    def on_click(self, event: Click) -> None:
        """Start with a click."""
        self.action_press()

    def action_press(self) -> None:
        """Start with a key."""
        self.post_message(self.Pressed())
