"""Hostile text and names on the command line: nothing reaches the terminal raw, or leaves home."""

import io
import json
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from engine.events import Example, Log, RunEnded, RunStarted
from engine.runs import archive
from engine.runs.folder import LOG
from engine.settings.schema import Settings
from tests.command import Command
from tests.hostile import DIRECTIONS, EACH, FEW, MARK, TEXTS, harmful
from tests.tui.hostile_runs import facts_of, hostile_runs
from tests.tui.live import evaluated, started
from tui.cli.console import make_output
from tui.state.run_view import RunView

NAMES = ["../evil", "/evil", "a/../../evil", "..", ".", "-", "", "~", "con", "x" * 300, "é" * 300]
NAMES += [".hidden", "a\\b", "a\0b", "\x1b[31m", "runs/../..", "lock"]


def test_the_command_line_prints_nothing_raw(command: Command) -> None:
    made = hostile_runs(FEW)
    listed = command("runs").out
    assert not harmful(listed)
    assert listed.count(MARK) >= len(made)
    assert "damaged" in listed
    for run in made:
        for arguments in (["runs", "show", str(run.path)], ["runs", "show", run.name]):
            done = command(*arguments)
            assert not harmful(done.out + done.err)
        done = command("resume", run.name[:-1] + "\x1b[31m")
        assert not harmful(done.out + done.err)
        assert done.status == 2
    for text in TEXTS.values():
        shown = text.replace("\0", "")  # which no argument can hold
        for arguments in (
            ["train", shown],
            ["train", "starter", "--set", f"{shown}=1"],
            ["train", "starter", "--set", f"beta={shown}"],
            ["train", "starter", "--set", f"model={shown}"],
            ["runs", "delete", shown],
            ["export", shown, "--to", shown],
            ["config", shown],
            [shown],
        ):
            done = command(*arguments)
            assert done.status in (1, 2), arguments
            assert not harmful(done.out + done.err), arguments


def test_json_is_ascii_where_a_terminal_would_obey(command: Command) -> None:
    made = hostile_runs(FEW)
    lines = command("runs", "--json").out + command("runs", "show", made[0].name, "--json").out
    for char in lines:
        assert char == "\n" or unicodedata.category(char) != "Cc"
        assert unicodedata.bidirectional(char) not in DIRECTIONS
    assert len([json.loads(line) for line in lines.splitlines()]) == len(made) + 3


def test_what_a_run_prints_and_logs_is_harmless() -> None:
    made = archive.create(Settings(run_name="run"))
    printed = io.StringIO()
    view = RunView()
    output = make_output(printed, view, json=False)
    for text in EACH:
        facts = {**facts_of(started()), "name": text, "device": text, "folder": text}
        found = [
            RunStarted(**facts),
            Log(level="warning", text=text.replace("\n", " ")),
            replace(evaluated(3, 0.5), examples=(Example(text, text, text),)),
            RunEnded(status="failed", step=1, error=text),
        ]
        view.fold(found)
        output.show(found)
        made.log("error", text)
    output.close()
    assert MARK in printed.getvalue()
    assert not harmful(printed.getvalue())
    log = (made.path / LOG).read_text()
    assert not set(log) & set(map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x202E]))
    assert log.count("\n") == len(EACH) + sum(text.count("\n") for text in EACH)


def test_what_libraries_print_is_no_part_of_the_display(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    output = make_output(terminal, RunView(), json=False)
    print(MARK)
    print(MARK, file=sys.stderr)
    output.close()
    assert MARK not in terminal.getvalue()
    assert capsys.readouterr() == (f"{MARK}\n", f"{MARK}\n")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leaves_the_runs_folder(name: str, command: Command, studio_home: Path) -> None:
    root = studio_home / "runs"
    made = archive.create(Settings(run_name=name))
    assert made.path.parent == root
    renamed = archive.rename(made, name + "2")
    assert renamed.path.parent == root
    assert [*studio_home.iterdir()] == [root]
    outside = studio_home / "outside"
    outside.mkdir()
    (outside / "run.json").write_text("{}")
    (root / "link").symlink_to(outside)
    for arguments in (["runs", "delete", "../outside"], ["runs", "delete", "link"]):
        command(*arguments)
        assert (outside / "run.json").exists()
