"""Training from the command line: what is printed, kept, stopped and gone on with."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import starter
from engine.runs import archive
from engine.runs.folder import read_state
from engine.settings.schema import Settings
from tests.end_to_end.program import SMALL, TIMEOUT, records, run, start, words
from tests.timing import TIMING
from tui.state.run_from_files import RunFromFiles
from tui.text.format import duration


def metrics_of(home: Path, name: str) -> list[dict]:
    """The lines of metrics.jsonl without what depends on the machine's speed."""
    lines = (home / "runs" / name / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in lines]


def test_json_is_all_there_is_on_standard_output(studio_home: Path) -> None:
    arguments = ["train", "starter", *words(**SMALL), "--run-name", "one", "--json"]
    done = run(*arguments, home=studio_home)
    assert done.returncode == 0, done.stderr
    events = records(done.stdout)
    assert [event["event"] for event in events][-1] == "ended"
    assert events[-1]["status"] == "finished"
    assert [e["step"] for e in events if e["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert all("loss" in e and e["step"] for e in events if e["event"] == "report")
    assert [e["step"] for e in events if "win_rate" in e] == [0, 3, 6]
    kept = metrics_of(studio_home, "one")
    assert [line["step"] for line in kept if "win_rate" in line] == [0, 3, 6]


def test_plain_lines_end_with_win_rates_answers_and_the_folder(studio_home: Path) -> None:
    poor = {"LANG": "C", "PYTHONIOENCODING": "ascii", "TERM": ""}
    done = run("train", "starter", *words(**SMALL), "--run-name", "one", home=studio_home, **poor)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert re.search(r"^held-out win rate: \d+\.\d% before, \d+\.\d% after \(", done.stdout, re.M)
    assert done.stdout.count("\n  before  ") == done.stdout.count("\n  after   ") > 0
    assert done.stdout.splitlines()[-1] == f"the run is kept in {studio_home / 'runs' / 'one'}"
    # What it took is told once, with the evaluations and what comes after the last step.
    path = studio_home / "runs" / "one"
    took = read_state(path)["seconds"]
    assert f"done: step 6 of 6 in {duration(took)}" in done.stdout
    assert RunFromFiles(archive.Run(path)).view.elapsed() == took
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    times = [line["elapsed_seconds"] for line in lines]
    assert times == sorted(times)
    assert max(line.get("seconds", 0.0) for line in lines) < times[-1] < took


# Long enough not to be over when a signal that is sent at its first step arrives.
LONGER = SMALL | {"iters": 30, "steps_per_eval": 15, "steps_per_report": 5, "save_every": 12}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a run that nothing interrupted."""
    home = tmp_path_factory.mktemp("whole")
    done = run("train", "starter", *words(**LONGER), "--run-name", "whole", home=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.mark.parametrize(
    ("number", "status", "by"),
    [
        (signal.SIGINT, 130, "ctrl+c"),
        pytest.param(signal.SIGTERM, 143, "SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_with_a_checkpoint_and_resume_goes_on_exactly(
    number: signal.Signals, status: int, by: str, studio_home: Path, whole: Path
) -> None:
    process = start(
        "train", "starter", *words(**LONGER), "--run-name", "cut", "--json", home=studio_home
    )
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["event"] == "step":
            process.send_signal(number)
            break
    ended = records(process.stdout.read())[-1]
    assert process.wait(timeout=TIMEOUT) == status
    assert ended["status"] == "stopped"
    assert ended["step"] < LONGER["iters"]
    log = (studio_home / "runs" / "cut" / "log.txt").read_text()
    assert log.endswith(f" stopped by {by} at step {ended['step']}\n")
    again = run("resume", "cut", "--json", home=studio_home)
    assert again.returncode == 0, again.stderr
    assert metrics_of(studio_home, "cut") == metrics_of(whole, "whole")


def test_a_finished_run_is_not_resumed(studio_home: Path) -> None:
    archive.create(Settings(run_name="done")).update(status="finished")
    done = run("resume", "done", home=studio_home)
    assert done.returncode == 2
    assert "finished" in done.stderr


def test_a_second_signal_ends_at_once(studio_home: Path) -> None:
    endless = words(**SMALL | {"iters": 10_000, "steps_per_eval": -1})
    process = start("train", "starter", *endless, "--run-name", "one", "--json", home=studio_home)
    assert process.stdout
    for line in process.stdout:
        if json.loads(line)["event"] == "step":
            break
    # Both are sent while the process is held, so that it meets them together.
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode in (130, 143)
    assert run("runs", home=studio_home).returncode == 0


def test_a_reader_that_goes_away_does_not_end_the_run(studio_home: Path) -> None:
    process = start("train", "starter", *words(**SMALL), "--run-name", "one", home=studio_home)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=TIMEOUT) == 0
    assert metrics_of(studio_home, "one")[-1]["step"] == 6


def test_what_libraries_print_goes_to_the_log(studio_home: Path) -> None:
    noisy = (
        "import os, sys\n"
        "from engine.machine.blas import import_mlx\n"
        "import_mlx()\n"
        "from engine.train import assemble\n"
        "train = assemble.train\n"
        "def noise(*arguments):\n"
        "    os.write(1, b'from descriptor 1\\n'), os.write(2, b'from descriptor 2\\n')\n"
        "    print('from print', flush=True)\n"
        "    return train(*arguments)\n"
        "assemble.train = noise\n"
        "from tui.main import main\n"
        "main()\n"
    )
    arguments = ["train", "starter", *words(**SMALL | {"iters": 1}), "--run-name", "one", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", noisy, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "LORA_STUDIO_HOME": str(studio_home)},
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert records(done.stdout)
    assert done.stderr == ""
    log = (studio_home / "runs" / "one" / "log.txt").read_text()
    for line in ("from descriptor 1", "from descriptor 2", "from print"):
        assert line in log


def test_hub_ids_are_found_in_the_hub_cache_when_offline(studio_home: Path) -> None:
    cache = studio_home / "hub"
    for repository, folder in (
        ("models--some--policy", starter.POLICY),
        ("models--some--judge", starter.JUDGE),
        ("datasets--some--prompts", starter.PROMPTS),
    ):
        shutil.copytree(folder, cache / repository / "snapshots" / "abc")
        (cache / repository / "refs").mkdir()
        (cache / repository / "refs" / "main").write_text("abc")
    ids = {"model": "some/policy", "judge": "some/judge", "data": "some/prompts"}
    offline = {"HF_HOME": str(studio_home), "HF_HUB_OFFLINE": "1"}
    settings = words(**SMALL | ids)
    done = run("train", "starter", *settings, "--json", home=studio_home, **offline)
    assert done.returncode == 0, done.stderr
    assert records(done.stdout)[-1]["status"] == "finished"


def test_the_labels_load_as_a_preference_dataset(studio_home: Path, whole: Path) -> None:
    from datasets import load_dataset

    file = whole / "runs" / "whole" / "pairs.jsonl"
    labels: Any = load_dataset(
        "json", data_files=str(file), cache_dir=str(studio_home), split="train"
    )
    assert len(labels) == len(file.read_text().splitlines()) > 0
    for row in labels:
        assert all(isinstance(row[key], str) for key in ("prompt", "chosen", "rejected"))
        assert row["chosen"] != row["rejected"]


class Terminal:
    """The program on a pseudo-terminal of 80 x 24."""

    def __init__(self, *arguments: str, home: Path) -> None:
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.environ |= {"LORA_STUDIO_HOME": str(home), "TERM": "xterm-256color"}
            os.execv(sys.executable, [sys.executable, "-m", "tui.main", *arguments])
        self.seen = ""

    def read_until(self, text: str, seconds: float = TIMEOUT) -> None:
        """Read what is painted until `text` is."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.screen], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.screen, 65536).decode(errors="replace")
                except OSError:
                    assert text in self.seen, self.seen[-2000:]

    def wait(self) -> int:
        """The exit status."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_terminal_shows_progress_and_gets_its_cursor_back(studio_home: Path) -> None:
    terminal = Terminal("train", "starter", *words(**SMALL), "--run-name", "one", home=studio_home)
    terminal.read_until("step 6 / 6")
    terminal.read_until("the run is kept in")
    assert terminal.wait() == 0
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")


@pytest.mark.parametrize(("on_hangup", "status"), [("continue", "finished"), ("stop", "stopped")])
def test_a_lost_terminal_does_what_on_hangup_says(
    on_hangup: str, status: str, studio_home: Path
) -> None:
    # Long enough not to be over before the terminal is lost.
    iters = 30 if status == "finished" else 500
    settings = words(**SMALL | {"iters": iters}, on_hangup=on_hangup)
    terminal = Terminal("train", "starter", *settings, "--run-name", "one", home=studio_home)
    terminal.read_until("loss")  # of any step: the screen is drawn less often than steps are taken
    os.close(terminal.screen)
    assert terminal.wait() == (0 if status == "finished" else 128 + signal.SIGHUP)
    state = json.loads((studio_home / "runs" / "one" / "run.json").read_text())
    assert state["status"] == status
    gone = "the terminal is gone; the run goes on without it"
    stopped = f"stopped by the loss of its terminal at step {state['step']}"
    log = (studio_home / "runs" / "one" / "log.txt").read_text()
    assert [text in log for text in (gone, stopped)] == [status == "finished", status == "stopped"]
