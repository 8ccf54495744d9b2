"""Files in folders that may not be looked into: a sentence each, and nothing that raises."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from engine.data.sources import read_splits
from engine.errors import UserError
from engine.judges.function import FunctionJudge
from engine.runs import trash
from engine.settings.schema import Settings
from engine.train.watch.guard_function import answers_rated


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system refuse to tell of any file, as it does in such a folder to all but root."""

    def refuse(path: Path, **how: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "lstat", refuse)


def test_data() -> None:
    with pytest.raises(UserError, match=r"^data: /a/b.jsonl cannot be read: Permission denied$"):
        read_splits("/a/b.jsonl")


def test_a_function_that_judges() -> None:
    with pytest.raises(UserError, match=r"^judge: /a/b.py cannot be read: Permission denied$"):
        FunctionJudge(Settings(), "/a/b.py:f")


def test_a_function_of_the_guard() -> None:
    nothing = cast(Any, SimpleNamespace())
    guarded = answers_rated(Settings(guard_function="/a/b.py:f"), nothing, nothing)
    with pytest.raises(UserError, match=r"^guard_function: /a/b.py cannot be read"), guarded:
        pass


def test_the_trash_is_left_for_the_next_time() -> None:
    assert trash.empty_trash(Path("/a")) == 0
