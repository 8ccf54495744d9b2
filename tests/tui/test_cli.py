"""The `lora-studio` command as far as it needs no training: statuses, output, speed of help."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import Console

from engine.events import RunEnded
from engine.runs import archive
from engine.runs.checkpoints import Best
from engine.settings.files import from_mapping, preset, to_yaml
from engine.settings.schema import Settings
from engine.settings.yaml_text import parse_yaml
from tests.command import Command
from tests.tui.live import evaluated, started, steps
from tui.cli import console, doctor
from tui.cli.console import LiveDisplay, PlainLines, Summary, make_output, opening
from tui.cli.run_lines import COLUMNS
from tui.state.run_view import RunView


def test_help_and_version_answer_without_heavy_imports() -> None:
    heavy = {"mlx", "mlx_lm", "transformers", "datasets", "pandas", "pyarrow", "textual", "numpy"}
    program = (
        "import sys\nfrom tui.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(sys.modules))"
    )
    for flag in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", program, flag], capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
        assert "typer" in loaded
        assert not loaded & heavy


def test_help_names_every_command(command: Command) -> None:
    status, out, _ = command("--help")
    assert status == 0
    for name in ("train", "resume", "runs", "judge", "export", "pairs", "config", "doctor"):
        assert f"\n  {name} " in out


def test_the_version_is_the_packages(command: Command) -> None:
    from importlib.metadata import version

    assert command("--version") == (0, f"lora-studio {version('lora-studio')}\n", "")


def test_config_prints_a_file_that_loads_back(command: Command) -> None:
    status, out, _ = command("config")
    assert status == 0
    assert from_mapping(parse_yaml(out, "printed"), "printed") == Settings()
    _, out, _ = command("config", "starter")
    assert from_mapping(parse_yaml(out, "printed"), "printed") == preset("starter")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "none.yaml"], "none.yaml is not there"),
        (["train", "starter", "--set", "betta=1"], "nearest is beta"),
        (["train", "starter", "--set", "judge=human"], "so the app: `lora-studio CONFIG.yaml`"),
        (["starter-human"], "a person as the judge needs the app"),
        (["starter", "--set", "betta=1"], "nearest is beta"),
        (["starter", "--set", "num_layers=0"], "0 trains nothing"),
        (["none.yaml", "--start"], "none.yaml is not there"),
        (["--start", "none.yaml"], "none.yaml is not there"),
        (["--start"], "`lora-studio CONFIG.yaml --start`"),
        (["stater"], "no command, preset or file 'stater'; the nearest is starter"),
        (["trian"], "no command, preset or file 'trian'; the nearest is train"),
        (["trian", "starter", "--json"], "'trian'; the nearest is train"),
        (["foo"], "no command, preset or file 'foo'; `lora-studio --help` lists the commands"),
        (["train", "starter", "--set", "quantization=4-bit", "--set", "train_type=full"], "full"),
        (["resume", "none"], "there is no run 'none'"),
        (["runs", "show", "none"], "there is no run 'none'"),
        (["runs", "delete", "../nowhere/none"], "there is no run '../nowhere/none'"),
        (["export", "none", "--to", "there"], "there is no run 'none'"),
        (["export", "none", "--to", "there", "--keep", "all"], "--keep is best or last, not 'all'"),
        (["config", "stater"], "choose one of starter"),
        (["none.yaml"], "none.yaml is not there"),
        (["pairs", "check", "a" * 300], "cannot be read: File name too long"),
        (["a" * 300], "there is no command, preset or file"),
        ([], "needs a terminal"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], expected: str, command: Command
) -> None:
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert expected in err
    assert err.startswith("lora-studio: ")
    assert err.count("\n") == 1


def test_ctrl_c_while_a_command_is_imported_is_no_trace(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tui.cli.commands.full", interrupted)
    assert command("runs") == (130, "", "")


@pytest.mark.parametrize(
    "arguments",
    [["starter", "--none"], ["train"], ["runs", "show"], ["train", "--none"], ["export", "a"]],
)
def test_bad_usage_is_status_2(arguments: list[str], command: Command) -> None:
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert "Usage" in err


def test_a_step_to_go_back_to_is_looked_at_before_anything_is_loaded(command: Command) -> None:
    run = archive.create(Settings(run_name="one"))
    run.update(status="finished", total_steps=10)
    assert "go back to an earlier checkpoint with --step" in command("resume", "one")[2]
    assert "--force is for --step" in command("resume", "one", "--force")[2]
    assert (
        "has no checkpoint of step 4: it has no checkpoint"
        in command("resume", "one", "--step", "4")[2]
    )
    for step in (4, 6):
        with run.checkpoint_folder(step, Best(6, 0.75, 0.6, 1.0)):
            pass
    status, _, err = command("resume", "one", "--step", "5")
    assert status == 2
    assert "its checkpoints are of step 4, step 6" in err
    assert "step 4 is before step 6, the best (75%)" in command("resume", "one", "--step", "4")[2]
    out = command("runs", "show", "one")[1]
    assert re.search(r"^best +step 6 \(75%, at least 60%\)$", out, re.M)


def test_runs_are_listed_shown_and_deleted(command: Command) -> None:
    assert "no runs yet" in command("runs")[1]
    archive.create(Settings(run_name="first", beta=0.3)).update(
        step=7, total_steps=9, win_rate=0.75
    )
    archive.create(Settings(run_name="second"))
    status, out, _ = command("runs")
    assert status == 0
    assert re.split("  +", out.splitlines()[0]) == list(COLUMNS)
    [row] = [line for line in out.splitlines() if line.startswith("first")]
    assert "7/9" in row
    assert "75%" in row

    records = [json.loads(line) for line in command("runs", "--json")[1].splitlines()]
    assert {record["name"] for record in records} == {"first", "second"}

    status, out, _ = command("runs", "show", "first")
    assert status == 0
    assert "beta" in out
    [record] = [json.loads(line) for line in command("runs", "show", "first", "--json")[1:2]]
    assert record["settings"]["beta"] == 0.3

    status, out, _ = command("runs", "delete", "first")
    assert status == 0
    assert not command("runs")[1].count("first")


def test_a_run_of_months_is_shown_from_the_end_of_its_files(command: Command) -> None:
    """Bytes are counted, and not time: 20 MB are read as fast as nothing on some machines."""
    counts = Path("/proc/self/io")
    if not counts.exists():
        pytest.skip("this system does not count what a process reads")
    run = archive.create(Settings(run_name="long"))
    run.update(win_rate=0.75, win_rate_low=0.7, win_rate_high=0.8)
    line = {"step": 0, "loss": 0.25, "padding": "x" * 900}
    run.append("metrics.jsonl", [line | {"step": step} for step in range(20_000)])
    run.append("metrics.jsonl", [{"step": 20_000, "loss": 0.125}])
    command("runs", "show", "long")  # what is imported is read once

    def read() -> int:
        return int(counts.read_text().split()[1])

    before = read()
    status, out, _ = command("runs", "show", "long")
    taken = read() - before
    assert status == 0
    assert taken < 1_000_000
    assert re.search(r"^  loss +0.125$", out, re.M)
    assert re.search(r"^  step +20000$", out, re.M)
    assert re.search(r"^  win_rate +0.75$", out, re.M)  # measured long ago


def test_a_win_rate_of_the_start_is_not_shown_as_the_end_s(command: Command) -> None:
    rates = {"win_rate": 0.41, "win_rate_low": 0.3, "win_rate_high": 0.52}
    for name, step in (("early", 0), ("later", 20)):
        run = archive.create(Settings(run_name=name))
        run.update(status="stopped", step=47, win_rate_step=step, **rates)
    out = command("runs", "show", "early").out
    assert "win_rate  not measured since step 0; `lora-studio resume early` goes on" in out
    assert "`lora-studio runs evaluate early` measures it" in out
    assert "0.41" not in out
    out = command("runs", "show", "later").out
    assert re.search(r"^  win_rate +0.41$", out, re.M)
    assert re.search(r"^  win_rate_step +20$", out, re.M)
    record = json.loads(command("runs", "show", "early", "--json").out)
    assert record["win_rate_step"] == 0


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (0, "held-out win rate: not measured since step 0\n"),
        (20, "held-out win rate: 50.0% before, 90.0% after step 20 (84% to 96%, 64 prompts)\n"),
        (47, "held-out win rate: 50.0% before, 90.0% after (84% to 96%, 64 prompts)\n"),
    ],
)
def test_the_last_words_say_when_the_win_rate_was_measured(step: int, said: str) -> None:
    view = RunView("polite")
    events = [started(), evaluated(0, 0.5), *([evaluated(step, 0.9)] if step else [])]
    events += [*steps("loss", [0.5] * 47), RunEnded(status="stopped", step=47)]
    summary = Summary(view)
    view.fold(events)
    summary.fold(events)
    assert said in summary.closing().plain


def test_a_run_that_is_sent_behind_its_shell_draws_nothing_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = True
    monkeypatch.setattr(console, "_is_ours", lambda stream: front)
    terminal = io.StringIO()
    view = RunView("polite")
    display = LiveDisplay(Console(file=terminal, force_terminal=True, width=80), view)
    display.show([started()])
    front, before = False, terminal.getvalue()
    display.show([evaluated(0, 0.5)])
    assert terminal.getvalue() == before
    front = True
    display.show([])
    assert "step 0  win rate 50.0%" in terminal.getvalue()
    display.close()


def test_the_first_line_of_a_run_counts_as_one_speaks() -> None:
    one = replace(started(step=1_200, total=1), prompts=99_936, pairs=1)
    assert list(opening(one)) == [
        "polite: 1 step, 99,936 prompts, 1 of 2 parameters, cpu",
        "going on after step 1,200, with 1 label kept",
    ]


@pytest.mark.parametrize(("front", "kind"), [(True, LiveDisplay), (False, PlainLines)])
def test_a_job_behind_its_shell_draws_nothing_in_place(
    front: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "tcgetpgrp", lambda terminal: os.getpgrp() if front else 1)
    keyboard, screen = os.openpty()
    with open(keyboard, "rb"), open(screen, "w", encoding="utf-8") as terminal:
        output = make_output(terminal, RunView(), json=False)
        assert isinstance(output, kind)
        output.close()


def test_what_is_wrong_with_a_run_is_shown(command: Command) -> None:
    finding = {"level": "bad", "text": "90% are ties", "means": "", "advice": "Be clear."}
    archive.create(Settings(run_name="tied")).update(health=[finding | {"metric": "tie_rate"}])
    out = command("runs", "show", "tied").out
    assert "\nhealth\n  90% are ties\n  Be clear.\n" in out
    [record] = [json.loads(command("runs", "show", "tied", "--json").out)]
    assert record["health"][0]["text"] == "90% are ties"
    archive.create(Settings(run_name="well"))
    assert "health" not in command("runs", "show", "well").out


def test_a_damaged_run_is_a_row_and_can_be_deleted(command: Command, studio_home: Path) -> None:
    (studio_home / "runs" / "broken").mkdir(parents=True)
    assert "damaged" in command("runs")[1]
    assert command("runs", "show", "broken")[0] == 2
    assert command("runs", "delete", "broken")[0] == 0
    assert "no runs yet" in command("runs")[1]


HOSTILE = "a\x1b[31mred\x1b]52;c;aGk=\x07\r\n\u202eb"


def test_hostile_text_is_never_printed_raw(command: Command, studio_home: Path) -> None:
    run = archive.create(Settings(run_name="run", model=HOSTILE, judge_system=HOSTILE))
    run.update(error=HOSTILE)
    folder = studio_home / "runs" / "\x1b[31mname"
    folder.mkdir()
    for arguments in (["runs"], ["runs", "show", "run"], ["runs", "show", HOSTILE]):
        _, out, err = command(*arguments)
        for char in "\x1b\x07\r\u202e":
            assert char not in out + err


def test_notes_say_what_has_no_effect(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "theirs.yaml"
    file.write_text("train: true\njudge: human\n")
    _, _, err = command("train", str(file))
    assert "note: train has no effect here: every run trains\n" in err


def test_a_config_written_for_a_person_round_trips(tmp_path: Path) -> None:
    settings = preset("starter-human")
    assert from_mapping(parse_yaml(to_yaml(settings), "file"), "file") == settings


def test_the_doctor_says_how_to_get_a_fast_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "backend", lambda: "cpu")
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    words = doctor.without_blas()
    assert "apt install libopenblas0" in words
    assert "lora-studio[cpu]" in words
    monkeypatch.setattr(doctor, "backend", lambda: "cuda")
    assert doctor.without_blas() == "the one that MLX brings"


def test_help_names_arguments_by_no_type_of_python(command: Command) -> None:
    from tui.cli.commands import cli

    def words(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
        for name, each in getattr(group, "commands", {}).items():
            yield (*before, name)
            yield from words(each, *before, name)

    typed = re.compile(r"<\w|\{\w+\}|\[\[")
    found = list(words(typer.main.get_group(cli)))
    assert ("prompts", "make") in found
    for each in found:
        status, out, _ = command(*each, "--help")
        assert status == 0
        assert not typed.search(out), out
    assert "{starter|CONFIG.yaml}" in command("train", "-h").out
