"""Settings read from a config file and saved as one, each after a question for its path."""

from pathlib import Path

from engine.data_folder import at_home
from engine.errors import UserError
from engine.runs import durable
from engine.settings import files
from engine.settings.schema import Settings
from tui.setup import completions
from tui.shell.ask import AskText, doubt_of_file
from tui.shell.base import StudioScreen


async def load(screen: StudioScreen) -> tuple[Settings, str, list[str]] | None:
    """The settings of a file that the person names, the file's name, and what is to be said of
    older or unknown keys; None after escape.

    Raises:
        UserError: the file was changed after it was checked, and is no config any more.
    """
    path = await screen.app.push_screen_wait(
        AskText("load which config?", check=_cannot_load, complete=completions.paths)
    )
    if not path:
        return None
    data = files.read(at_home(path))
    return files.from_mapping(data, path), Path(path).name, files.notes(data)


async def save(screen: StudioScreen, settings: Settings) -> Path | None:
    """Save settings, commented, as a file that the person names; None after escape.

    Raises:
        StorageError: it cannot be written.
    """
    path = await screen.app.push_screen_wait(
        AskText("save as?", "my.yaml", check=_doubt_saving, complete=completions.paths)
    )
    if not path:
        return None
    file = at_home(path)
    durable.write_file(file, files.to_yaml(settings))
    return file


def _cannot_load(path: str) -> str | None:
    try:
        files.load(at_home(path))
    except UserError as error:
        return str(error)
    return None


def _doubt_saving(path: str) -> str | None:
    wanted = "give the name of a file"
    return doubt_of_file(at_home(path), wanted) if path.strip() else wanted
