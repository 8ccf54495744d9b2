"""`lora-studio` in this process: the fixture `command` of the tests' conftest runs it."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tui import main


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Done]


def make_command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `lora-studio` with its arguments."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lora-studio", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        sys.stdout.flush()
        code = ended.value.code
        printed = capfd.readouterr()
        return Done(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run
