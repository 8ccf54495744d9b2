"""The folder of all that the program keeps, and home. Importing this costs nothing."""

import os
from pathlib import Path


def at_home(name: str | Path) -> Path:
    """The path of a name that a person wrote, `~` their home folder. One that begins with the `~`
    of a user who is not there stays as it is written, as shells have it."""
    return Path(os.path.expanduser(name))


def data_folder() -> Path:
    """LORA_STUDIO_HOME, or the user's data folder."""
    if chosen := os.environ.get("LORA_STUDIO_HOME"):
        return at_home(chosen).absolute()
    import platformdirs

    return platformdirs.user_data_path("lora-studio")
