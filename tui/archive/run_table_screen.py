"""The archive as a table: read again and again, sorted, filtered, marked."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from textual import on, work
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from engine.errors import UserError
from engine.events import UNDER_WAY
from engine.runs import archive, trash
from engine.runs.folder import Run
from engine.runs.run_summary import RunSummary
from engine.runs.sweep import sweep_of
from tui.archive.run_actions import compare
from tui.archive.run_filter import matching, mistaken, needs_settings
from tui.archive.run_glances import RunGlances
from tui.archive.run_preview import RunPreview
from tui.archive.run_rows import Order, about, column_at, header, row
from tui.shell.base import StudioScreen
from tui.text.format import size
from tui.text.safe_text import safe_line
from tui.widgets.from_thread import is_reading, show_from_thread
from tui.widgets.row_list import OpeningList, RowList
from tui.widgets.safe_editors import LineEditor

LEAST_SECONDS = 1.5  # between two looks at the folder of runs
BUSY_SHARE = 0.05  # of the time that may go into looking
NO_RUN_HERE = "there is no run here"


class TitleLine(Widget):
    """The titles of the columns, as wide as the rows of the table are."""

    class Clicked(Message):
        """The title of a column was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    class Resized(Message):
        """There is more or less room, as where the preview comes to stand beside the table."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._order = Order()
        self._columns_width = 0  # of the table's rows

    def show(self, order: Order, width: int) -> None:
        """Show the titles for rows of a width, and by which they are sorted."""
        if (order, width) != (self._order, self._columns_width):
            self._order, self._columns_width = order, width
            self.refresh()

    def render(self) -> Content:
        """The titles."""
        return header(self._columns_width or self.size.width, self._order)

    def on_resize(self) -> None:
        """Tell that the width of the rows may be another."""
        self.post_message(self.Resized())

    def on_click(self, event: Click) -> None:
        """Tell which title was clicked."""
        if column := column_at(event.x, self._columns_width or self.size.width):
            self.post_message(self.Clicked(column))


class RunTableScreen(StudioScreen):
    """All runs, newest first; what another process trains is seen to move."""

    TITLE = "runs"
    # From 188 columns on, the run under the cursor is shown beside the list.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(StudioScreen.HORIZONTAL_BREAKPOINTS or ()), (188, "-broad"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    RunTableScreen {
        & #title { height: 1; padding: 0 1; }
        & #filter { height: 1; border: none; padding: 0 1; display: none; background: $surface; }
        & #header { height: 1; }
        & #about { height: 4; border-top: solid $faint; padding: 0 1; }
        & #list { width: 1fr; height: 1fr; }
        & RunPreview { display: none; }
        &.-broad RunPreview { display: block; }
        &.-broad #about { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.summaries: list[RunSummary] | None = None  # None until the folder was read
        self._order = Order()
        self._marked: dict[Path, RunSummary] = {}
        self.glances = RunGlances()
        self._read_at = 0.0  # when the folder was last read
        self._read_seconds = 0.0

    @property
    def table(self) -> "RowList[RunSummary]":
        """The rows."""
        return self.query_one("#table", RowList)

    @property
    def run(self) -> RunSummary | None:
        """The run under the cursor."""
        return self.table.current

    # -- parts -----------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Title, filter, table, and the run under the cursor, below it or beside it."""
        yield Static(id="title")
        yield LineEditor(placeholder="words, or rank=8 win>60% tag:x", compact=True, id="filter")
        with Horizontal():
            with Vertical(id="list"):
                yield TitleLine(id="header")
                yield OpeningList(self._row, empty="  reading the runs …", id="table")
            yield RunPreview()
        yield Static(id="about")

    def on_mount(self) -> None:
        """Begin to look."""
        self.table.focus()
        self.show_runs()
        self.set_interval(LEAST_SECONDS / 3, self._read_if_due)
        self.run_worker(trash.empty_trash, thread=True)

    def on_screen_resume(self) -> None:
        """What changed while another screen was in front shows at once."""
        self.read_runs()

    def on_resize(self, event: Resize) -> None:
        """What stands beside the table depends on the width."""
        self.call_after_refresh(self._moved)

    # -- reading ---------------------------------------------------------------------------------

    def _read_if_due(self) -> None:
        pause = max(LEAST_SECONDS, self._read_seconds / BUSY_SHARE)
        due = time.monotonic() - self._read_at > pause
        if due and self.is_current and not is_reading(self, "look"):
            self.read_runs()

    @work(thread=True, exclusive=True, group="look")
    def read_runs(self) -> None:
        """Read the folder of runs, then the metrics of the rows in sight."""
        self._read_at = time.monotonic()
        show_from_thread(self, self._take_runs, archive.list_runs())

    def _take_runs(self, runs: list[RunSummary]) -> None:
        self._read_seconds = time.monotonic() - self._read_at
        self.summaries = runs
        paths = {run.path for run in runs}
        self._marked = {path: run for path, run in self._marked.items() if path in paths}
        self.show_runs()
        self.refresh_bindings()  # what was deleted may be gone from the trash by now
        self._read_glances(list(self.table.in_sight()))

    @work(thread=True, exclusive=True, group="glance")
    def _read_glances(self, in_sight: Sequence[RunSummary]) -> None:
        """Read the metrics of the rows in sight that are new or have changed."""
        worker, news = get_current_worker(), False
        for run in in_sight:
            if worker.is_cancelled:
                return
            news |= self.glances.read(run)
        if news:
            show_from_thread(self, lambda: self.table.redraw())
        for run in self.summaries or []:
            if worker.is_cancelled:
                return
            self.glances.measure(run)
        show_from_thread(self, self._show_title)

    @work(thread=True, exclusive=True, group="settings")
    def _read_settings(self) -> None:
        """Read the configs of all runs, which a filter asks for."""
        worker, news = get_current_worker(), False
        for run in self.summaries or []:
            if worker.is_cancelled:
                return
            news |= self.glances.read_settings(run)
        if news:
            show_from_thread(self, self.show_runs)

    # -- showing ---------------------------------------------------------------------------------

    def _row(self, run: RunSummary, width: int) -> Content:
        return row(run, width, self.glances.of(run), self._marked)

    def show_runs(self, cursor_at: Path | None = None) -> None:
        """Filter, sort and draw; the cursor stays with its run."""
        if self.summaries is None:
            return
        at = cursor_at or (self.run.path if self.run else None)
        text = self.query_one("#filter", Input).value
        visible = self._order.sort(matching(self.summaries, text, self.glances.settings))
        cursor = next((place for place, run in enumerate(visible) if run.path == at), None)
        self.table.searched = bool(text.strip())
        self.table.show(visible, cursor, empty=f"  {_why_empty(text)}")
        self._show_title()
        self.call_after_refresh(self._show_header)  # which a scroll bar may have narrowed

    def _show_title(self) -> None:
        everything = self.summaries or []
        live = sum(run.status in UNDER_WAY for run in everything)
        left = len(self.table.rows)
        filtered = f"{left} of " if left < len(everything) else ""
        facts = [f"{filtered}{len(everything)} run{'s' * (len(everything) != 1)}"]
        facts += [f"{live} live"] if live else []
        facts += [f"{len(self._marked)} marked"] if self._marked else []
        on_disk = self.glances.size(everything)
        facts += [size(on_disk)] if on_disk else []
        text = self.query_one("#filter", Input).value
        words = f"  / {safe_line(text, 40)}  " if text else "  "
        state = " · ".join(facts) if self.summaries is not None else ""
        self.query_one("#title", Static).update(
            Content.assemble(("runs", "bold"), (words, "$accent"), (state, "$muted"))
        )

    @on(TitleLine.Resized)
    def _titles_resized(self) -> None:
        self.call_after_refresh(self._show_header)

    def _show_header(self) -> None:
        width = self.table.scrollable_content_region.width
        self.query_one(TitleLine).show(self._order, width)

    @on(RowList.Moved, "#table")
    def _moved(self) -> None:
        self.query_one("#about", Static).update(about(self.run) if self.run else Content(""))
        self.query_one(RunPreview).show_run(self.run)
        self._read_glances(list(self.table.in_sight()))
        self.refresh_bindings()  # what can be done differs from run to run

    @on(TitleLine.Clicked)
    def _sort_by(self, event: "TitleLine.Clicked") -> None:
        self._order = self._order.by(event.column)
        self.show_runs()

    # -- the table as a whole --------------------------------------------------------------------

    def action_sort(self) -> None:
        """Sort by the column to the right."""
        self._order = self._order.next()
        self.show_runs()
        self.say(f"sorted by {self._order.column} · < turns the order round")

    def action_flip(self) -> None:
        """Turn the order round."""
        self._order = Order(self._order.column, not self._order.flipped)
        self.show_runs()
        turned = ", turned round" if self._order.flipped else ""
        self.say(f"sorted by {self._order.column}{turned}")  # the column may be out of sight

    def action_filter(self) -> None:
        """Show only the runs that hold some words."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self.show_runs()
        if needs_settings(self.query_one("#filter", Input).value):
            self._read_settings()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.query_one("#filter").display = False
        self.table.focus()

    def action_clear(self) -> None:
        """Show all runs again, none marked."""
        line = self.query_one("#filter", Input)
        if not (line.value or line.display or self._marked):
            self.say("there is no filter and no mark to clear")
        if not (line.value or line.display):
            self._marked = {}
        line.value = ""
        line.display = False
        self.table.focus()
        self.show_runs()

    def action_mark(self) -> None:
        """Mark the run for a comparison."""
        if run := self.intact_run():
            if self._marked.pop(run.path, None) is None:
                self._marked[run.path] = run
            self.table.redraw()
            self.table.cursor += 1
            self._show_title()

    def action_compare(self) -> None:
        """Compare the marked runs, or those of the sweep that the run under the cursor is of."""
        if len(self._marked) > 1:
            compare(self, [Run(path) for path in self._marked], "marked first")
        elif len(runs := self._runs_of_sweep()) > 1:
            compare(self, runs)
        else:
            self.say("mark two or more runs with space first, or go to one of a sweep")

    def _runs_of_sweep(self) -> list[Run]:
        """The runs of the sweep that the run under the cursor is of, the best first."""
        try:
            sweep = sweep_of(self.run.name) if self.run and not self._marked else None
        except UserError:  # its file is damaged
            return []
        own = {cell.run for cell in sweep.cells} if sweep else set()
        runs = [each for each in self.summaries or [] if each.name in own and not each.damaged]
        runs.sort(key=_rate, reverse=True)
        return [Run(each.path) for each in runs]

    def run_here(self) -> RunSummary | None:
        """The run under the cursor; that there is none is said."""
        if not self.run:
            reading = self.summaries is None
            self.say("the runs are still being read" if reading else NO_RUN_HERE)
        return self.run

    def intact_run(self) -> RunSummary | None:
        """The run under the cursor, unless it is damaged, which is then said."""
        run = self.run_here()
        if run and run.damaged:
            self.say(f"this run is damaged: {safe_line(run.damaged, 300)}")
            return None
        return run


def _rate(run: RunSummary) -> float:
    """What runs of a sweep are ranked by: the evaluator's win rate, where there is one."""
    rate = run.win_rate if run.eval_win_rate is None else run.eval_win_rate
    return -1.0 if rate is None else rate


def _why_empty(filter: str) -> str:
    """Why no run is shown, and what to do about it."""
    if not filter:
        return "no runs yet · f2 sets one up"
    why = mistaken(filter)
    return f"no run matches{f': {safe_line(why, 80)}' if why else ''} · esc clears the filter"
