"""Files as people have them: separators, encodings, compression, and rows of any size."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data import files
from engine.data.files import Unusable
from engine.data.json_items import NotAList, TooLong, json_items
from engine.errors import UserError

pytestmark = pytest.mark.quick


QUESTION = "What is the colour of coal?"


def rows_of(file: Path) -> list[Any]:
    return [row for _, row in files.rows(file)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", f'prompt;answer\n"{QUESTION}";x\n'),
        ("a.csv", f"sep=;\nprompt;answer\n{QUESTION};x\n"),
        ("a.csv", f"\n\nprompt|answer\n{QUESTION}|x\n"),
        ("a.csv", f"prompt,answer\r\n{QUESTION},x\r\n"),
        ("a.csv", f"prompt\tanswer\n{QUESTION}\tx\n"),
        ("a.tsv", f"prompt\tanswer\n{QUESTION}\tx\n"),
        ("a.tsv", f"prompt,answer\n{QUESTION},x\n"),
    ],
)
def test_the_separator_is_what_the_header_has(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert rows_of(tmp_path / name) == [{"prompt": QUESTION, "answer": "x"}]
    assert files.columns(tmp_path / name) == ["prompt", "answer"]


def test_a_separator_inside_of_text_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt;answer\n"Red, or; blue?";"a\nb"\nWhy, though?;y\n')
    assert rows_of(tmp_path / "a.csv") == [
        {"prompt": "Red, or; blue?", "answer": "a\nb"},
        {"prompt": "Why, though?", "answer": "y"},
    ]


def test_a_table_of_one_column_loses_nothing_at_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt\nWhy, oh why?\n"And, well; this?"\n')
    assert [row["prompt"] for row in rows_of(tmp_path / "a.csv")] == [
        "Why, oh why?",
        "And, well; this?",
    ]


def test_a_row_with_more_cells_than_columns_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,answer\nWhy, oh why?,x\nGood,y,,\nShort\n")
    odd, good, short = rows_of(tmp_path / "a.csv")
    assert str(odd) == (
        "has 3 cells under 2 columns; text that holds a comma has to stand in quotes"
    )
    assert good == {"prompt": "Good", "answer": "y"}
    assert short == {"prompt": "Short", "answer": None}


def test_a_place_is_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\nsep=;\nprompt;b\n"x\ny";1\nz;2\n')
    assert [place for place, _ in files.rows(tmp_path / "a.csv")] == [
        "a.csv, line 5",
        "a.csv, line 6",
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt"])
def test_text_is_read_in_the_encoding_that_it_begins_in(
    name: str, encoding: str, tmp_path: Path
) -> None:
    row = {"prompt": "Größe 😀"}
    text = {
        "a.csv": "prompt\nGröße 😀\n",
        "a.jsonl": json.dumps(row) + "\n",
        "a.json": json.dumps([row]),
        "a.txt": "Größe 😀\n",
    }
    (tmp_path / name).write_bytes(text[name].encode(encoding))
    assert rows_of(tmp_path / name) == [row]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "json", "csv", "tsv", "txt"])
def test_a_compressed_file_is_read_like_the_plain_one(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    text = {"csv": "prompt\nhello\n", "tsv": "prompt\nhello\n", "txt": "hello\n"}
    plain = text.get(kind, '["hello"]' if kind == "json" else '{"prompt": "hello"}\n')
    file = tmp_path / f"train-v1.0.{kind}{suffix}"
    file.write_bytes(PACKERS[suffix](plain.encode()))
    assert rows_of(file) == [{"prompt": "hello"}]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_damaged_compressed_file_ends_in_one_sentence(suffix: str, tmp_path: Path) -> None:
    packed = PACKERS[suffix](json.dumps({"prompt": "hello " * 1000}).encode())
    for number, content in enumerate((packed[:-9], b"no such thing", packed[:20] + b"\0" * 40)):
        file = tmp_path / f"{number}.jsonl{suffix}"
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{number}\.jsonl\{suffix} is a damaged {suffix}"):
            rows_of(file)


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.gz", "a.jsonl.zst", "a.xlsx"])
def test_other_kinds_are_named_with_those_that_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"jsonl, json, csv, tsv, parquet, txt\).*\.gz"):
        rows_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.jsonl.gz"])
def test_a_row_that_is_too_long_is_left_out_and_the_rest_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 50)
    lines = ["first", "x" * 500, "third", "y" * 49]
    written = [json.dumps({"prompt": line}) if "json" in name else line for line in lines]
    content = "\n".join(written).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    first, second, third, *_ = rows_of(tmp_path / name)
    assert (first, third) == ({"prompt": "first"}, {"prompt": "third"})
    assert str(second) == "is longer than 50 characters"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('prompt\nWhy?\n"Red\nHow?\n', 3),
        ('prompt,b\n\n"x\ny",1\n\nz,"2\n3\n', 6),
        ('prompt\n"Red', 2),
        ('sep=;\nprompt;b\n"x;1\n', 3),
        ('"prompt\nWhy?\n', 1),
    ],
)
def test_a_quote_that_is_never_closed_is_an_error_that_names_its_line(
    content: str, line: int, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=rf"a\.csv, line {line}: a quote opens there"):
        rows_of(tmp_path / "a.csv")


@pytest.mark.parametrize("content", ["", "\n\n", "sep=;", "sep=;\n", "prompt", "prompt\n\n"])
def test_a_table_without_rows_has_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert rows_of(tmp_path / "a.csv") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '["short", "' + "x" * 200_000 + '"]'),
        ("a.csv", "prompt\n" + "x" * 200_000),
        ("a.csv", 'prompt\n"' + "x\n" * 100_000),
    ],
)
def test_a_cell_that_does_not_end_is_an_error_that_names_its_row(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 1000)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"(row|line) 2"):
        rows_of(tmp_path / name)


def test_a_row_of_very_many_columns_is_left_out(tmp_path: Path) -> None:
    wide = {f"c{number}": 1 for number in range(files.MOST_COLUMNS + 1)}
    (tmp_path / "a.jsonl").write_text(json.dumps(wide) + '\n{"prompt": "a"}\n')
    (tmp_path / "b.csv").write_text(",".join(wide) + "\n1\n")
    first, second = rows_of(tmp_path / "a.jsonl")
    assert str(first) == "has 10,001 columns"
    assert second == {"prompt": "a"}
    assert isinstance(rows_of(tmp_path / "b.csv")[0], Unusable)


def test_a_parquet_file_of_long_rows_is_decoded_few_at_a_time(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"prompt": chr(97 + number) * 4_000_000, "n": number} for number in range(8)]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", compression="none")
    metadata = pyarrow.parquet.read_metadata(tmp_path / "a.parquet")
    assert 1 <= files._batch_rows(metadata) <= 5
    assert rows_of(tmp_path / "a.parquet") == rows
    assert files.columns(tmp_path / "a.parquet") == ["prompt", "n"]


def test_every_file_of_a_split_is_looked_at_for_columns(tmp_path: Path) -> None:
    from engine.data.sources import read_splits

    (tmp_path / "a.jsonl").write_text('{"prompt": "x"}\n')
    (tmp_path / "b.csv").write_text("question,answer\ny,z\n")
    (tmp_path / "._a.jsonl").write_bytes(b"\x00\x05\x16\x07")
    split = read_splits(str(tmp_path))["train"]
    assert split.columns == ["prompt", "question", "answer"]
    assert len(list(split.rows(None))) == 2


class Tracked(StringIO):
    """Text that remembers how much of it was read at a time."""

    most = 0

    def read(self, size: int | None = -1) -> str:
        assert size is not None
        assert size > 0
        self.most = max(self.most, size)
        return super().read(size)


def test_a_list_is_read_item_by_item() -> None:
    items = [{"prompt": "x" * 1000, "n": number} for number in range(2000)]
    text = Tracked(json.dumps(items, indent=1))
    assert list(json_items(text, 10**6)) == items
    assert text.most < 200_000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 2]), st.integers(1, 40))
def test_items_are_those_that_json_reads(items: list[Any], indent: int | None, chunk: int) -> None:
    class Slow(StringIO):
        def read(self, size: int | None = -1) -> str:
            return super().read(chunk)

    for content in (items, {"version": 1, "data": items}):
        assert list(json_items(Slow(json.dumps(content, indent=indent)), 10**6)) == items


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", json.JSONDecodeError),
        ("[1, 2", json.JSONDecodeError),
        ("[1,]", json.JSONDecodeError),
        ("[1] x", json.JSONDecodeError),
        ("[1 2]", json.JSONDecodeError),
        ('{"a" 1}', json.JSONDecodeError),
        ("7", NotAList),
        ('{"a": 1}', NotAList),
        ('{"a": [1], "b": [2]}', NotAList),
        ('["' + "x" * 200_000, TooLong),
        ("[" * 100_000, RecursionError),
    ],
)
def test_what_is_no_list_is_told_apart(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(json_items(StringIO(text), 1000))


def test_the_line_of_a_fault_counts_from_the_start() -> None:
    text = "[\n" + '"' + "x" * 300_000 + '",\n\n1 2]'
    with pytest.raises(json.JSONDecodeError) as caught:
        list(json_items(StringIO(text), 10**6))
    assert caught.value.lineno == 4
