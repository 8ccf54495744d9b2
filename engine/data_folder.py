"""The folder of all that the program keeps. Importing this costs nothing."""

import os
from pathlib import Path


def data_folder() -> Path:
    """LORA_STUDIO_HOME, or the user's data folder."""
    if chosen := os.environ.get("LORA_STUDIO_HOME"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("lora-studio")
