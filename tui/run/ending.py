"""How a run ended, in a clause for a line of the terminal."""

from pathlib import Path

from engine.runs.archive import name_to_open
from tui.state.run_view import RunView
from tui.text.format import duration
from tui.text.safe_text import safe_line

PATH_LIMIT = 1_000  # characters; a command that is cut would not run


def ending(view: RunView) -> str:
    """How far a run that is over came, and what goes on with it where that is possible."""
    at = f"step {view.step} of {view.total_steps}"
    match view.status:
        case "finished":
            why = f"; {safe_line(view.ended_early, 300)}" if view.ended_early else ""
            return f"done: {at} in {duration(view.elapsed() or 0)}{why}"
        case "untrained":
            return f"nothing was learned: {at} in {duration(view.elapsed() or 0)}"
        case "failed":
            return f"failed at {at}" if view.total_steps else "failed before the first step"
        case _ if not view.total_steps:
            return "stopped while loading: nothing was trained, and nothing is changed"
        case _:
            return f"stopped at {at} with a checkpoint; {way_back(view)} goes on"


def way_back(view: RunView) -> str:
    """The command that resumes a run, in backquotes; a person judges in the app alone."""
    app = " --app" if view.judge == "human" else ""
    run = name_to_open(Path(view.folder)) if view.folder else view.name
    return f"`lora-studio resume {safe_line(run, PATH_LIMIT)}{app}`"
