"""Choose a theme; each is tried on the whole screen as the cursor comes to it."""

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.shell.palette import choose_theme


class ThemePicker(ModalScreen[None]):
    """The themes by name, with a sample of each one's colours."""

    DEFAULT_CSS = """
    ThemePicker { align: right middle; background: transparent; }
    ThemePicker Vertical {
        width: 44; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; padding: 1 2;
    }
    ThemePicker OptionList {
        border: none; padding: 0; background: $surface; height: auto; max-height: 16;
    }
    ThemePicker OptionList:focus { border: none; }
    ThemePicker Static { height: auto; }
    """
    SEEN_THROUGH = True  # the screen below shows the colours, and the run as it goes on
    BINDINGS = [  # noqa: RUF012
        Binding("escape,q,f8", "leave", "as before", id="themes.leave"),
        Binding("j", "move(1)", "down", show=False, id="themes.down"),
        Binding("k", "move(-1)", "up", show=False, id="themes.up"),
    ]

    def compose(self) -> ComposeResult:
        """Names, a sample, and how to go on."""
        self._before = self.app.theme
        self._names = sorted(self.app.available_themes)
        with Vertical():
            yield OptionList(*(Option(name) for name in self._names), markup=False)
            yield Static(SAMPLE)

    def on_mount(self) -> None:
        """Begin at the theme in use."""
        options = self.query_one(OptionList)
        options.highlighted = self._names.index(self._before)
        options.focus()

    @on(OptionList.OptionHighlighted)
    def _try(self, event: OptionList.OptionHighlighted) -> None:
        self.app.theme = self._names[event.option_index]

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        choose_theme(self.app, self._names[event.option_index])
        self.dismiss()

    def action_leave(self) -> None:
        """Go back to the theme that was in use."""
        self.app.theme = self._before
        self.dismiss()

    def action_move(self, by: int) -> None:
        """Move among the themes."""
        options = self.query_one(OptionList)
        options.highlighted = ((options.highlighted or 0) + by) % len(self._names)


SAMPLE = Content.assemble(
    "\n",
    ("accent ", "$accent"),
    ("good ", "$good"),
    ("warning ", "$warning"),
    ("bad ", "$bad"),
    ("label ", "$muted"),
    ("faint\n", "$faint"),
    *((f"▄▆█ {number}  ", f"$series-{number}") for number in range(1, 7)),
    ("\n\nenter use · esc as before", "$muted"),
)
