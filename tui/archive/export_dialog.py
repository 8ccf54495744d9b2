"""The questions before an export: what of a run, and into which folder."""

from typing import Any

from textual.app import App

from engine.runs.folder import Run
from tui.archive import exporting
from tui.setup import completions
from tui.shell.ask import AskChoice, AskText
from tui.studio import studio_of
from tui.text.safe_text import safe_line


async def export(app: App[Any], run: Run) -> None:
    """Ask, and write the adapters or the fused model of a run into a folder."""
    studio = studio_of(app)
    name = safe_line(run.name, 50)
    what = await app.push_screen_wait(AskChoice(f"export {name}", exporting.WHAT))
    if not what:
        return
    keep = None
    if choices := exporting.weights_to_choose(run):
        keep = await app.push_screen_wait(AskChoice("which weights?", choices))
        if not keep:
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
        folder = completions.expanded(to).absolute()
        studio.say(await exporting.export(run.path, what, folder, studio.say, keep=keep), 20)
