"""A dataset id, folder or file -> its splits as rows, read one at a time.

How a file is read is the subject of `engine.data.files`; `engine.data.prompts` makes prompts of the
rows. Every error names the file and the line.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine import file_kinds
from engine.data import files as data_files
from engine.data.files import Columns, Placed
from engine.data_folder import at_home
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
LISTED = 20  # names of splits or files in a message
_SPLIT_FILE = re.compile(rf"^({'|'.join(_SPLIT_WORDS)})(?:[-_.].*)?$")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of one split. `rows`, called with the columns that are wanted (None: all), reads them
    from the beginning; where it costs nothing, it gives the others as well."""

    name: str
    columns: list[str]
    rows: Callable[[Columns], Iterator[Placed]]


WINDOW = 10_000  # rows of a stream that are shuffled together
WHOLE = (".txt", ".md")  # files that may be a prompt each


@dataclass(frozen=True, slots=True)
class Reading:
    """How a dataset is read: see the settings of these names. `seed` is of a stream's order."""

    config: str | None = None
    split: str | None = None
    streaming: bool = False
    whole_files: bool = False
    seed: int = 0


def read_splits(data: str, reading: Reading | None = None) -> dict[SplitName, Split]:
    """The splits of the dataset that the setting `data` names; train is always among them.

    Raises:
        UserError: it is not there, or it holds no file that can be read, or no such split.
    """
    reading = reading or Reading()
    if data == "starter":
        from engine import starter

        return _folder(starter.PROMPTS, reading)
    try:
        path = at_home(data)
        is_file, is_folder = file_kinds.is_file(path), file_kinds.is_dir(path)
    except PermissionError as error:
        raise UserError(f"data: {data} cannot be read: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"data: {data!r} is no path and no dataset id") from error
    if reading.config and (is_file or is_folder):
        raise UserError(f"data_config: {data} is on this machine, and has no configurations")
    if reading.streaming and (is_file or is_folder):
        raise UserError(f"data_streaming: {data} is on this machine; leave it out")
    if is_file:
        if reading.split:
            raise UserError(f"data_split: {data} is one file, and has no splits")
        return {"train": _split(str(path), [path], reading)}
    if is_folder:
        return _folder(path, reading)
    looks_like_a_path = data.startswith((".", "/", "~")) or data_files.kind(path) != ""
    if looks_like_a_path or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", data):
        raise UserError(f"data: there is no file or folder {data!r}")
    return _hub(data, reading)


def _split(name: str, files: list[Path], reading: Reading) -> Split:
    """The rows of some files, one after the other."""
    whole = {file for file in files if reading.whole_files and file.suffix.lower() in WHOLE}

    def rows(columns: Columns) -> Iterator[Placed]:
        for file in files:
            yield from (
                data_files.whole_text(file) if file in whole else data_files.rows(file, columns)
            )

    columns = {
        column: None
        for file in files
        for column in (["prompt"] if file in whole else data_files.columns(file))
    }
    return Split(name, list(columns), rows)


def _folder(folder: Path, reading: Reading) -> dict[SplitName, Split]:
    """The splits of a folder, by the names of its files: train.jsonl, valid-00000.parquet, ..."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved_to_disk(folder, reading)
    try:
        places = [folder, folder / "data"]
        files = [f for place in places if file_kinds.is_dir(place) for f in sorted(place.iterdir())]
    except OSError as error:
        raise UserError(f"data: {folder} cannot be read: {error.strerror}") from error
    files = [f for f in files if _is_read(f, reading) and f.is_file() and f.name[0] != "."]
    by_split: dict[SplitName, list[Path]] = {}
    for file in files:
        if match := _SPLIT_FILE.match(file.stem.lower()):
            by_split.setdefault(_SPLIT_WORDS[match[1]], []).append(file)
    if not by_split and files:
        by_split["train"] = files
    if reading.split:
        begins = re.compile(rf"{re.escape(reading.split)}(?:[-.].*)?")
        by_split["train"] = [file for file in files if begins.fullmatch(file.stem)]
        if not by_split["train"]:
            names = ", ".join(sorted({file.stem for file in files})[:LISTED])
            raise UserError(f"data_split: {folder} has no file {reading.split!r}; it has {names}")
        for name, others in list(by_split.items()):
            if name != "train" and by_split["train"][0] in others:
                del by_split[name]  # it is trained on
    if "train" not in by_split:
        raise UserError(
            f"data: {folder} has no train file ({data_files.kinds()}), such as train.jsonl"
        )
    return {name: _split(str(folder), paths, reading) for name, paths in by_split.items()}


def _is_read(file: Path, reading: Reading) -> bool:
    return bool(data_files.kind(file)) or (reading.whole_files and file.suffix.lower() in WHOLE)


def _saved_to_disk(folder: Path, reading: Reading) -> dict[SplitName, Split]:
    """The splits of a folder that `datasets` wrote with save_to_disk."""
    import datasets

    try:
        return _of_library(datasets.load_from_disk(str(folder)), str(folder), reading)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"data: {folder} is a damaged dataset folder: {_first_line(error)}"
        ) from error


def _hub(data: str, reading: Reading) -> dict[SplitName, Split]:
    """The splits of a hub dataset, `name` or `name:configuration`, downloaded or from the cache."""
    import datasets

    datasets.disable_progress_bars()
    name, _, configuration = data.partition(":")
    if configuration and reading.config not in (None, configuration):
        raise UserError(f"data_config: {data} names its configuration already; keep one of them")
    # A part of a split, as train[:10%], is for the library to understand.
    part = reading.split if reading.split and "[" in reading.split else None
    if part and reading.streaming:
        raise UserError("data_split: a stream has no parts; name a split, and say max_prompts")
    try:
        loaded = datasets.load_dataset(
            name,
            configuration or reading.config,
            split=part,
            streaming=reading.streaming,
        )
        if part:
            return {"train": _library_split(f"{data} ({part})", loaded)}
        return _of_library(loaded, data, reading)
    except UserError:
        raise
    except Exception as error:  # the library raises whatever lies below it: HTTP, Arrow, files
        if not (reading.config or part or reading.streaming) and (cached := _hub_cache(name)):
            return _folder(cached, reading)
        raise UserError(_hub_trouble(data, error)) from error


def _hub_cache(name: str) -> Path | None:
    """The folder in the hub's cache with the dataset's own files, if there is one to read."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
        _folder(folder, Reading())
    except Exception:  # not in the cache, or only in part
        return None
    return folder


def _hub_trouble(data: str, error: Exception) -> str:
    from engine.machine.hub import hub_reachable, offline

    if "Config name is missing" in str(error):
        names = re.findall(r"\[.*?\]", str(error))
        listed = f": {names[0]}" if names else ""
        return f"data: {data} has several configurations; name one as {data}:NAME{listed}"
    variable = offline("HF_DATASETS_OFFLINE")
    if not variable and hub_reachable():
        return (
            f"data: there is no file or folder {data} and the hub, which answers, gives no such "
            f"dataset ({_first_line(error)})"
        )
    if variable:
        why = f"was not asked, because {variable} is set"
    else:
        why = "could not be reached; check the connection, or give a local file"
    return f"data: {data} is no file or folder here and not in the hub's cache, and the hub {why}"


def _of_library(loaded: Any, name: str, reading: Reading) -> dict[SplitName, Split]:
    """The splits of a `datasets` Dataset or DatasetDict, streamed or not."""
    parts = loaded if isinstance(loaded, dict) else {"train": loaded}

    def split(part: str) -> Split:
        dataset = parts[part]
        if reading.streaming:
            dataset = dataset.shuffle(seed=reading.seed, buffer_size=WINDOW)
        return _library_split(f"{name} ({part})", dataset)

    splits: dict[SplitName, Split] = {}
    if reading.split:
        if reading.split not in parts:
            listed = ", ".join(list(map(str, parts))[:LISTED])
            raise UserError(f"data_split: {name} has no {reading.split!r}; it has {listed}")
        splits["train"] = split(reading.split)
    for part in parts:
        match = _SPLIT_FILE.match(str(part).lower())
        if match and part != reading.split and _SPLIT_WORDS[match[1]] not in splits:
            splits[_SPLIT_WORDS[match[1]]] = split(part)
    if "train" not in splits and len(parts) == 1:
        splits["train"] = split(next(iter(parts)))
    if "train" not in splits:
        listed = ", ".join(list(map(str, parts))[:LISTED])
        raise UserError(
            f"data: {name} has no train split; its splits are {listed}; name one in data_split"
        )
    return splits


def _library_split(name: str, dataset: Any) -> Split:
    columns = dataset.column_names
    if columns is None:  # of a stream, which tells none before its first row
        columns = list(next(iter(dataset.take(1)), {}))

    def rows(wanted: Columns) -> Iterator[Placed]:
        # The other columns may hold images, which would be decoded row by row.
        known = [name for name in wanted or columns if name in columns]
        number = 0
        read = iter(dataset.select_columns(known))
        while True:
            try:
                row = next(read, None)
            except Exception as error:  # of a stream: HTTP, Arrow, rows of other columns
                raise UserError(
                    f"data: {name} cannot be read after row {number}: {_first_line(error)}"
                ) from error
            if row is None:
                return
            number += 1
            yield f"{name}, row {number}", row

    return Split(name, list(columns), rows)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return "".join(char for char in line if char.isprintable())[:200]
