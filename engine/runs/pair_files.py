"""Labels of runs -> a preference dataset in files, as `datasets` and trainers built on it read it.

One layout a dataset: texts where each prompt is one turn of a user, else lists of messages, with
tools as JSON beside them. No column holds a null, since readers guess a column's type from its
first lines.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.data.pairs import Layout, message_record
from engine.data.preferences import Preference
from engine.data.prompts import prompt_digest
from engine.data_folder import at_home
from engine.errors import UserError
from engine.runs import durable, json_lines
from engine.runs.folder import STATE
from engine.runs.labels import Label

TRAIN, VALID = "train", "valid"
KINDS = ("jsonl", "parquet", "csv")

Record = dict[str, Any]
Splits = Mapping[str, Sequence[Label]]


def split_by_prompt(labels: Sequence[Label], share: float, seed: int) -> Splits:
    """The labels in two parts that have no prompt in common, `valid` with this share of prompts.

    The same prompts and seed give the same parts; prompts that differ only in spaces, case or the
    composition of letters count as one.

    Raises:
        UserError: there are no two prompts.
    """
    digests = [prompt_digest(each.preference.prompt, each.preference.tools) for each in labels]
    order = sorted(
        set(digests), key=lambda each: hashlib.blake2b(each, key=str(seed).encode()).digest()
    )
    if len(order) < 2:
        raise UserError("--valid: all pairs have one prompt, which cannot be split: leave it out")
    held_out = {*order[: min(max(round(share * len(order)), 1), len(order) - 1)]}
    parts: dict[str, list[Label]] = {TRAIN: [], VALID: []}
    for label, digest in zip(labels, digests, strict=True):
        parts[VALID if digest in held_out else TRAIN].append(label)
    return parts


def kind_of(to: str) -> str | None:
    """The kind of file that a path names by its ending, None for a folder.

    Raises:
        UserError: it ends as some other file does.
    """
    path = at_home(to)
    ending = path.suffix[1:].lower()
    if not ending or to.endswith("/") or path.is_dir():
        return None
    if ending not in KINDS:
        raise UserError(
            f"--to {to}: pairs are written as {', '.join(KINDS)}; for a folder of that name "
            f"write {to}/"
        )
    return ending


def prepare_target(to: Path, *, force: bool) -> None:
    """Put back what a killed writer left of a folder at `to`, and see that a file or a folder of
    pairs may be written there: with `force` in place of one that is there, and of nothing else.

    Raises:
        UserError: it may not.
    """
    to = to.absolute()
    if not to.parent.is_dir():
        raise UserError(f"--to {to}: there is no folder {to.parent}")
    if any((folder / STATE).is_file() for folder in (to, *to.resolve().parents)):
        raise UserError(f"--to {to}: that is in the folder of a run; choose another place")
    durable.tidy_folder(to, private=False)
    if not to.is_dir():
        if to.exists() and not force:
            raise UserError(f"{to} is there already: choose another name, or add --force")
        return
    names = sorted(each.name for each in to.iterdir())
    if others := [name for name in names if name not in _own_names()]:
        raise UserError(f"--to {to}: the folder has other files, as {others[0]}; choose a new one")
    if names and not force:
        raise UserError(f"{to} has pairs already: choose another folder, or add --force")


def _own_names() -> set[str]:
    return {f"{split}.{kind}" for split in (TRAIN, VALID) for kind in KINDS}


def write_pairs(to: Path, splits: Splits, kind: str, *, folder: bool) -> Layout:
    """Write a file of the one split, or a folder with a file for each, in one step, and return the
    layout of its lines; what was there is replaced.

    Raises:
        StorageError: it could not be written; what was there before is there.
    """
    labels = [label for part in splits.values() for label in part]
    layout = layout_of([label.preference for label in labels])
    marked = any(label.retracted for label in labels)
    files = {
        f"{name}.{kind}": _WRITERS[kind]([record(label, layout, marked=marked) for label in part])
        for name, part in splits.items()
    }
    to = to.absolute()
    if not folder:
        [content] = files.values()
        durable.write_file(to, content, private=False)
        return layout
    with durable.new_folder(to, private=False) as making:
        for name, content in files.items():
            (making / name).write_bytes(content)
    return layout


def layout_of(preferences: Sequence[Preference]) -> Layout:
    """The layout that holds all of some pairs."""
    if any(each.tools for each in preferences):
        return "messages and tools"
    plain = all(
        [turn.role for turn in each.prompt] == ["user"] and not each.prompt[0].name
        for each in preferences
    )
    return "text" if plain else "messages"


def record(label: Label, layout: Layout, *, marked: bool = False) -> Record:
    """A label as a line of the dataset. A tie has the first answer as `chosen`. `marked`: it is
    said of each whether it was retracted."""
    preference = label.preference
    sides = {
        "prompt": preference.prompt,
        "chosen": preference.chosen,
        "rejected": preference.rejected,
    }
    line: Record = {
        name: turns[0].content if layout == "text" else [message_record(turn) for turn in turns]
        for name, turns in sides.items()
    }
    if layout == "messages and tools":
        line["tools"] = json.dumps(preference.tools, ensure_ascii=False)
    return line | {
        "choice": label.choice,
        "confidence": label.confidence,
        "judge": label.judge,
        "flagged": label.flagged,
        "note": label.note,
        "run": label.run,
        "pair_id": label.pair_id,
        **({"retracted": label.retracted} if marked else {}),
    }


def _json_lines(records: Sequence[Record]) -> bytes:
    """Lines that bring a key of a message, such as `tool_calls`, stand first, since `datasets`
    takes the keys of the first ten megabytes for all that there are."""
    known: set[str] = set()
    first: list[bytes] = []
    others: list[bytes] = []
    for each in records:
        keys = {*_keys(each)}
        (others if keys <= known else first).append(json_lines.to_line(each))
        known |= keys
    return b"".join([*first, *others])


def _keys(value: object, path: str = "") -> Iterator[str]:
    """The paths of all keys in a value of JSON."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield f"{path}.{key}"
            yield from _keys(each, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each, path)


def _csv(records: Sequence[Record]) -> bytes:
    """Messages are JSON in their cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    for each in records:
        writer.writerow(
            {
                name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                for name, value in each.items()
            }
        )
    return text.getvalue().encode(errors="replace")


def _parquet(records: Sequence[Record]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), content)
    return content.getvalue()


_WRITERS: dict[str, Callable[[Sequence[Record]], bytes]] = {
    "jsonl": _json_lines,
    "parquet": _parquet,
    "csv": _csv,
}
