"""What all screens share: the key line, and how they hear of the run."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.events import Resize
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from engine.events import Event
from tui.shell.live_line import LiveLine
from tui.studio import Studio, studio_of
from tui.terminal.requirements import LEAST_COLUMNS, LEAST_LINES
from tui.text.safe_text import safe_line
from tui.widgets.key_line import KeyLine

if TYPE_CHECKING:
    from tui.state.live_run import LiveRun

ERROR_SECONDS = 20.0  # that a message about an error stays


class StudioScreen(Screen[None]):
    """A full screen of the program.

    A subclass yields its widgets from `body`; the key line comes last by itself. Every binding
    has an id, `<screen>.<action>`, by which keys.yaml can give it another key. For an action that
    can do nothing now, `why_not` gives the reason: its key is not shown, and pressing it says so.
    """

    # From 120 columns on, parts stand side by side; below the least size, one line says so.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-too-small"), (LEAST_COLUMNS, "-narrow"), (120, "-wide"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [(0, "-too-low"), (LEAST_LINES, "-low"), (36, "-tall")]  # noqa: RUF012
    DEFAULT_CSS = """
    StudioScreen #too-small { display: none; }
    StudioScreen.-too-small > *, StudioScreen.-too-low > * { display: none !important; }
    StudioScreen.-too-small #too-small, StudioScreen.-too-low #too-small {
        display: block !important;
    }
    """

    AUTO_FOCUS = ""  # a screen says itself where the cursor begins; the first may be hidden
    TITLE = ""  # of the screen, in the list of its keys
    LOOKS_BACK = False  # whether it lies over another, and makes way for a run that begins
    ready = False  # whether all parts are mounted, so that they can be drawn
    _focus_before: Widget | None = None  # what had the focus before all parts were hidden

    @property
    def studio(self) -> Studio:
        """The app, with its own type."""
        return studio_of(self)

    def body(self) -> Iterable[Widget]:
        """The widgets of the screen."""
        return ()

    def compose(self) -> ComposeResult:
        """The body above the key line; under its first part, the line about a run that goes on."""
        for number, part in enumerate(self.body()):
            yield part
            if number == 0:
                yield LiveLine()
        yield KeyLine()
        size = f"{LEAST_COLUMNS} x {LEAST_LINES}"
        yield Static(f"enlarge the terminal to {size} cells at least", id="too-small", markup=False)

    def on_mount(self) -> None:
        """Draw the run once all parts are there."""
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.ready = True
        self.show_live(self.studio.live)
        self.run_changed(())

    def on_screen_resume(self) -> None:
        """Catch up with the run after another screen was in front."""
        if self.ready:
            self.show_live(self.studio.live)
            self.run_changed(())

    def on_descendant_focus(self) -> None:
        """Where digits are typed, the way to the run that goes on is another."""
        if self.ready:
            StudioScreen.show_live(self, self.studio.live)

    @on(Resize)
    def _keep_focus(self, event: Resize) -> None:
        """What has the focus has it again once the terminal is large enough: what is hidden loses
        it."""
        small = event.size.width < LEAST_COLUMNS or event.size.height < LEAST_LINES
        if small:
            self._focus_before = self._focus_before or self.focused
        elif self._focus_before:
            self.call_after_refresh(self._focus_again, self._focus_before)
            self._focus_before = None

    def _focus_again(self, widget: Widget) -> None:
        if widget.is_attached and widget.focusable:
            self.set_focus(widget, scroll_visible=False)

    def show_live(self, live: "LiveRun | None") -> None:
        """Called a few times a second, with the run that goes on now, here or elsewhere."""
        for line in self.query(LiveLine):
            hidden = live is None or self.shows(live)
            line.show(None if hidden else live, typing=self.takes_digits)

    def shows(self, live: "LiveRun") -> bool:
        """Whether the screen itself shows that run, and needs no line about it."""
        return False

    @property
    def takes_digits(self) -> bool:
        """Whether a digit that is pressed now is typed."""
        return self.focused is not None and self.focused.check_consume_key("0", "0")

    def run_changed(self, events: Sequence[Event]) -> None:
        """Called when `studio.view` has changed; `events` are those folded into it since.

        It is called only while this screen is in front, and with no events when it comes there.
        """

    def why_not(self, action: str) -> str | None:
        """Why an action can do nothing now, in a short sentence; None: it can."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done is not offered."""
        return self.why_not(action) is None

    def guide_topic(self) -> str | None:
        """What the guide opens at: for Setup the focused field, for others the screen's topic."""
        return self.TITLE or None

    def say(self, message: str, seconds: float | None = None, *, gives_way: bool = False) -> None:
        """Put a sentence in the place of the keys for some seconds. It is never markup."""
        self.query_one(KeyLine).say(message, seconds, gives_way=gives_way)

    def say_error(self, error: Exception) -> None:
        """Say what is wrong, for long enough to read it."""
        self.say(safe_line(str(error), 400), ERROR_SECONDS)
