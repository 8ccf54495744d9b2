"""Items of the guard without a check, scored by a person's function."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.control import Control
from engine.events import Event, Guarded, Log
from engine.runs import archive
from engine.session import Session
from engine.settings.checks import problems
from engine.settings.files import preset
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.watch.guard import suites_of
from engine.train.watch.guard_function import answers_rated

TIMEOUT = 240.0  # seconds
ITEMS = (
    {"prompt": "Count to 1."},
    {"prompt": "Count to 2."},
    {"prompt": "Count to 3."},
    {"prompt": "Say it.", "check": "matches", "value": "."},
    {"prompt": "Say that.", "check": "equals", "value": "that"},
    {"prompt": "Break it."},
    {"prompt": "Say nothing."},
)
RIGHT = """
def right(prompt, answer):
    if prompt == "Break it.":
        raise ValueError("no idea")
    if prompt == "Say nothing.":
        return float("nan")
    return {"2": 0.49, "3": 0.5}.get(prompt[-2], not answer)
"""


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Two quick steps of the starter, with a suite and a function of one's own."""
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, ITEMS)))
    (tmp_path / "right.py").write_text(RIGHT)
    return Settings.model_validate(
        preset("starter").model_dump()
        | {
            "judge": "rule:length",
            "batch_size": 2,
            "iters": 2,
            "steps_per_eval": -1,
            "test": False,
            "fuse": False,
            "guard_suites": [str(tmp_path / "own.jsonl")],
            "guard_function": f"{tmp_path / 'right.py'}:right",
        }
    )


def run_to_its_end(session: Session) -> list[Event]:
    session.start()
    assert session.join(TIMEOUT)
    return session.drain()


def test_it_scores_what_has_no_check(own: Settings, tmp_path: Path) -> None:
    run = archive.create(own)
    [suite] = suites_of(own)

    def rated() -> tuple[list[bool], list[str]]:
        """Which items are right when every answer is `yes`, and what is warned of."""
        events: list[Event] = []
        journal, control = Journal(run, events.append, Control()), Control()
        with answers_rated(own, journal, control) as rate:
            right = [rate(item, "yes") for item in suite.items]
        return right, [e.text for e in events if isinstance(e, Log) and e.level == "warning"]

    right, warned = rated()
    assert right == [False, False, True, True, False, False, False]
    failed = "guard_function: ValueError: no idea (line 4); such an answer counts as wrong"
    assert warned == [failed]
    file = tmp_path / "right.py"
    file.write_text(f"{RIGHT}\n")
    changed = f"guard_function: {file} has changed since the run began; from here on"
    assert rated()[1] == [f"{changed} answers are rated by what it says now", failed]


@pytest.mark.slow
def test_a_run_is_guarded_by_it(own: Settings) -> None:
    session = Session(own)
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    [told] = [event for event in events if isinstance(event, Guarded)]
    [suite] = told.suites
    assert (suite.items, suite.kept + suite.lost) == (7, 2)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "there is no file {file}"),
        ("def right(prompt, first, second): ...", "{file}: it has to take (prompt, answer)"),
        ("def wrong(prompt, answer): ...", "{file}: there is no function right; its functions are"),
        ("1 / 0", "{file}: ZeroDivisionError: division by zero (line 1)"),
    ],
)
def test_a_bad_file_is_named_before_anything_is_loaded(
    own: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str | None,
    words: str,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("models were loaded")

    monkeypatch.setattr("engine.train.loading.load_roles", never)
    file = tmp_path / "right.py"
    file.write_text(code) if code else file.unlink()
    session = Session(own)
    run_to_its_end(session)
    assert (session.error or "").startswith(f"guard_function: {words.format(file=file)}")
    assert session.error_is_users


def test_a_function_and_items_for_it_go_together(own: Settings, tmp_path: Path) -> None:
    session = Session(own.model_copy(update={"guard_function": None}))
    run_to_its_end(session)
    assert (session.error or "").startswith("guard_suites: own has items without check, which one")
    session = Session(own.model_copy(update={"guard_suites": ["facts"]}))
    run_to_its_end(session)
    assert session.error == ("guard_function: it scores items without check, and no suite has any")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"guard_function": "right.py"}, ["it names no function; write it as FILE.py:NAME"]),
        ({"guard_suites": []}, ["it scores suites of your own; name them in guard_suites"]),
        ({"guard_suites": [], "guard": "off"}, []),
    ],
)
def test_what_the_form_says(own: Settings, changes: dict[str, Any], told: list[str]) -> None:
    assert [each.message for each in problems(own.model_copy(update=changes))] == told
