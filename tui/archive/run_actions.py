"""What can be done to one run from the list of runs and from its own screen alike."""

from collections.abc import Sequence
from pathlib import Path

from engine.errors import RunError, UserError
from engine.events import COMPLETE
from engine.runs.checkpoints import Best
from engine.runs.folder import Run
from engine.runs.go_back import check
from tui.shell.ask import AskChoice
from tui.shell.base import StudioScreen
from tui.state.live_elsewhere import is_elsewhere
from tui.text.safe_text import safe_line

COMPARED = 8  # runs that are compared: the head of the screen has no room for more


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


async def go_back(screen: StudioScreen, run: Run) -> None:
    """Ask for a checkpoint, and go on with the run from there."""
    try:
        screen.studio.control.refuse_second_run()
        if is_elsewhere(run.holder()):
            screen.say("another process trains this run")
            return
        steps = [str(int(each.name)) for each in reversed(run.checkpoints())]
        if not steps:
            screen.say("this run has no checkpoint yet")
            return
        choices = [(step, _of_checkpoint(run, int(step))) for step in steps]
        question = "go on from which step? What came after it goes, but for your labels."
        answer = await screen.app.push_screen_wait(AskChoice(question, choices))
        if answer is None:
            return
        step, best = int(answer), run.best()
        if best and step < best.step and not await _gives_up(screen, best):
            return
        check(run, step, force=True)
        screen.studio.resume_run(run, back_to=step)
    except (UserError, RunError) as error:
        screen.say_error(error)


def _of_checkpoint(run: Run, step: int) -> str:
    """What is known of a checkpoint."""
    best = run.best()
    if best and best.step == step:
        return f"the best: it won {best.win_rate:.0%} of held-out prompts"
    return "the newest" if step == int(run.checkpoints()[-1].name) else ""


async def _gives_up(screen: StudioScreen, best: Best) -> bool:
    """Whether the person lets the best checkpoint go, which is a later one."""
    question = f"step {best.step:,} is the best ({best.win_rate:.0%}); its checkpoint would go."
    choices = (("leave it", "export it first, with E on the runs screen"), ("go back", "it goes"))
    return await screen.app.push_screen_wait(AskChoice(question, choices)) == "go back"


def compare(screen: StudioScreen, runs: Sequence[Run], which: str = "best") -> None:
    """Compare the first of some runs, as many as a comparison has room for; `which` says which
    these are."""
    from tui.archive.compare_screen import CompareScreen

    screen.app.push_screen(CompareScreen(runs[:COMPARED]))
    if len(runs) > COMPARED:
        few = f"the {COMPARED} {which} of {len(runs)} runs"
        screen.studio.say(f"{few}: a comparison has room for no more")


def copy_path(screen: StudioScreen, folder: Path) -> None:
    """Copy the path of a run's folder."""
    screen.app.copy_to_clipboard(str(folder))
    screen.say(f"copied: {safe_line(str(folder), 200)}")
