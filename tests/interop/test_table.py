"""The table of tools names tests that are there, and leaves none of this folder out."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROWS = re.findall(r"^\|.*\| `(.+)::(.+)` \|$", (HERE / "README.md").read_text(), re.MULTILINE)


def names(file: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), ROWS)
def test_each_row_names_a_test(file: str, name: str) -> None:
    assert name in names(ROOT / file)


def test_each_row_was_read() -> None:
    rows = [line for line in (HERE / "README.md").read_text().splitlines() if line.startswith("|")]
    assert len(ROWS) == len(rows) - 2  # the head of the table


def test_no_test_of_this_folder_is_left_out() -> None:
    here = {each for file in HERE.glob("test_*.py") for each in names(file)}
    assert here - set(names(Path(__file__))) <= {name for _, name in ROWS}
