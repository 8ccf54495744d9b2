"""What the app remembers between two sittings: a small JSON file in the program's folder."""

import contextlib
from pathlib import Path

from engine.data_folder import data_folder

LIMIT = 64_000  # bytes


def _file() -> Path:
    return data_folder() / "preferences.json"


def load() -> dict[str, object]:
    """Everything remembered; nothing where the file is missing or damaged."""
    if not _file().is_file():
        return {}
    from engine.runs import durable, json_lines, storage

    try:
        return json_lines.from_line(durable.read_file(_file(), LIMIT)) or {}
    except (OSError, storage.StorageError):
        return {}


def save(**changes: object) -> None:
    """Remember some values. A folder that cannot be written is no reason to stop anybody."""
    from engine.runs import durable, json_lines, storage

    with contextlib.suppress(OSError, storage.StorageError):
        _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write_file(_file(), json_lines.to_json({**load(), **changes}) + "\n")
