"""Two small questions: for a line of text, and for one of a few things."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.file_kinds import exists, is_dir
from tui.text.safe_text import wrap
from tui.widgets.offers import Complete, Offers
from tui.widgets.safe_editors import LineEditor

Check = Callable[[str], str | None]  # why a text will not do, or None
OPTION_WIDTH, LEAST_TEXT = 70, 20  # cells of a choice beside a scroll bar, and of what it is
_FRAME = """
    align: center middle; background: $background 60%;
    & > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; padding: 1 2;
    }
    & .why { color: $muted; height: auto; }
    & .wrong { color: $bad; height: auto; }
    & Input { border: none; height: 1; padding: 0; margin: 1 0; background: $background; }
    & OptionList {
        border: none; padding: 0; background: $surface; height: auto; max-height: 12;
        &:focus { border: none; }
    }
"""


def doubt_of_file(file: Path, otherwise: str) -> str | None:
    """What is said before a file is written, by a `Check`; `otherwise` where that is a folder."""
    try:
        if is_dir(file):
            return otherwise
        if not is_dir(file.parent):
            return f"there is no folder {file.parent}"
        return f"{file.name} is there already: replace it?" if exists(file) else None
    except OSError as error:  # its name is too long, or its folder may not be looked into
        return f"no file of that name can be written: {error.strerror}"


class AskText(ModalScreen[str | None]):
    """Asks for a line of text; None when it was left with escape.

    `check` says what is wrong with a text before it is taken. A text that it finds doubtful (the
    reason ends in a question mark) is taken with a second enter.
    """

    DEFAULT_CSS = f"AskText {{ {_FRAME} }}"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "cancel", id="ask.cancel"),
        Binding("down", "offered(1)", "next offer", show=False, id="ask.next"),
        Binding("up", "offered(-1)", "previous offer", show=False, id="ask.previous"),
        Binding("tab", "take", "take the offer", show=False, priority=True, id="ask.take"),
    ]

    def __init__(
        self,
        question: str,
        text: str = "",
        *,
        check: Check | None = None,
        complete: Complete | None = None,
    ) -> None:
        super().__init__()
        self._question = question
        self._text = text
        self._check = check
        self._complete = complete
        self._doubted = ""

    def compose(self) -> ComposeResult:
        """The question, the line, what may complete it, and how to go on."""
        with Vertical():
            yield Static(Content(self._question))
            yield LineEditor(self._text, compact=True, select_on_focus=False)
            yield Offers()
            yield Static(Content(""), classes="wrong")
            offers = " · ↓ tab take an offer" if self._complete else ""
            yield Static(Content(f"enter done{offers} · esc cancel"), classes="why")

    def on_mount(self) -> None:
        """Begin at the end of the text."""
        self.query_one(Input).focus()
        self._offer(self._text)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._doubted = ""
        self.query_one(".wrong", Static).update(Content(""))
        self._offer(event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if self.query_one(Offers).selection:
            self.action_take()
            return
        wrong = self._check(event.value) if self._check else None
        if wrong and not (wrong.endswith("?") and self._doubted == event.value):
            self._doubted = event.value
            more = " Press enter again to go on." if wrong.endswith("?") else ""
            self.query_one(".wrong", Static).update(Content(wrong + more))
            return
        self.dismiss(event.value)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.option_list.highlighted = event.option_index
        self.action_take()

    def action_offered(self, by: int) -> None:
        """Move among the offers."""
        self.query_one(Offers).move(by)

    def action_take(self) -> None:
        """Put the offer under the cursor, or the first one, into the line."""
        if text := self.query_one(Offers).suggestion:
            line = self.query_one(Input)
            line.value = text
            line.cursor_position = len(text)

    def _offer(self, text: str) -> None:
        if self._complete:
            self.query_one(Offers).offer([each for each in self._complete(text) if each != text])


class AskChoice(ModalScreen[str | None]):
    """Asks for one of a few things, given as name -> what it is; None after escape. What is too
    long for a line goes on below where it began."""

    DEFAULT_CSS = f"AskChoice {{ {_FRAME} }}"
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "cancel", id="choice.cancel"),
        Binding("j", "move(1)", "down", show=False, id="choice.down"),
        Binding("k", "move(-1)", "up", show=False, id="choice.up"),
    ]

    def __init__(self, question: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._question = question
        self._choices = choices

    def compose(self) -> ComposeResult:
        """The question and a line for each choice."""
        width = 2 + max(cell_len(name) for name, _ in self._choices)
        with Vertical():
            yield Static(Content(self._question + "\n"))
            yield OptionList(
                *(Option(_option(name, what, width)) for name, what in self._choices),
                markup=False,
            )
            yield Static(Content("\nenter choose · esc cancel"), classes="why")

    def on_mount(self) -> None:
        """Begin at the first."""
        self.query_one(OptionList).highlighted = 0
        self.query_one(OptionList).focus()

    def action_move(self, by: int) -> None:
        """Move among the choices."""
        options = self.query_one(OptionList)
        at = (options.highlighted or 0) + by
        options.highlighted = max(0, min(at, options.option_count - 1))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index][0])


def _option(name: str, what: str, indent: int) -> Content:
    """A choice, with what it is in a column of its own."""
    lines = wrap(what, max(LEAST_TEXT, OPTION_WIDTH - indent))
    text = f"\n{' ' * indent}".join(lines)
    return Content.assemble(name, " " * (indent - cell_len(name)), (text, "$muted"))
