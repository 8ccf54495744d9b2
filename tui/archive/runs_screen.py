"""Runs: the archive as a table, with what can be done to a run."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from engine.errors import RunError, UserError
from engine.events import COMPLETE, UNDER_WAY
from engine.runs import archive, run_names, trash
from engine.runs.folder import Run
from engine.runs.run_summary import RunSummary
from tui.archive.run_actions import copy_path, go_back, resume
from tui.archive.run_glances import RunGlances
from tui.archive.run_rows import Order, about, header, matching, row
from tui.run.watched import take_over
from tui.shell.ask import AskText
from tui.shell.base import StudioScreen
from tui.state.live_elsewhere import is_elsewhere
from tui.text.format import size
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList
from tui.widgets.safe_editors import LineEditor

LEAST_SECONDS = 1.5  # between two looks at the folder of runs
NAMES = "a name has letters, digits and . _ + = @ -, with no . or - at its ends"
BUSY_SHARE = 0.05  # of the time that may go into looking


class RunsScreen(StudioScreen):
    """All runs, newest first; what another process trains is seen to move."""

    TITLE = "runs"
    DEFAULT_CSS = """
    RunsScreen {
        & #title { height: 1; padding: 0 1; }
        & #filter { height: 1; border: none; padding: 0 1; display: none; background: $surface; }
        & #header { height: 1; }
        & #about { height: 4; border-top: solid $faint; padding: 0 1; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("r", "resume", "resume", id="runs.resume"),
        Binding("c", "config", "config", id="runs.config"),
        Binding("space", "mark", "mark", id="runs.mark"),
        Binding("equals_sign", "compare", "compare", key_display="=", id="runs.compare"),
        Binding("t", "tags", "tags", id="runs.tags"),
        Binding("delete,backspace", "delete", "delete", key_display="del", id="runs.delete"),
        Binding("u", "undo", "undo delete", id="runs.undo"),
        Binding("slash", "filter", "filter", key_display="/", id="runs.filter"),
        Binding("s", "sort", "sort by the next column", show=False, id="runs.sort"),
        Binding("S", "flip", "turn the order round", show=False, id="runs.flip"),
        Binding("n", "rename", "rename", show=False, id="runs.rename"),
        Binding("R", "go_back", "resume from a checkpoint", show=False, id="runs.go_back"),
        Binding("e,E", "export", "export", show=False, id="runs.export"),
        Binding("a", "try_it", "try it", show=False, id="runs.try_it"),
        Binding("C", "chat", "chat", show=False, id="runs.chat"),
        Binding("y", "copy", "copy its path", show=False, id="runs.copy"),
        Binding("escape", "clear", "clear filter and marks", show=False, id="runs.clear"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._all: list[RunSummary] | None = None  # None until the folder was read
        self._order = Order()
        self._marked: dict[Path, RunSummary] = {}
        self._deleted: list[Path] = []
        self._glances = RunGlances()
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
        """Title, filter, table, and all about the run under the cursor."""
        yield Static(id="title")
        yield LineEditor(placeholder="name, model, judge, status or tag", compact=True, id="filter")
        yield Static(id="header")
        yield RowList(self._row, empty="  reading the runs …", id="table")
        yield Static(id="about")

    def on_mount(self) -> None:
        """Begin to look."""
        self.table.focus()
        self._show()
        self.set_interval(LEAST_SECONDS / 3, self._read_if_due)
        self.run_worker(trash.empty_trash, thread=True)

    def on_screen_resume(self) -> None:
        """What changed while another screen was in front shows at once."""
        self._read_runs()

    def on_resize(self, event: Resize) -> None:
        """The columns that fit depend on the width."""
        self.call_after_refresh(self._show_header)

    def why_not(self, action: str) -> str | None:
        """A delete is undone as long as there was one."""
        if action == "undo" and not self._deleted:
            return "nothing was deleted since the program was opened"
        return super().why_not(action)

    # -- reading ---------------------------------------------------------------------------------

    def _read_if_due(self) -> None:
        pause = max(LEAST_SECONDS, self._read_seconds / BUSY_SHARE)
        if self.is_current and time.monotonic() - self._read_at > pause:
            self._read_runs()

    @work(thread=True, exclusive=True, group="look")
    def _read_runs(self) -> None:
        """Read the folder of runs, then the metrics of the rows in sight."""
        worker, began = get_current_worker(), time.monotonic()
        self._read_at = began
        runs = archive.list_runs()
        if worker.is_cancelled:
            return
        self.app.call_from_thread(self._take_runs, runs)
        self._read_seconds = time.monotonic() - began
        self._read_glances()

    def _take_runs(self, runs: list[RunSummary]) -> None:
        self._all = runs
        paths = {run.path for run in runs}
        self._marked = {path: run for path, run in self._marked.items() if path in paths}
        if self.is_mounted:
            self._show()

    @work(thread=True, exclusive=True, group="glance")
    def _read_glances(self) -> None:
        """Read the metrics of the rows in sight that are new or have changed."""
        worker, news = get_current_worker(), False
        for run in list(self.table.in_sight()):
            if worker.is_cancelled:
                return
            news |= self._glances.read(run)
        if news:
            self.app.call_from_thread(self.table.redraw)
        for run in self._all or []:
            if worker.is_cancelled:
                return
            self._glances.measure(run)
        self.app.call_from_thread(self._show_title)

    # -- showing ---------------------------------------------------------------------------------

    def _row(self, run: RunSummary, width: int) -> Content:
        return row(run, width, self._glances.of(run), self._marked)

    def _show(self, cursor_at: Path | None = None) -> None:
        """Filter, sort and draw; the cursor stays with its run."""
        if self._all is None:
            return
        at = cursor_at or (self.run.path if self.run else None)
        text = self.query_one("#filter", Input).value
        visible = self._order.sort(matching(self._all, text))
        cursor = next((place for place, run in enumerate(visible) if run.path == at), None)
        empty = (
            "  no run matches · esc clears the filter" if text else "  no runs yet · f2 sets one up"
        )
        self.table.show(visible, cursor, empty=empty)
        self._show_title()
        self._show_header()

    def _show_title(self) -> None:
        everything = self._all or []
        live = sum(run.status in UNDER_WAY for run in everything)
        facts = [f"{len(everything)} run{'s' * (len(everything) != 1)}"]
        facts += [f"{live} live"] if live else []
        facts += [f"{len(self._marked)} marked"] if self._marked else []
        on_disk = self._glances.size(everything)
        facts += [size(on_disk)] if on_disk else []
        text = self.query_one("#filter", Input).value
        filtered = f"  / {safe_line(text, 40)}  " if text else "  "
        state = " · ".join(facts) if self._all is not None else ""
        self.query_one("#title", Static).update(
            Content.assemble(("runs", "bold"), (filtered, "$accent"), (state, "$muted"))
        )

    def _show_header(self) -> None:
        width = self.table.size.width or self.size.width
        self.query_one("#header", Static).update(header(width, self._order))

    @on(RowList.Moved, "#table")
    def _moved(self) -> None:
        self.query_one("#about", Static).update(about(self.run) if self.run else Content(""))
        self._read_glances()

    # -- the table as a whole --------------------------------------------------------------------

    def action_sort(self) -> None:
        """Sort by the column to the right."""
        self._order = self._order.next()
        self._show()
        self.say(f"sorted by {self._order.column} · S turns the order round")

    def action_flip(self) -> None:
        """Turn the order round."""
        self._order = Order(self._order.column, not self._order.flipped)
        self._show()

    def action_filter(self) -> None:
        """Show only the runs that hold some words."""
        line = self.query_one("#filter", Input)
        line.display = True
        line.focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

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
        self._show()

    def action_mark(self) -> None:
        """Mark the run for a comparison."""
        if run := self._intact_run():
            if self._marked.pop(run.path, None) is None:
                self._marked[run.path] = run
            self.table.redraw()
            self.table.cursor += 1
            self._show_title()

    def action_compare(self) -> None:
        """Compare the marked runs."""
        if len(self._marked) < 2:
            self.say("mark two or more runs with space first")
            return
        from tui.archive.compare_screen import CompareScreen

        self.app.push_screen(CompareScreen([Run(path) for path in self._marked]))

    # -- one run ---------------------------------------------------------------------------------

    def _intact_run(self) -> RunSummary | None:
        """The run under the cursor, unless it is damaged, which is then said."""
        if not self.run:
            reading = self._all is None
            self.say("the runs are still being read" if reading else "there is no run here")
        elif self.run.damaged:
            self.say(f"this run is damaged: {safe_line(self.run.damaged, 300)}")
        else:
            return self.run
        return None

    @on(RowList.Chosen, "#table")
    def _open(self) -> None:
        if run := self._intact_run():
            session = self.studio.session
            if session and session.alive and session.run and session.run.path == run.path:
                self.studio.open_run()
            else:
                self.studio.open_run_detail(str(run.path))

    def action_resume(self) -> None:
        """Go on with the run from its newest checkpoint, or take it over from another process."""
        if not (run := self._intact_run()):
            return
        if run.status not in COMPLETE and is_elsewhere(Run(run.path).holder()):
            self._take_over(Run(run.path))
        else:
            resume(self, Run(run.path), run.status, config_key="c")

    @work(exclusive=True, group="asked")
    async def action_go_back(self) -> None:
        """Go on with the run from an earlier checkpoint."""
        if run := self._intact_run():
            await go_back(self, Run(run.path))

    @work(exclusive=True, group="asked")
    async def _take_over(self, run: Run) -> None:
        await take_over(self, run)

    def action_config(self) -> None:
        """Open the run's settings in the form."""
        if run := self._intact_run():
            try:
                self.studio.open_setup(Run(run.path).settings(), run.name)
            except UserError as error:
                self.say_error(error)

    def action_try_it(self) -> None:
        """Ask the starting and the trained policy."""
        if run := self._intact_run():
            self.studio.open_try_it(Run(run.path))

    def action_chat(self) -> None:
        """Talk with the starting and the trained policy."""
        if run := self._intact_run():
            self.studio.open_chat(Run(run.path))

    def action_copy(self) -> None:
        """Copy the path of the run's folder."""
        if run := self.run:
            copy_path(self, run.path)

    @work
    async def action_tags(self) -> None:
        """Give the run other tags."""
        if not (run := self._intact_run()):
            return
        text = await self.app.push_screen_wait(
            AskText("tags, separated by commas", safe_line(", ".join(run.tags)))
        )
        if text is not None:
            tags = list(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))
            self._change(lambda: Run(run.path).annotate(tags=tags))

    @work
    async def action_rename(self) -> None:
        """Give the run another name."""
        if not (run := self._intact_run()):
            return
        text = await self.app.push_screen_wait(AskText("rename to", safe_line(run.name)))
        if text and text != run.name:
            renamed = run.path.with_name(run_names.safe_name(text))
            if self._change(lambda: archive.rename(Run(run.path), text), renamed):
                self._say_name(text, renamed.name)

    def _say_name(self, wish: str, name: str) -> None:
        """Say how a run is called, where not all of the name that was given can stay."""
        if name != wish:
            self.say(f"renamed to {safe_line(name, 80)}: {NAMES}", 15)

    def action_delete(self) -> None:
        """Move the run into the trash; undo brings it back."""
        if run := self.run:

            def delete() -> None:
                self._deleted.append(trash.delete(run.path))

            if self._change(delete):
                self.say(f"deleted {safe_line(run.name, 60)} · u brings it back", 15)

    def action_undo(self) -> None:
        """Bring back the run that was deleted last."""
        trashed = self._deleted.pop()
        back: list[Run] = []
        if self._change(lambda: back.append(trash.undelete(trashed))):
            self.say(f"{safe_line(back[0].name, 60)} is back")
            self._show(back[0].path)

    def _change(self, change: Callable[[], object], cursor_at: Path | None = None) -> bool:
        """Do something to the archive and show it; whether it worked."""
        try:
            change()
        except (UserError, RunError) as error:
            self.say_error(error)
            return False
        self.refresh_bindings()
        self._all = archive.list_runs()
        self._show(cursor_at)
        return True

    def action_export(self) -> None:
        """Write the adapters or the fused model into a folder."""
        if run := self._intact_run():
            self.studio.open_export(Run(run.path))
