"""The questions before an export: what of a run, and into which folder."""

from functools import partial
from typing import Any, cast

from textual.app import App

from engine.data_folder import at_home
from engine.runs.folder import Run
from engine.settings.sections.output import Keep
from tui.archive import exporting
from tui.setup import completions
from tui.shell.ask import AskChoice, AskText
from tui.shell.base import StudioScreen
from tui.studio import studio_of
from tui.text.safe_text import safe_line


async def export(app: App[Any], run: Run) -> None:
    """Ask, and write the adapters or the fused model of a run into a folder."""
    studio = studio_of(app)
    if studio.control.exporting:
        studio.say("an export is being written: the next can begin when it is there")
        return
    name = safe_line(run.name, 50)
    what = await app.push_screen_wait(AskChoice(f"export {name}", exporting.WHAT))
    if not what:
        return
    chosen, keep = await which_weights(app, run)
    if not chosen:
        return
    to = await app.push_screen_wait(
        AskText(
            "into which folder?",
            str(exporting.suggested(run.name, what)),
            check=exporting.refused,
            complete=completions.paths,
        )
    )
    if to:
        folder = at_home(to).absolute()
        studio.control.exporting = True
        tell = partial(studio.say, gives_way=True)
        try:
            exported = await exporting.export(run.path, what, folder, tell, keep=keep)
            studio.control.exported = exported.sentence
        finally:
            studio.control.exporting = False
        studio.control.export_commands.setdefault(run.path, {}).update(
            {line.partition(" ")[0]: line for line in exported.commands}
        )
        if isinstance(app.screen, StudioScreen):
            app.screen.run_changed(())  # which may have the command lines of the run
        studio.say(exported.sentence, 20)


async def which_weights(app: App[Any], run: Run) -> tuple[bool, Keep | None]:
    """Ask which weights of a run are meant, where there is a choice. Whether it goes on, and which
    ones; None: those that the run's settings say."""
    choices = exporting.weights_to_choose(run)
    if not choices:
        return True, None
    keep = await app.push_screen_wait(AskChoice("which weights?", choices))
    return keep is not None, cast("Keep | None", keep)
