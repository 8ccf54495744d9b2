"""The queue: runs that wait, the one that trains, and what came of those that are done."""

import asyncio
from collections.abc import Callable, Iterable

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import RunError, UserError
from engine.runs import queue
from engine.runs.folder import Run
from engine.runs.sweep import QUEUE, Cell, Sweep, names, open_sweep, settings_of, worker_of
from tui.archive.queue_rows import QueueReader, QueueRow, about, header, progress, row
from tui.archive.run_actions import compare
from tui.archive.run_preview import RunPreview
from tui.archive.run_table_screen import RunTableScreen
from tui.shell.ask import AskChoice
from tui.shell.base import StudioScreen
from tui.terminal import queue_process
from tui.text.safe_text import safe_line
from tui.widgets.from_thread import is_reading, show_from_thread
from tui.widgets.key_line import KeyLine
from tui.widgets.row_list import RowList

SECONDS = 1.5  # between two looks
EMPTY = "nothing waits · + in the form or on a run adds it"
ON_ROWS = {"start", "shift", "drop", "config", "compare", "drop_done"}  # actions
STARTED = "the queue is worked through, also after this program is left · s stops it"


class QueueScreen(StudioScreen):
    """Runs one after the other, trained by a process that outlives the app."""

    TITLE = "queue"
    HORIZONTAL_BREAKPOINTS = RunTableScreen.HORIZONTAL_BREAKPOINTS
    DEFAULT_CSS = """
    QueueScreen {
        & #title { height: 1; padding: 0 1; }
        & #header { height: 1; }
        & #about { height: 4; border-top: solid $faint; padding: 0 1; }
        & #list { width: 1fr; height: 1fr; }
        & RunPreview { display: none; }
        &.-broad RunPreview { display: block; }
        &.-broad #about { display: none; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("s", "start", "start", id="queue.start"),
        Binding("s", "stop", "stop", id="queue.stop"),
        Binding("plus", "add", "add a sweep", key_display="+", id="queue.add"),
        Binding("shift+up,less_than_sign", "shift(-1)", "up", key_display="<", id="queue.earlier"),
        Binding(
            "shift+down,greater_than_sign", "shift(1)", "down", key_display=">", id="queue.later"
        ),
        Binding("delete,backspace", "drop", "drop", key_display="del", id="queue.drop"),
        Binding("u", "undo", "undo", id="queue.undo"),
        Binding("o", "config", "config", id="queue.config"),
        Binding("equals_sign", "compare", "compare", key_display="=", id="queue.compare"),
        Binding("K", "drop_done", "drop all that are done", show=False, id="queue.drop_done"),
        Binding("escape", "app.back", "back", id="queue.back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reader = QueueReader()
        self._rows: list[QueueRow] | None = None  # None until they were read
        self._cursor_at = ""  # the run that the cursor goes to once it is shown
        self._dropped: list[list[tuple[int, Cell]]] = []  # by each key press that dropped some
        self._at_work = False  # whether a process works through the queue

    @property
    def table(self) -> "RowList[QueueRow]":
        """The rows."""
        return self.query_one("#table", RowList)

    def body(self) -> Iterable[Widget]:
        """Title, table, and the run under the cursor, below it or beside it."""
        yield Static(id="title")
        with Horizontal():
            with Vertical(id="list"):
                yield Static(id="header")
                yield RowList(row, empty="  reading the queue …", id="table")
            yield RunPreview()
        yield Static(id="about")

    def on_mount(self) -> None:
        """Begin to look."""
        self.table.focus()
        self.set_interval(SECONDS, self._look_again)
        self.look()

    def on_screen_resume(self) -> None:
        """What changed while another screen was in front shows at once."""
        self.look()

    def on_resize(self, event: Resize) -> None:
        """The columns that fit depend on the width, and so does what stands beside them."""
        self.call_after_refresh(self._show_header)
        self.call_after_refresh(self._moved)

    # -- reading and showing ---------------------------------------------------------------------

    def _look_again(self) -> None:
        if self.is_current and not is_reading(self, "look"):
            self.look()

    @work(thread=True, exclusive=True, group="look")
    def look(self) -> None:
        """Read the queue and the runs in it."""
        try:
            rows = self._reader.read(queue.read_queue())
        except (UserError, RunError) as error:
            show_from_thread(self, self.say_error, error)
            return
        show_from_thread(self, self._show, rows, worker_of(QUEUE) is not None)

    def _show(self, rows: list[QueueRow], at_work: bool) -> None:
        changed = at_work != self._at_work or bool(rows) != bool(self._rows)
        self._at_work = at_work
        current = self.table.current
        run = self._cursor_at or (current.cell.run if current else "")
        at = next((place for place, each in enumerate(rows) if each.cell.run == run), None)
        self._rows, self._cursor_at = rows, ""
        self.table.show(rows, at, empty=f"  {EMPTY}")
        self._show_title()
        self.call_after_refresh(self._show_header)
        if changed:
            if not at_work:
                self.query_one(KeyLine).take_back(STARTED)
            self.refresh_bindings()

    def _show_title(self) -> None:
        rows = self._rows or []
        facts = progress(rows) if rows else ""
        words, colour = self._work()
        self.query_one("#title", Static).update(
            Content.assemble(("queue  ", "bold"), (words, colour), (facts, "$muted"))
        )

    def _work(self) -> tuple[str, str]:
        """Whether the queue is worked through now, and what it waits for."""
        rows, live = self._rows or [], self.studio.live
        if all(each.done for each in rows):
            return "", "$muted"
        if not self._at_work:
            return "at rest · ", "$warning"
        if live and not any(each.live for each in rows):
            return f"waits for {safe_line(live.name or 'a run', 28)} · ", "$warning"
        return "", "$muted"

    def _show_header(self) -> None:
        width = self.table.scrollable_content_region.width
        self.query_one("#header", Static).update(header(width))

    @on(RowList.Moved, "#table")
    def _moved(self) -> None:
        current = self.table.current
        self.query_one("#about", Static).update(about(current) if current else Content(""))
        self.query_one(RunPreview).show_run(current.run if current else None)

    # -- keys ------------------------------------------------------------------------------------

    def why_not(self, action: str) -> str | None:
        """The queue is started or stopped; one that is empty has no run to do something with."""
        if self._rows == [] and action in ON_ROWS:
            return EMPTY
        if action == "undo" and not self._dropped:
            return "nothing was dropped since this list was opened"
        if action == "stop" and not self._at_work:
            return "the queue is at rest"
        if action == "start" and self._at_work:
            return "the queue is worked through already"
        return super().why_not(action)

    def action_start(self) -> None:
        """Have a process work through the queue."""
        if all(each.done for each in self._rows or []):
            self.say(EMPTY)
        elif self._try(queue_process.start):
            self.say(STARTED, 15)

    def action_stop(self) -> None:
        """Ask that process to stop."""
        if self._try(queue_process.stop):
            self.say("stopping, the run that trains with a checkpoint · s goes on with it", 15)

    def action_shift(self, by: int) -> None:
        """Move a run that waits."""
        if current := self._current():
            self._try(lambda: queue.move(current.cell.run, by))

    def action_drop(self) -> None:
        """Take a run out of the queue."""
        current = self._current()
        if current and self._drop([current.cell.run]):
            rest = " · what was trained of it stays on the runs screen" if current.run else ""
            self.say(f"dropped {safe_line(current.cell.run, 60)} · u brings it back{rest}", 15)

    def action_drop_done(self) -> None:
        """Take out of the queue all that is done."""
        done = [each.cell.run for each in self._rows or [] if each.done]
        if not done:
            self.say("none of them is done")
        elif self._drop(done):
            some = "1 that is done" if len(done) == 1 else f"{len(done)} that are done"
            self.say(f"dropped {some} · what was trained stays on the runs screen")

    def _drop(self, runs: list[str]) -> bool:
        dropped: list[tuple[int, Cell]] = []
        done = self._try(lambda: dropped.extend(queue.drop(runs)))
        if dropped:
            self._dropped.append(dropped)
            left = [each for each in self._rows or [] if each.cell.run not in runs]
            self._show(left, self._at_work)  # at once: the next key is of the next run
            self.refresh_bindings()
        return done

    def action_undo(self) -> None:
        """Put back what was dropped last."""
        cells = self._dropped[-1]
        self._cursor_at = cells[0][1].run
        if self._try(lambda: queue.put_back(cells)):
            self._dropped.pop()
            self.refresh_bindings()
            some = f"{len(cells)} are" if len(cells) > 1 else f"{safe_line(cells[0][1].run, 60)} is"
            self.say(f"{some} back")

    def action_config(self) -> None:
        """Open the settings of the run in the form."""
        if not (current := self._current()):
            return
        try:
            self.studio.navigator.open_setup(settings_of(current.cell), current.cell.run)
        except UserError as error:
            self.say_error(error)

    @work
    async def action_add(self) -> None:
        """Add the runs of a sweep."""
        queued = {each.cell.run for each in self._rows or []}
        choices = await asyncio.to_thread(_sweeps, queued)
        if not choices:
            self.say("there is no sweep that is not in the queue · + in the form makes one")
            return
        name = await self.app.push_screen_wait(AskChoice("add the runs of which sweep?", choices))
        if name:
            self._try(lambda: queue.add_sweep(open_sweep(name)))

    def action_compare(self) -> None:
        """Compare the runs of the sweep under the cursor, or all that have begun."""
        if not (current := self._current()):
            return
        sweep = current.cell.sweep
        begun = [each for each in self._rows or [] if each.run and each.cell.sweep == sweep]
        if len(begun) < 2:
            self.say(f"fewer than two runs{f' of {sweep}' if sweep else ''} have begun")
            return
        begun.sort(key=lambda each: -(each.result.rate if each.result else -1.0))
        compare(self, [Run(each.run.path) for each in begun if each.run])

    @on(RowList.Chosen, "#table")
    def _open(self) -> None:
        current = self._current()
        if current and current.run:
            self.studio.navigator.open_run_detail(str(current.run.path))
        elif current and current.failed:
            self.say(f"it failed before its first step: {safe_line(current.error, 300)}", 15)
        elif current:
            self.say(f"this run {'was deleted' if current.done else 'has not begun yet'}")

    def _current(self) -> QueueRow | None:
        """The run under the cursor; where there is none, that is said."""
        if self.table.current is None:
            self.say("the queue is still being read" if self._rows is None else "nothing is here")
        return self.table.current

    def _try(self, change: Callable[[], object]) -> bool:
        """Change something and show it; whether it worked."""
        try:
            change()
        except (UserError, RunError) as error:
            self.say_error(error)
            return False
        self.look()
        return True


def _sweeps(queued: set[str]) -> list[tuple[str, str]]:
    """The sweeps that have runs outside the queue, and how many runs they have left."""
    choices: list[tuple[str, str]] = []
    for name in names():
        if name == QUEUE:
            continue
        try:
            sweep: Sweep = open_sweep(name)
        except (UserError, RunError):
            continue
        if any(cell.run not in queued for cell in sweep.cells):
            choices.append((name, f"{len(sweep.left())} of {len(sweep.cells)} runs left"))
    return choices
