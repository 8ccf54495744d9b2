"""What can be done to one run from the list of runs and from its own screen alike."""

from pathlib import Path

from engine.errors import RunError, UserError
from engine.events import COMPLETE
from engine.runs.folder import Run
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line


def resume(
    screen: StudioScreen, run: Run, status: str, *, config_key: str, evaluate: bool = False
) -> None:
    """Go on with a run from its newest checkpoint, or say why not; with `evaluate`, measure its
    win rate first. `config_key` opens its config in the form, for a run that has no step left."""
    if status in COMPLETE:
        screen.say(f"this run is {status}; {config_key} opens its config for a new one")
        return
    try:
        screen.studio.resume_run(run, evaluate=evaluate)
    except (UserError, RunError) as error:
        screen.say_error(error)


def copy_path(screen: StudioScreen, folder: Path) -> None:
    """Copy the path of a run's folder."""
    screen.app.copy_to_clipboard(str(folder))
    screen.say(f"copied: {safe_line(str(folder), 200)}")
