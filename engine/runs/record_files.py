"""Files of records, a line each: added to so that a kill leaves whole lines, read while another
process writes.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.runs.durable import write_file
from engine.runs.json_lines import Record, from_line, to_line
from engine.runs.storage import (
    StorageError,
    locked_for_append,
    opened_file,
    read_span,
    sync_descriptor,
    sync_folder,
    write_all,
)


def append_lines(path: Path, records: Iterable[Mapping[str, Any] | str], *, sync: bool) -> None:
    """Add whole lines in one write; with `sync`, return only when the disk has them.

    Raises:
        StorageError: the file ends as it did before, with no part of a line added.
    """
    data = b"".join(map(to_line, records))
    try:
        with locked_for_append(path) as file:
            end = os.fstat(file).st_size
            try:
                write_all(file, data)
                if sync:
                    sync_descriptor(file)
            except OSError:
                os.ftruncate(file, end)
                raise
        if sync and end == 0:
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(path, error) from error


def repair_last_line(path: Path) -> int:
    """Cut off a last line that a kill left unfinished; return how many bytes were cut.

    A last line that only lacks its line end, as any line of text may, is kept and given one.
    """
    if not path.exists():
        return 0
    try:
        with locked_for_append(path) as file:
            size = os.fstat(file).st_size
            start = _end_of_whole_lines(file, size)
            if start == size:
                return 0
            last = read_span(file, start, size - start)
            if path.suffix == ".txt" or from_line(last) is not None:
                write_all(file, b"\n")
                return 0
            os.ftruncate(file, start)
            sync_descriptor(file)
            return size - start
    except OSError as error:
        raise StorageError(path, error) from error


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, in order; lines that hold none, and an unfinished last, are left out.

    A file that is not there has no records.
    """
    try:
        with opened_file(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            for line in os.fdopen(file, "rb", closefd=False):
                if line.endswith(b"\n") and (record := from_line(line)) is not None:
                    yield record
    except FileNotFoundError:
        return


def last_records(path: Path, count: int) -> list[Record]:
    """The last `count` records of a file, oldest first, read from its end."""
    try:
        with opened_file(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            size = os.fstat(file).st_size
            span = 4096
            while True:
                start = max(size - span, 0)
                whole, _, _ = read_span(file, start, size - start).rpartition(b"\n")
                lines = whole.split(b"\n")[1 if start else 0 :]
                if start == 0 or len(lines) >= count:
                    break
                span *= 4
    except FileNotFoundError:
        return []
    records = (from_line(line) for line in lines)
    return [record for record in records if record is not None][-count:]


def rewrite_records(path: Path, change: Callable[[Record], Record | None]) -> int:
    """Pass each record through `change`, which returns it, another, or None to drop it.

    The file is replaced in one step, and only when something changes; lines that hold no record
    are dropped with it. Returns how many lines were changed or dropped.
    """
    if not path.exists():
        return 0
    try:
        with locked_for_append(path) as file:
            output: list[bytes] = []
            changed = 0
            lines = read_span(file, 0, os.fstat(file).st_size).removesuffix(b"\n").split(b"\n")
            for line in filter(None, lines):
                record = from_line(line)
                new = change(dict(record)) if record is not None else None
                if new is not None:
                    output.append(line + b"\n" if new == record else to_line(new))
                changed += record is None or new != record
            if changed:
                write_file(path, b"".join(output))
            return changed
    except OSError as error:
        raise StorageError(path, error) from error


class Follower:
    """Reads what is added to a file of records, which another process may be writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._file_id: tuple[int, int] | None = None

    def skip(self) -> None:
        """Leave out the whole lines that are there now, without reading them."""
        with (
            contextlib.suppress(FileNotFoundError),
            opened_file(self.path, os.O_RDONLY | os.O_NONBLOCK) as file,
        ):
            facts = os.fstat(file)
            self._file_id = (facts.st_dev, facts.st_ino)
            self._offset = _end_of_whole_lines(file, facts.st_size)

    def read(self) -> tuple[bool, list[Record]]:
        """(whether the file was replaced since, the records since then or since the last call)."""
        try:
            with opened_file(self.path, os.O_RDONLY | os.O_NONBLOCK) as file:
                facts = os.fstat(file)
                file_id = (facts.st_dev, facts.st_ino)
                known = self._file_id is not None
                replaced = known and (file_id != self._file_id or facts.st_size < self._offset)
                if replaced:
                    self._offset = 0
                self._file_id = file_id
                data = read_span(file, self._offset, facts.st_size - self._offset)
        except FileNotFoundError:
            return False, []
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        records = (from_line(line) for line in whole.split(b"\n"))
        return replaced, [record for record in records if record is not None]


def _end_of_whole_lines(file: int, size: int) -> int:
    """The offset just after the last line end."""
    end = size
    while end > 0:
        start = max(end - 65536, 0)
        newline = read_span(file, start, end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
