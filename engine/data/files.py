"""A data file -> its rows, read one at a time, however large the file is.

The kind is told by the name: jsonl (ndjson), json, csv, tsv, parquet, txt; all but parquet also
compressed as .gz, .bz2 or .xz. Text is UTF-8, or what its first bytes say: UTF-16, UTF-32.
"""

import bz2
import codecs
import csv
import gzip
import itertools
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from engine.data.json_items import NotAList, TooLong, json_items
from engine.errors import UserError

# No row is held in memory that is longer than this, in characters, or has more columns.
LONGEST_ROW = 128 * 2**20
MOST_COLUMNS = 10_000

# Rows of a Parquet file are decoded in batches of about this many bytes, and at most so many rows.
_BATCH_BYTES, _BATCH_ROWS = 16 * 2**20, 1000
# Columns are looked for in this many rows of a file that does not list them.
_PEEK = 100
_CHUNK = 2**20

# Separators of cells, the likeliest first, and one that stands in no text of a single column.
_SEPARATORS, _NO_SEPARATOR = ",;\t|", "\x1f"
# Read after the last line: a row of its own, unless a quote is still open.
_END = "\x1eend of the file\x1e"

_COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}

Row = dict[str, Any]
Columns = Sequence[str] | None


class Unusable(Exception):
    """A row that is there and that nothing can be made of; the text, which follows the name of the
    row or of its cell, says why."""


# A row, or why it is none, and where it stands, such as "train.jsonl, line 3".
Placed = tuple[str, Row | Unusable]


def kind(file: Path) -> str:
    """The kind of a file by its name, such as jsonl; empty where it is none that is read."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packed = bool(suffixes) and suffixes[-1] in _COMPRESSED
    name = "".join(suffixes[-2:-1] if packed else suffixes[-1:])[1:]
    return "" if name not in _READERS or (packed and name == "parquet") else name


def kinds() -> str:
    """The kinds that are read, in words."""
    return ", ".join(name for name in _READERS if name != "ndjson")


def rows(file: Path, columns: Columns = None) -> Iterator[Placed]:
    """The rows of a file, from the beginning.

    Args:
        columns: those that are wanted, None for all; where it costs nothing the others come too.

    Raises:
        UserError: the file is of no kind that is read, cannot be read, or is damaged.
    """
    if not kind(file):
        raise UserError(
            f"data: {file} is none of the kinds that are read ({kinds()}); "
            "all but parquet may be compressed as .gz, .bz2 or .xz"
        )
    try:
        yield from _READERS[kind(file)](file, columns)
    except UnicodeError as error:
        raise UserError(f"data: {_not_text(file)}") from error
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"data: {file} cannot be read: {error.strerror}") from error
        raise UserError(f"data: {file} is a damaged {file.suffix} file") from error


def whole_text(file: Path) -> Iterator[Placed]:
    """A text file as the one row of a prompt.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        with _text(file) as text:
            content = text.read(LONGEST_ROW + 1)
    except UnicodeError as error:
        raise UserError(f"data: {_not_text(file)}") from error
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
        raise UserError(f"data: {file} cannot be read: {reason}") from error
    yield file.name, _too_long() if len(content) > LONGEST_ROW else {"prompt": content.strip()}


def columns(file: Path) -> list[str]:
    """The columns of a file: those it lists, or those of its first rows."""
    if kind(file) == "parquet":
        return _parquet_columns(file)
    first = (row for _, row in itertools.islice(rows(file), _PEEK) if not isinstance(row, Unusable))
    return list({key: None for row in first for key in row})


def _open(file: Path) -> BinaryIO:
    return cast(BinaryIO, _COMPRESSED.get(file.suffix.lower(), lambda path: path.open("rb"))(file))


def _encoding(file: Path) -> str:
    with _open(file) as raw:
        return json.detect_encoding(raw.read(4))


@contextmanager
def _text(file: Path, newline: str = "\n") -> Iterator[TextIO]:
    with _open(file) as raw, TextIOWrapper(raw, _encoding(file), newline=newline) as text:
        yield text


def _lines(file: Path, newline: str = "\n") -> Iterator[tuple[int, str | None]]:
    """Numbered lines with their ends; None in place of one that is longer than LONGEST_ROW."""
    with _text(file, newline) as text:
        for number in itertools.count(1):
            line = rest = text.readline(LONGEST_ROW)
            if not line:
                return
            while len(rest) == LONGEST_ROW and not rest.endswith("\n"):
                line, rest = None, text.readline(LONGEST_ROW)
            yield number, line


def _too_long() -> Unusable:
    return Unusable(f"is longer than {LONGEST_ROW:,} characters")


def _json_lines(file: Path, columns: Columns) -> Iterator[Placed]:
    for number, line in _lines(file):
        place = f"{file.name}, line {number}"
        if line is None:
            yield place, _too_long()
        elif line.strip():
            text = line.rstrip("\r\n")  # a text that is not closed ends with its line
            yield place, _row(_parse_json(text, f"{file}, line {number}"), str(file), place)


def _parse_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        column = f"column {error.colno:,}: {_what(error)}"
        raise UserError(f"data: {place}: not JSON ({column})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"data: {place}: not JSON that can be read") from error


def _what(error: json.JSONDecodeError) -> str:
    """The parser's words, some of which leave the place to be said after them."""
    return error.msg.removesuffix(" at").removesuffix(" starting")


def _json(file: Path, columns: Columns) -> Iterator[Placed]:
    number = 0
    try:
        with _text(file) as text:
            for number, item in enumerate(json_items(text, LONGEST_ROW), 1):
                place = f"{file.name}, row {number}"
                yield place, _row(item, str(file), place)
    except TooLong as error:
        raise UserError(
            f"data: {file}, row {number + 1}: longer than {LONGEST_ROW:,} characters, or not JSON"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(f"data: {file}, line {error.lineno}: not JSON ({_what(error)})") from error
    except UnicodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"data: {file}, row {number + 1}: not JSON that can be read") from error
    except NotAList as error:
        raise UserError(f"data: {file} has to hold a list of rows") from error


def _row(item: Any, file: str, place: str) -> Row | Unusable:
    if isinstance(item, str):
        return {"prompt": item}
    if not isinstance(item, dict):
        raise UserError(
            f'data: {place} of {file}: a row has to be a mapping, such as {{"prompt": ...}}'
        )
    return item if len(item) <= MOST_COLUMNS else Unusable(f"has {len(item):,} columns")


def _csv(file: Path, columns: Columns) -> Iterator[Placed]:
    csv.field_size_limit(LONGEST_ROW)
    numbered = _csv_lines(file)
    before, first = next(((number, line) for number, line in numbered if line.strip()), (0, ""))
    # Spreadsheets may name the separator in a line of its own: sep=;
    names_separator = first[:4].lower() == "sep=" and first[4:].strip("\r\n") in tuple(_SEPARATORS)
    lines = (line for _, line in numbered)
    number = before
    try:
        separator = first[4] if names_separator else _separator(first)
        begin = [] if names_separator else [first]
        reader = csv.reader(itertools.chain(begin, lines, [_END]), delimiter=separator)
        header = None
        for cells in reader:
            begins = number + (header is not None or names_separator)
            number = before + reader.line_num - (not names_separator)
            if cells and cells[-1].endswith(_END):
                if cells != [_END]:
                    raise UserError(
                        f"data: {file}, line {begins}: a quote opens there that is never closed, "
                        "so that the rest is one cell; close it, or write it twice in quotes"
                    )
            elif header is None:
                header = cells
            elif cells:
                yield f"{file.name}, line {number}", _csv_row(header, cells, separator)
    except csv.Error as error:
        raise UserError(f"data: {file}, line {number + 1}: not CSV ({error})") from error


def _csv_lines(file: Path) -> Iterator[tuple[int, str]]:
    for number, line in _lines(file, newline=""):
        if line is None:
            raise UserError(f"data: {file}, line {number}: longer than {LONGEST_ROW:,} characters")
        yield number, line


def _separator(header: str) -> str:
    """What separates the names of columns: the candidate that makes most of them."""
    counts = {each: len(next(csv.reader([header], delimiter=each), [])) for each in _SEPARATORS}
    best = max(counts, key=lambda each: counts[each])
    return best if counts[best] > 1 else _NO_SEPARATOR


def _csv_row(header: list[str], cells: list[str], separator: str) -> Row | Unusable:
    if any(cells[len(header) :]):
        names = {"\t": "a tab", "|": "a bar", ";": "a semicolon"}
        return Unusable(
            f"has {len(cells)} cells under {len(header)} columns; text that holds "
            f"{names.get(separator, 'a comma')} has to stand in quotes"
        )
    if len(header) > MOST_COLUMNS:
        return Unusable(f"has {len(header):,} columns")
    return dict(itertools.zip_longest(header, cells[: len(header)]))


def _text_lines(file: Path, columns: Columns) -> Iterator[Placed]:
    for number, line in _lines(file):
        row = _too_long() if line is None else {"prompt": line.rstrip("\r\n")}
        yield f"{file.name}, line {number}", row


def _parquet(file: Path, columns: Columns) -> Iterator[Placed]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file, buffer_size=_CHUNK) as table:
            size = _batch_rows(table.metadata)
            for batch in table.iter_batches(batch_size=size, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file.name}, row {number}", row
    except (pyarrow.ArrowException, ValueError, RecursionError, OSError) as error:
        raise _not_parquet(file, error, number) from error


def _batch_rows(metadata: Any) -> int:
    """How many rows of a Parquet file make a batch of `_BATCH_BYTES`, by its largest row group. Its
    columns are not asked for their sizes: where one is damaged, that ends the process."""
    heaviest = 1
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        heaviest = max(heaviest, group.total_byte_size // max(group.num_rows, 1))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // heaviest))


def _parquet_columns(file: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(file).names)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise _not_parquet(file, error) from error


def _not_parquet(file: Path, error: Exception, number: int = 0) -> UserError:
    """What a Parquet file ends in, `number` rows after its start."""
    # pyarrow says of damage, too, that it is an error of the system, but without its words.
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"data: {file} cannot be read: {error.strerror}")
    after = f" after row {number}" if number else ""
    return UserError(f"data: {file} is not a Parquet file that can be read{after}")


_READERS: dict[str, Callable[[Path, Columns], Iterator[Placed]]] = {
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "json": _json,
    "csv": _csv,
    "tsv": _csv,
    "parquet": _parquet,
    "txt": _text_lines,
}


def _not_text(file: Path) -> str:
    """Where a file stops being text of its encoding, and what to do."""
    name = _encoding(file)
    line, decoder = 1, codecs.getincrementaldecoder(name)()
    encoding = "-".join(name.upper().split("-")[:2])
    try:
        with _open(file) as raw:
            while chunk := raw.read(_CHUNK):
                line += decoder.decode(chunk).count("\n")
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        pass
    return f"{file}, line {line}: not {encoding} text; save it as UTF-8"
