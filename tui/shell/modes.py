"""The modes of the app, one for each place that one can go to: what makes its first screen. A
module is imported only then."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

if TYPE_CHECKING:
    from tui.app import StudioApp


def modes(app: "StudioApp") -> dict[str, Callable[[], Screen[Any]]]:
    """By the name of the mode that keeps the place's stack of screens."""

    def opening() -> Screen[Any]:
        from tui.shell.opening import OpeningScreen

        return OpeningScreen()

    def setup() -> Screen[Any]:
        from tui.setup.screen import SetupScreen

        return SetupScreen(app.first_settings, start=app.starts_at_once)

    def run() -> Screen[Any]:
        from tui.run.screen import RunScreen

        return RunScreen()

    def review() -> Screen[Any]:
        from tui.review.screen import ReviewScreen

        return ReviewScreen()

    def runs() -> Screen[Any]:
        from tui.archive.runs_screen import RunsScreen

        return RunsScreen()

    return {"opening": opening, "setup": setup, "run": run, "review": review, "runs": runs}
