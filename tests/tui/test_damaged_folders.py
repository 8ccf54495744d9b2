"""Run folders and themes that were good once: damaged anywhere, they are rows or one sentence.

pytest -m slow tests/tui/test_damaged_folders.py      10,000 cases a kind
"""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UserError
from engine.runs import archive
from engine.runs.folder import CONFIG, LOG, METRICS, PAIRS, STATE, UNDECIDED, Run
from tests.engine.test_damaged_files import RELAXED, damaged
from tests.tui.archive import make_run
from tests.tui.stage import COMPACT
from tui.archive import run_rows
from tui.archive.pair_table import FILTERS, PairTable, pair_line
from tui.cli.run_lines import list_lines, run_lines
from tui.shell import themes
from tui.state.run_from_files import RunFromFiles

FILES = (STATE, CONFIG, METRICS, PAIRS, UNDECIDED, LOG)


@cache
def good() -> dict[str, bytes]:
    """The files of a run, and of a theme."""
    run = make_run("good")
    files = {file: (run.path / file).read_bytes() for file in FILES}
    shutil.rmtree(run.path)
    return {**files, "theme": (themes.BUNDLED / "dark.yaml").read_bytes()}


def look_at_a_run(file: str, content: bytes, root: Path) -> None:
    """All that the list, the details and the command line do with a run."""
    folder = root / "runs" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_bytes(content if name == file else good()[name])
    [row] = archive.list_runs(root / "runs")
    width, _ = COMPACT
    run_rows.row(row, width, run_rows.glance(row), ())
    run_rows.about(row)
    for as_json in (False, True):
        assert len(list_lines(json=as_json)) >= 1
        try:
            run_lines("run", json=as_json)
        except UserError as error:
            _is_a_sentence(error, folder)
    try:
        run = archive.open_run("run", root / "runs")
        RunFromFiles(run)
        run.settings()
    except UserError as error:
        _is_a_sentence(error, folder)
        return
    book = PairTable(Run(folder))
    book.read()
    book.take()
    for line in book.matching(FILTERS[0]):
        pair_line(line, width)
    assert all(count >= 0 for _, count in book.counts())


def look_at_a_theme(content: bytes, root: Path) -> None:
    file = root / "mine.yaml"
    file.write_bytes(content)
    try:
        themes.read(file)
    except UserError as error:
        _is_a_sentence(error, file)


def _is_a_sentence(error: UserError, place: Path) -> None:
    assert "\n" not in str(error)
    assert str(place) in str(error)


def check(kind: str, data: st.DataObject, root: Path) -> None:
    content = data.draw(damaged(good()[kind]))
    if kind == "theme":
        look_at_a_theme(content, root)
    else:
        look_at_a_run(kind, content, root)


KINDS = pytest.mark.parametrize("kind", [*FILES, "theme"])


@KINDS
@settings(max_examples=25, deadline=None, suppress_health_check=RELAXED)
@given(data=st.data())
def test_damage_is_a_row_or_a_sentence(kind: str, data: st.DataObject, studio_home: Path) -> None:
    check(kind, data, studio_home)


ODD = [None, -1, 1e308, 10**400, True, "", "x\x1b[2J\n", "2026-99-99", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:12])
def test_any_value_of_any_field_makes_a_row(value: object, studio_home: Path) -> None:
    """Guards against a number of 400 digits, which once broke the screen of the run."""
    state = json.loads(good()[STATE])
    for key in state:
        look_at_a_run(STATE, json.dumps({**state, key: value}).encode(), studio_home)
    for line in ({"step": value, "loss": value}, {"step": 1, "seconds": value}):
        look_at_a_run(METRICS, json.dumps(line).encode() + b"\n", studio_home)


def test_a_run_without_its_config_is_shown() -> None:
    run = make_run("bare")
    (run.path / CONFIG).unlink()
    text = "\n".join(run_lines("bare", json=False))
    assert "finished" in text
    assert str(run.path / CONFIG) in text
    facts = json.loads(run_lines("bare", json=True)[0])
    assert facts["settings"] is None
    assert str(run.path) in facts["notes_on_settings"][0]


@pytest.mark.slow
@KINDS
@settings(max_examples=10_000, deadline=None, suppress_health_check=RELAXED)
@given(data=st.data())
def test_much_damage_is_a_row_or_a_sentence(
    kind: str, data: st.DataObject, studio_home: Path
) -> None:
    check(kind, data, studio_home)
