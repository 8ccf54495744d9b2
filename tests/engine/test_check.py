"""The command that runs all checks."""

import pytest

from tests import check


def test_a_check_whose_program_is_absent_fails_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, absent = ["true"], ["no-such-linter", "check"]
    commands = {"ruff": absent, check.TYPES: absent, "imports": there}
    monkeypatch.setattr(check, "checks", lambda quick: commands)
    assert check.main([]) == 1
    said = capsys.readouterr().out
    assert said.count("FAILED") == said.count("there is no no-such-linter: pip install") == 2
    assert said.count(" ok ") == 1
