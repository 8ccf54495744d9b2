"""Settings that are added to the queue: as one run, or as a grid of runs."""

import re
import shlex

from engine.errors import UserError
from engine.runs import queue
from engine.runs.sweep import Sweep, plan_sweep, write_sweep
from engine.settings.schema import Settings
from tui.shell.ask import AskText
from tui.shell.base import ERROR_SECONDS, StudioScreen
from tui.text.safe_text import safe_line

QUESTION = (
    "add to the queue, which trains one run after the other\n"
    "a grid, as  beta=0.1,0.3 seed=0,1,2  or nothing for one run as it is"
)


async def add_to_queue(screen: StudioScreen, settings: Settings) -> None:
    """Ask whether a grid is wanted, and add one run or those of the grid."""

    def refusal(text: str) -> str | None:
        try:
            _grid(settings, text)
        except UserError as error:
            return _without_options(str(error))
        return None

    text = await screen.app.push_screen_wait(AskText(QUESTION, check=refusal))
    if text is None:
        return
    try:
        if grid := _grid(settings, text):
            write_sweep(grid)
            queue.add_sweep(grid)
            words = f"{len(grid.cells)} runs of {grid.name} wait"
        else:
            words = f"{queue.add_settings(settings).run} waits"
    except UserError as error:
        screen.say(safe_line(_without_options(str(error)), 400), ERROR_SECONDS)
    else:
        screen.say(safe_line(f"{words} in the queue · Q shows it", 200))


def _without_options(error: str) -> str:
    """An error of the command line in the words of a screen, where no option is given."""
    return re.sub(r"--set:? |; --name .*", "", error)


def _grid(settings: Settings, text: str) -> Sweep | None:
    """The grid of `key=value,value` words; None where there are no words.

    Raises:
        UserError: they do not serve.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise UserError("a quote is open: close it") from None
    return plan_sweep(settings.model_dump(mode="json"), "the form", words, None) if words else None
