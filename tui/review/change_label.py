"""The question that an undo asks once the model has learned from the pair."""

from typing import TYPE_CHECKING, Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui import textual_private
from tui.studio import studio_of
from tui.text.choice import shown_choice, words
from tui.text.prompt_text import prompt_line
from tui.text.safe_text import safe_line, wrap_cut

if TYPE_CHECKING:
    from engine.judges.human import Label

Change = Literal["left", "right", "tie", "both_bad", "skip", "remove", "before"]
ABOUT = (
    "The model has learned from this pair already, and that stays. Its label in the run's files "
    "can be changed, for whatever is trained on them from now on."
)
SHOWN = 400  # cells of a text
ROWS = 3  # that it takes at most
WIDTH, SIDES = 80, 4  # cells of the question, and those beside its text


class ChangeLabel(ModalScreen[Change | None]):
    """Asks for another label of a pair that was learned from; None after escape keeps it."""

    DEFAULT_CSS = """
    ChangeLabel {
        align: center middle; background: $background 60%;
        & > Vertical {
            width: 80; max-width: 100%; height: auto; max-height: 100%;
            background: $surface; padding: 1 2;
        }
        & .text { height: auto; max-height: 3; }
        & .why { color: $muted; height: auto; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("1", "change('left')", "first", id="relabel.first"),
        Binding("2", "change('right')", "second", id="relabel.second"),
        Binding("t", "change('tie')", "tie", id="relabel.tie"),
        Binding("b", "change('both_bad')", "both bad", id="relabel.both_bad"),
        Binding("delete,backspace", "change('remove')", "remove", id="relabel.remove"),
        Binding("u", "change('before')", "the one before", id="relabel.before"),
        Binding("escape", "dismiss(None)", "keep the label", id="relabel.keep"),
    ]

    def __init__(self, label: "Label") -> None:
        super().__init__()
        self._label = label
        self._painted_at = float("inf")

    def compose(self) -> ComposeResult:
        """What it is about, the pair with its label marked, and the keys."""
        label = self._label
        with Vertical():
            yield Static(Content(ABOUT + "\n"), classes="why")
            yield self._line("> ", prompt_line(label.prompt, label.messages), marked=False)
            for number, side, text in (("1", "left", label.left), ("2", "right", label.right)):
                yield self._line(f"{number} ", text, marked=label.shown == side)
            label_words = words(shown_choice(label.shown)).label
            yield Static(Content(f"\nits label is: {label_words}"), classes="why")
            yield Static(
                Content(
                    "\n1 first · 2 second · t tie · b both bad · del remove it\n"
                    "u the label before · esc keep it"
                ),
                classes="why",
            )

    def _line(self, before: str, text: str, *, marked: bool) -> Static:
        style = "$foreground bold" if marked else "$foreground"
        width = min(WIDTH, self.app.size.width) - SIDES
        whole = wrap_cut(before + safe_line(text, SHOWN), width, ROWS)[len(before) :]
        words = Content.assemble((before, "$muted"), (whole, style))
        return Static(words, classes="text", markup=False)

    def on_mount(self) -> None:
        """A key that was pressed before the question was in sight does not answer it."""
        self.call_after_refresh(self._mark_painted)

    def _mark_painted(self) -> None:
        self._painted_at = textual_private.now()

    def action_change(self, change: Change) -> None:
        """Answer, if the question was in sight when the key was pressed."""
        if studio_of(self).key_pressed >= self._painted_at:
            self.dismiss(change)
