"""Configs and datasets that were good once: damaged anywhere, they end in one sentence.

pytest -m slow tests/engine/test_damaged_files.py      10,000 cases a kind
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.prompts import load_prompts
from engine.errors import UserError
from engine.settings.files import load, to_yaml
from engine.settings.schema import Settings

ROWS: list[dict[str, Any]] = [
    {"prompt": "What is MLX?", "system": "Be brief.", "n": 1},
    {"prompt": "Größe 😀 \ud7ff", "system": None, "n": 2},
    {"prompt": 'a "quoted", odd\nprompt', "system": "", "n": 3},
]
CHATS = [{"messages": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]


def parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def comma_separated() -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]))
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


GOOD = {
    "yaml": to_yaml(Settings()).encode(),
    "jsonl": "".join(json.dumps(row) + "\n" for row in [*ROWS, *CHATS]).encode(),
    "json": json.dumps(CHATS, indent=1).encode(),
    "csv": comma_separated(),
    "parquet": parquet(),
    "txt": "\n".join(row["prompt"] for row in ROWS).encode(),
}
TOKENS = [b"\x00", b"\xff", b"\xed\xa0\x80", b"\n", b"\r", b'"', b"[", b"{", b": ", b"- ", b"&a "]
TOKENS += [b"*a", b"!!python/object:os.system ", b"1e999", b".nan", b"%", b"\x1b[31m", b"9" * 400]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` with a few slices cut, doubled or put in."""
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 40))
        put = draw(st.sampled_from(TOKENS) | st.binary(max_size=8))
        match draw(st.sampled_from(["cut", "double", "put", "replace", "end"])):
            case "cut":
                content = content[:at] + content[at + length :]
            case "double":
                content = content[: at + length] + content[at:]
            case "put":
                content = content[:at] + put + content[at:]
            case "replace":
                content = content[:at] + put + content[at + len(put) :]
            case _:
                content = content[:at]
    return content


def read(file: Path) -> str:
    """The sentence that reading a file ends in; empty where it can be read."""
    try:
        if file.suffix == ".yaml":
            load(file)
        else:
            assert load_prompts(Settings(data=str(file), eval_prompts=1)).train
    except UserError as error:
        return str(error)
    return ""


def check(kind: str, data: st.DataObject, folder: Path) -> None:
    file = folder / f"file.{kind}"
    file.write_bytes(data.draw(damaged(GOOD[kind])))
    sentence = read(file)
    assert sentence.isprintable()
    assert not sentence or file.name in sentence


RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize("kind", GOOD)
def test_the_good_files_are_good(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"file.{kind}"
    file.write_bytes(GOOD[kind])
    assert read(file) == ""


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=100, deadline=None, suppress_health_check=RELAXED)
@given(data=st.data())
def test_damage_ends_in_one_sentence(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    check(kind, data, tmp_path)


def test_no_byte_that_was_lost_ends_the_process(tmp_path: Path) -> None:
    """Arrow gives up the whole process where some of what it says of columns is damaged."""
    good = GOOD["parquet"]
    for at in range(len(good)):
        file = tmp_path / "file.parquet"
        file.write_bytes(good[:at] + b"\0" + good[at + 1 :])
        assert read(file).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=10_000, deadline=None, suppress_health_check=RELAXED)
@given(data=st.data())
def test_much_damage_ends_in_one_sentence(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    check(kind, data, tmp_path)
