"""Runs: the archive as a table, with what can be done to a run."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from textual import on, work
from textual.binding import Binding

from engine.errors import RunError, UserError
from engine.events import COMPLETE, UNDER_WAY
from engine.runs import archive, queue, run_names, trash
from engine.runs.folder import Run
from engine.runs.run_summary import RunSummary
from engine.runs.sweep import sweep_of
from tui.archive.run_actions import copy_path, go_back, resume
from tui.archive.run_table_screen import NO_RUN_HERE, RunTableScreen
from tui.run.watched import take_over
from tui.setup.queueing import add_to_queue
from tui.shell.ask import AskText
from tui.state.live_elsewhere import is_elsewhere
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList

ON_A_RUN = {  # actions for the run under the cursor
    "resume", "take_over", "config", "mark", "tags", "delete", "rename", "go_back", "export",
    "publish", "try_it", "chat", "enqueue", "copy",
}  # fmt: skip
NAMES = "a name has letters, digits and . _ + = @ -, with no . or - at its ends"


class RunsScreen(RunTableScreen):
    """All runs, newest first, and what can be done to the one under the cursor."""

    BINDINGS = [  # noqa: RUF012
        Binding("r", "resume", "resume", id="runs.resume"),
        Binding("r", "take_over", "take over", id="runs.resume"),
        Binding("o", "config", "config", id="runs.config"),
        Binding("space", "mark", "mark", id="runs.mark"),
        Binding("equals_sign", "compare", "compare", key_display="=", id="runs.compare"),
        Binding("Q", "queue", "queue", id="runs.queue"),
        Binding("number_sign", "tags", "tags", key_display="#", id="runs.tags"),
        Binding("delete,backspace", "delete", "delete", key_display="del", id="runs.delete"),
        Binding("u", "undo", "undo delete", id="runs.undo"),
        Binding("slash", "filter", "filter", key_display="/", id="runs.filter"),
        Binding(
            "greater_than_sign",
            "sort",
            "sort by the next column",
            show=False,
            key_display=">",
            id="runs.sort",
        ),
        Binding(
            "less_than_sign",
            "flip",
            "turn the order round",
            show=False,
            key_display="<",
            id="runs.flip",
        ),
        Binding("M", "rename", "rename", show=False, id="runs.rename"),
        Binding("R", "go_back", "resume from a checkpoint", show=False, id="runs.go_back"),
        Binding("E", "export", "export", show=False, id="runs.export"),
        Binding("P", "publish", "publish", show=False, id="runs.publish"),
        Binding("B", "try_it", "try it", show=False, id="runs.try_it"),
        Binding("C", "chat", "chat", show=False, id="runs.chat"),
        Binding(
            "plus", "enqueue", "add to the queue", show=False, key_display="+", id="runs.enqueue"
        ),
        Binding("y", "copy", "copy its path", show=False, id="runs.copy"),
        Binding("escape", "clear", "clear filter and marks", show=False, id="runs.clear"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._deleted: list[Path] = []

    def why_not(self, action: str) -> str | None:
        """A run is resumed where it has steps left and nobody trains it, taken over where another
        process does, and deleted or renamed where it does not train here; nothing of that where no
        run is shown. A delete is undone as long as the trash has what was deleted."""
        run = self.run if self.is_mounted else None
        if action in ON_A_RUN and not run and self.summaries is not None:
            return NO_RUN_HERE
        if action in ("resume", "take_over") and run:
            if self._is_here(run):
                return "this run trains here: enter goes to it"
            if action == "take_over":
                return None if run.status in UNDER_WAY else "nobody trains this run now"
            if run.status in UNDER_WAY:
                return "another process trains this run: r takes it over"
            if run.status in COMPLETE:
                return f"this run is {run.status}; o opens its config for a new one"
        if action in ("delete", "rename") and run and self._is_here(run):
            return "this run trains here: stop it first, on the run screen"
        if action == "undo" and not self._deleted:
            return "nothing was deleted since the program was opened"
        if action == "undo" and self._newest_deleted is None:
            return "what was deleted is gone for good: the trash keeps a run for a day"
        return super().why_not(action)

    # -- one run ---------------------------------------------------------------------------------

    @on(RowList.Chosen, "#table")
    def _open(self) -> None:
        if run := self.intact_run():
            if self._is_here(run):
                self.app.switch_mode("run")
            else:
                self.studio.navigator.open_run_detail(str(run.path))

    def _is_here(self, run: RunSummary) -> bool:
        """Whether this program trains the run."""
        session = self.studio.session
        return bool(session and session.alive and session.run and session.run.path == run.path)

    def action_resume(self) -> None:
        """Go on with the run from its newest checkpoint; one that another process has begun with
        since the list was read is taken over."""
        if not (run := self.intact_run()):
            return
        if run.status not in COMPLETE and is_elsewhere(Run(run.path).holder()):
            self._take_over(Run(run.path))
        else:
            resume(self, Run(run.path), run.status, config_key="o")

    def action_take_over(self) -> None:
        """Stop the run in the process that trains it, and go on with it here."""
        self.action_resume()

    @work(exclusive=True, group="asked")
    async def action_go_back(self) -> None:
        """Go on with the run from an earlier checkpoint."""
        if run := self.intact_run():
            await go_back(self, Run(run.path))

    @work(exclusive=True, group="asked")
    async def _take_over(self, run: Run) -> None:
        await take_over(self, run)

    def action_config(self) -> None:
        """Open the run's settings in the form."""
        if run := self.intact_run():
            try:
                self.studio.navigator.open_setup(Run(run.path).settings(), run.name)
            except UserError as error:
                self.say_error(error)

    def action_try_it(self) -> None:
        """Ask the starting and the trained policy."""
        if run := self.intact_run():
            self.studio.navigator.open_try_it(Run(run.path))

    def action_chat(self) -> None:
        """Talk with the starting and the trained policy."""
        if run := self.intact_run():
            self.studio.navigator.open_chat(Run(run.path))

    def action_queue(self) -> None:
        """Show the runs that wait for their turn."""
        self.studio.navigator.open_queue()

    @work(exclusive=True, group="asked")
    async def action_enqueue(self) -> None:
        """Add the run to the queue where it has steps left, else its settings for new runs."""
        if not (summary := self.intact_run()):
            return
        run = Run(summary.path)
        try:
            if summary.status in COMPLETE:
                await add_to_queue(self, run.settings().model_copy(update={"run_name": None}))
            else:
                queue.add_run(run)
                self.say(f"{safe_line(run.name, 60)} waits in the queue to go on · Q shows it")
        except (UserError, RunError) as error:
            self.say_error(error)

    def action_copy(self) -> None:
        """Copy the path of the run's folder."""
        if run := self.run_here():
            copy_path(self, run.path)

    @work
    async def action_tags(self) -> None:
        """Give the run other tags."""
        if not (run := self.intact_run()):
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
        if not (run := self.intact_run()):
            return
        text = await self.app.push_screen_wait(AskText("rename to", safe_line(run.name)))
        if text and text != run.name:
            renamed = run.path.with_name(run_names.safe_name(text))
            if self._change(lambda: archive.rename(Run(run.path), text), renamed):
                self._say_name(text, renamed.name, run.name)

    def _say_name(self, wish: str, name: str, before: str) -> None:
        """Say how a run is called, where not all of the name that was given can stay, and which
        sweep knows it by the name before."""
        said = [f"renamed to {safe_line(name, 80)}: {NAMES}"] if name != wish else []
        with contextlib.suppress(UserError):  # the sweep's file is damaged
            if sweep := sweep_of(before):
                lost = (
                    f"the sweep {safe_line(sweep.name, 60)} has lost this run, and would train it"
                )
                said.append(f"{lost} anew as {safe_line(before, 80)}")
        said += _why_trained_anew(before)
        if said:
            self.say(" · ".join(said), 15)

    def action_delete(self) -> None:
        """Move the run into the trash; undo brings it back."""
        if run := self.run_here():

            def delete() -> None:
                self._deleted.append(trash.delete(run.path))

            if self._change(delete):
                said = [f"deleted {safe_line(run.name, 60)} · u brings it back"]
                self.say(" · ".join([*said, *_why_trained_anew(run.name)]), 15)

    def action_undo(self) -> None:
        """Bring back the run that was deleted last."""
        if (trashed := self._newest_deleted) is None:
            return
        back: list[Run] = []

        def undelete() -> None:
            back.append(trash.undelete(trashed))
            self._deleted.remove(trashed)  # only now: what could not be moved can be tried again

        if self._change(undelete):
            self.say(f"{safe_line(back[0].name, 60)} is back")
            self.show_runs(back[0].path)

    @property
    def _newest_deleted(self) -> Path | None:
        """The run in the trash that was deleted last; another process may have emptied it."""
        return next((each for each in reversed(self._deleted) if each.exists()), None)

    def _change(self, change: Callable[[], object], cursor_at: Path | None = None) -> bool:
        """Do something to the archive and show it; whether it worked."""
        try:
            change()
        except (UserError, RunError) as error:
            self.say_error(error)
            return False
        self.refresh_bindings()
        self.summaries = archive.list_runs()
        self.show_runs(cursor_at)
        return True

    def action_export(self) -> None:
        """Write the adapters or the fused model into a folder."""
        if run := self.intact_run():
            self.studio.navigator.open_export(Run(run.path))

    def action_publish(self) -> None:
        """Send what it left to the model hub."""
        if run := self.intact_run():
            self.studio.navigator.open_publish(Run(run.path))


def _why_trained_anew(name: str) -> list[str]:
    """That the queue holds a run that is gone under this name, where it does."""
    with contextlib.suppress(UserError):  # the queue's file is damaged
        if any(cell.run == name for cell in queue.read_queue().left()):
            return [f"the queue would train {safe_line(name, 60)} anew: drop it there"]
    return []
