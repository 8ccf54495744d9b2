"""A dataset id, folder or file -> its splits as rows, read one at a time.

How a file is read is the subject of `engine.data.files`; `engine.data.prompts` makes prompts of the
rows. Every error names the file and the line.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.data import files as data_files
from engine.data.files import Columns, Placed
from engine.errors import UserError

SplitName = Literal["train", "valid", "test"]

_SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
_SPLIT_FILE = re.compile(rf"^({'|'.join(_SPLIT_WORDS)})(?:[-_.].*)?$")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split. `rows`, called with the columns that are wanted (None: all), reads them
    from the beginning; where it costs nothing, it gives the others as well."""

    name: str
    columns: list[str]
    rows: Callable[[Columns], Iterator[Placed]]


def read_splits(data: str) -> dict[SplitName, Split]:
    """The splits of the dataset that the setting `data` names; train is always among them.

    Raises:
        UserError: it is not there, or it holds no file that can be read.
    """
    if data == "starter":
        from engine import starter

        return _folder(starter.PROMPTS)
    try:
        path = Path(data).expanduser()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"data: {data!r} is no path and no dataset id") from error
    if is_file:
        return {"train": _split(str(path), [path])}
    if is_folder:
        return _folder(path)
    looks_like_a_path = data.startswith((".", "/", "~")) or data_files.kind(path) != ""
    if looks_like_a_path or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", data):
        raise UserError(f"data: there is no file or folder {data!r}")
    return _hub(data)


def _split(name: str, files: list[Path]) -> Split:
    """The rows of some files, one after the other."""

    def rows(columns: Columns) -> Iterator[Placed]:
        for file in files:
            yield from data_files.rows(file, columns)

    columns = {column: None for file in files for column in data_files.columns(file)}
    return Split(name, list(columns), rows)


def _folder(folder: Path) -> dict[SplitName, Split]:
    """The splits of a folder, by the names of its files: train.jsonl, valid-00000.parquet, ..."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved_to_disk(folder)
    try:
        places = [folder, folder / "data"]
        files = [f for place in places if place.is_dir() for f in sorted(place.iterdir())]
    except OSError as error:
        raise UserError(f"data: {folder} cannot be read: {error.strerror}") from error
    files = [f for f in files if data_files.kind(f) and f.is_file() and f.name[0] != "."]
    by_split: dict[SplitName, list[Path]] = {}
    for file in files:
        if match := _SPLIT_FILE.match(file.stem.lower()):
            by_split.setdefault(_SPLIT_WORDS[match[1]], []).append(file)
    if not by_split and files:
        by_split["train"] = files
    if "train" not in by_split:
        raise UserError(
            f"data: {folder} has no train file ({data_files.kinds()}), such as train.jsonl"
        )
    return {name: _split(str(folder), paths) for name, paths in by_split.items()}


def _saved_to_disk(folder: Path) -> dict[SplitName, Split]:
    """The splits of a folder that `datasets` wrote with save_to_disk."""
    import datasets

    try:
        return _of_library(datasets.load_from_disk(str(folder)), str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"data: {folder} is a damaged dataset folder: {_first_line(error)}"
        ) from error


def _hub(data: str) -> dict[SplitName, Split]:
    """The splits of a hub dataset, `name` or `name:configuration`, downloaded or from the cache."""
    import datasets

    datasets.disable_progress_bars()
    name, _, configuration = data.partition(":")
    try:
        return _of_library(datasets.load_dataset(name, configuration or None), data)
    except Exception as error:  # the library raises whatever lies below it: HTTP, Arrow, files
        if cached := _hub_cache(name):
            return _folder(cached)
        raise UserError(_hub_trouble(data, error)) from error


def _hub_cache(name: str) -> Path | None:
    """The folder in the hub's cache with the dataset's own files, if there is one to read."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
        _folder(folder)
    except Exception:  # not in the cache, or only in part
        return None
    return folder


def _hub_trouble(data: str, error: Exception) -> str:
    from engine.machine.hub import hub_reachable

    if "Config name is missing" in str(error):
        names = re.findall(r"\[.*?\]", str(error))
        listed = f": {names[0]}" if names else ""
        return f"data: {data} has several configurations; name one as {data}:NAME{listed}"
    if hub_reachable():
        return (
            f"data: there is no file or folder {data} and the hub, which answers, gives no such "
            f"dataset ({_first_line(error)})"
        )
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        why = "was not asked, because HF_HUB_OFFLINE is set"
    else:
        why = "could not be reached; check the connection, or give a local file"
    return f"data: {data} is no file or folder here and not in the hub's cache, and the hub {why}"


def _of_library(loaded: Any, name: str) -> dict[SplitName, Split]:
    """The splits of a `datasets` Dataset or DatasetDict."""
    parts = loaded if isinstance(loaded, dict) else {"train": loaded}
    splits: dict[SplitName, Split] = {}
    for part, dataset in parts.items():
        if match := _SPLIT_FILE.match(str(part).lower()):
            splits.setdefault(_SPLIT_WORDS[match[1]], _library_split(f"{name} ({part})", dataset))
    if "train" not in splits and len(parts) == 1:
        splits["train"] = _library_split(name, next(iter(parts.values())))
    if "train" not in splits:
        raise UserError(f"data: {name} has no train split; its splits are {', '.join(parts)}")
    return splits


def _library_split(name: str, dataset: Any) -> Split:
    def rows(columns: Columns) -> Iterator[Placed]:
        # The other columns may hold images, which would be decoded row by row.
        known = [name for name in columns or dataset.column_names if name in dataset.column_names]
        for number, row in enumerate(dataset.select_columns(known), 1):
            yield f"{name}, row {number}", row

    return Split(name, list(dataset.column_names), rows)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return "".join(char for char in line if char.isprintable())[:200]
