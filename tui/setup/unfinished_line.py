"""The line of the form about the run that was left unfinished."""

from textual import work
from textual.content import Content
from textual.widgets import Static

from engine.runs import archive
from engine.runs.folder import Run
from tui.state.unfinished import how_far, unfinished
from tui.text.safe_text import cut, safe_line
from tui.widgets.from_thread import show_from_thread

NAME_WIDTH = 40  # cells of the run's name


class UnfinishedLine(Static):
    """Names the run that was worked on last and can be resumed; shown only where there is one."""

    DEFAULT_CSS = "UnfinishedLine { height: 1; padding: 0 1; display: none; }"

    run: Run | None = None

    @work(thread=True, exclusive=True)
    def look(self) -> None:
        """Look for the run, on a thread."""
        run = unfinished(archive.list_runs())
        far = how_far(run) if run else ""
        show_from_thread(self, self._show, Run(run.path) if run else None, far)

    def _show(self, run: Run | None, far: str) -> None:
        self.run = run
        self.display = run is not None
        if run:
            name = cut(safe_line(run.name), NAME_WIDTH)
            self.update(
                Content.assemble(
                    ("unfinished  ", "$accent"), f"{name} {far}", (" · r resumes it", "$muted")
                )
            )
