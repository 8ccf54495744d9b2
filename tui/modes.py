"""The modes of the app: what makes the first screen of each. A room is imported only then."""

from tui.shell.base import StudioScreen
from tui.shell.opening import OpeningScreen


def run() -> StudioScreen:
    """The run that trains."""
    from tui.run.screen import RunScreen

    return RunScreen()


def review() -> StudioScreen:
    """The pairs that wait for a person."""
    from tui.review.screen import ReviewScreen

    return ReviewScreen()


def runs() -> StudioScreen:
    """All runs."""
    from tui.archive.runs_screen import RunsScreen

    return RunsScreen()


MODES = {"opening": OpeningScreen, "run": run, "review": review, "runs": runs}
