"""The browser of a run's judged pairs: a list with a filter and a search, and one pair in full."""

from collections.abc import Callable

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from engine.errors import RunError, UserError
from engine.events import Choice
from engine.runs.folder import Run
from engine.runs.json_lines import Record
from tui.archive.pair_table import FILTERS, Filter, PairTable, pair_facts, pair_id, pair_line
from tui.run.pair_pane import FIRST_PAIR, PairPane
from tui.state.run_from_files import to_pair
from tui.text.choice import label_changed, label_kept
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList
from tui.widgets.safe_editors import LineEditor
from tui.widgets.section_title import SectionTitle


class PairBrowser(Container):
    """The pairs of a run, to be looked through and labelled anew. Its screen has the keys, and
    lays the parts out."""

    DEFAULT_CSS = """
    PairBrowser {
        height: 1fr;
        & #find { height: 1; border: none; padding: 0; display: none; background: $surface; }
        & #list { height: 1fr; }
        & PairPane { height: 1fr; margin: 1 0 0 0; }
        & #facts { height: auto; max-height: 4; color: $muted; }
        &.-large #left { display: none; }
    }
    """

    class Said(Message):
        """Something to tell the person: in words, or what went wrong."""

        def __init__(self, words: str | Exception) -> None:
            super().__init__()
            self.words = words

    def __init__(self, run: Run, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.table = PairTable(run)
        self.list: RowList[Record] = RowList(pair_line, empty="reading the pairs …", id="list")
        self.awaited = False  # whether a run goes on that will bring the first pair
        self.was_read = False
        self._filter = FILTERS[0]
        self._title = SectionTitle("pairs", id="pairs-title")
        self._find = LineEditor(placeholder="words of a prompt, an answer or a note", id="find")
        self._pair = PairPane("pair")
        self._facts = Static(id="facts")

    def compose(self) -> ComposeResult:
        """The list under its title and the search; the pair under the cursor with its facts."""
        yield Vertical(self._title, self._find, self.list, id="left")
        yield Vertical(self._pair, self._facts, id="right")

    # -- showing ---------------------------------------------------------------------------------

    def take(self) -> None:
        """Show what the table has read."""
        self.was_read = True
        self.table.take()
        self._show_pairs()

    def show_unreadable(self) -> None:
        """Say that there are no pairs to be seen, unless there are from before."""
        if not self.was_read:
            self.list.show([], None, empty="the pairs cannot be read")

    def _show_pairs(self) -> None:
        if not self.was_read:
            return
        at = self.list.current
        matches = self.table.matching(self._filter, self._find.value)
        same = [place for place, each in enumerate(matches) if at and pair_id(each) == pair_id(at)]
        none = "no pair was judged yet" if not self.table.lines else "no such pair · v shows others"
        self.list.searched = bool(self._find.value.strip())
        self.list.show(matches, same[0] if same else None, empty=none)
        self._show_title()

    def _show_title(self) -> None:
        text, matches = self._find.value, len(self.list.rows)
        of = f" of {len(self.table.lines):,}" if matches < len(self.table.lines) else ""
        words = f" · {safe_line(text, 20)}" if text else ""
        state = f"{self._filter.name}{words} · {matches:,}{of}"
        self._title.show("pairs", state, accented=self.list.has_focus)

    def focus_changed(self) -> None:
        """The title of the list is lit while the list has the keys."""
        if self.was_read:
            self._show_title()

    @on(RowList.Moved, "#list")
    def _show_pair(self) -> None:
        line = self.list.current
        empty = FIRST_PAIR if self.awaited and not self.table.lines else ""
        self._pair.show(to_pair(line) if line else None, empty)
        facts = " · ".join(pair_facts(line)) if line else ""
        self._facts.update(Content(safe_line(facts, 400)))

    # -- looking through them --------------------------------------------------------------------

    @on(RowList.Chosen, "#list")
    def _enlarge(self) -> None:
        self.toggle_class("-large")
        if self.has_class("-large"):
            self._pair.query_one(VerticalScroll).focus()

    def step_back(self) -> bool:
        """End the search or the large view; whether there was either."""
        if self._find.display:
            self._find.value, self._find.display = "", False
            self._show_pairs()
        elif self.has_class("-large"):
            self.remove_class("-large")
        else:
            return False
        self.list.focus()
        return True

    def show_those(self, pair_filter: Filter) -> None:
        """Show only the pairs that a filter holds for."""
        self._filter = pair_filter
        self._show_pairs()

    def find(self) -> None:
        """Show only the pairs that hold some words."""
        self._find.display = True
        self._find.focus()

    @on(Input.Changed, "#find")
    def _find_changed(self) -> None:
        self._show_pairs()

    @on(Input.Submitted, "#find")
    def _find_done(self) -> None:
        self.list.focus()

    # -- labels ----------------------------------------------------------------------------------

    def label(self, choice: Choice) -> None:
        """Give the pair under the cursor another verdict."""
        line = self._current()
        if line and line.get("choice") == choice:
            self.post_message(self.Said(label_kept(choice)))
        elif line and self._change(lambda: self.table.relabel(line, choice)):
            self.post_message(self.Said(label_changed(choice)))

    def flag(self) -> None:
        """Flag the pair under the cursor, or take its flag away."""
        if line := self._current():
            flagged = line.get("flagged") is not True
            if self._change(lambda: self.table.flag(line, flagged)):
                self.post_message(self.Said("flagged" if flagged else "no longer flagged"))

    def _current(self) -> Record | None:
        """The pair under the cursor; that there is none is said."""
        if self.list.current is None:
            self.post_message(self.Said("there is no pair here"))
        return self.list.current

    def _change(self, change: Callable[[], None]) -> bool:
        """Change what is stored of a pair, and show it; whether it was changed."""
        try:
            change()
        except (UserError, RunError) as error:
            self.post_message(self.Said(error))
            return False
        self._show_pairs()
        return True
