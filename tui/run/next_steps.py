"""What the screen of a run that is over offers: its keys in words, what one may copy."""

from pathlib import Path

from engine.model.adapter_files import WEIGHTS
from engine.runs.folder import ADAPTERS, Run
from tui.run.what_now import Ended
from tui.shell.ask import AskChoice
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line

STEPS = {
    "chat": "chat with it",
    "try_it": "try it blind",
    "export": "export",
    "publish": "publish",
    "train_on": "train on",
    "by_hand": "label by hand",
    "copy": "copy",
}


def next_keys(screen: StudioScreen) -> list[tuple[str, str]]:
    """The keys of the next steps as the screen has them now, with a word for each."""
    keys = {
        active.binding.action: screen.app.get_key_display(active.binding)
        for active in screen.active_bindings.values()
    }
    return [(keys[action], words) for action, words in STEPS.items() if action in keys]


def newest_weights(run: Run) -> Path:
    """The file of what the run has trained so far: where a new run can start from."""
    adapters = run.path / ADAPTERS / WEIGHTS
    checkpoint = run.latest_checkpoint()
    return adapters if adapters.is_file() or not checkpoint else checkpoint / WEIGHTS


async def copy_one(screen: StudioScreen, ended: Ended) -> None:
    """Ask which of the run's folder and the command lines is copied, and copy it."""
    texts = {"folder": str(ended.folder)}
    texts |= {line.partition(" ")[0]: line for line in ended.commands}
    choices = [(name, safe_line(text, 48)) for name, text in texts.items()]
    name = await screen.app.push_screen_wait(AskChoice("copy what?", choices))
    if name:
        screen.app.copy_to_clipboard(texts[name])
        screen.say(f"copied: {safe_line(texts[name], 300)}", 8)
