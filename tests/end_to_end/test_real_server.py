"""A run of the starter whose judge is the starter's, in a real `mlx_lm.server` of its own process,
which is killed in the middle and started again."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.starter import JUDGE
from tests.end_to_end.program import SMALL as PROGRAM_SMALL
from tests.end_to_end.program import TIMEOUT, records, run, start, words, written

SMALL = PROGRAM_SMALL | {"iters": 4, "batch_size": 3, "eval_prompts": 4, "steps_per_eval": 2}
AWAY = "the run waits for it"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server, once it answers; killed at the end."""
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(JUDGE), "--port", str(port)]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=dict(os.environ), stdout=log, stderr=log)
        try:
            end = time.monotonic() + TIMEOUT
            while True:
                assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                assert time.monotonic() < end
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                        break
                except OSError:
                    time.sleep(0.1)
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def leaving() -> Iterator[contextlib.ExitStack]:
    """Ends what a failed test leaves."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.slow
def test_a_real_server_killed_and_started_again(
    tmp_path: Path, leaving: contextlib.ExitStack
) -> None:
    port = free_port()
    chosen = words(
        **SMALL, judge=f"http://127.0.0.1:{port}/v1", judge_model="default_model", lookahead=1
    )
    home = tmp_path / "home"

    with serving(port, tmp_path):
        whole = run("train", "starter", *chosen, "--run-name", "whole", "--json", home=home)
    assert whole.returncode == 0, whole.stderr
    expected = written(home / "runs" / "whole")
    labels = expected["pairs.jsonl"] + expected["undecided.jsonl"]
    assert len(labels) == SMALL["iters"] * SMALL["batch_size"]
    assert all(label["judge"] == f"default_model at http://127.0.0.1:{port}/v1" for label in labels)
    assert any(label["q"] is not None and 0 < label["q"] < 1 for label in labels)

    lines: list[str] = []
    with serving(port, tmp_path) as server:
        program = start("train", "starter", *chosen, "--run-name", "killed", "--json", home=home)
        leaving.callback(program.kill)

        def watch() -> None:
            assert program.stdout
            for line in program.stdout:
                lines.append(line)
                if '"event": "step"' in line or '"event":"step"' in line:
                    server.kill()

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        end = time.monotonic() + TIMEOUT
        while not any(AWAY in line for line in lines):
            assert program.poll() is None, program.communicate()
            assert time.monotonic() < end
            time.sleep(0.1)
    with serving(port, tmp_path):
        assert program.wait(TIMEOUT) == 0
        watching.join(TIMEOUT)
    events = records("".join(lines))
    assert any("answers again" in str(event.get("text")) for event in events)
    assert events[-1]["event"] == "ended"
    again = written(home / "runs" / "killed")
    # A server's own batches are as they come, and so the last digits of what it says.
    for file in ("pairs.jsonl", "undecided.jsonl"):
        ids = sorted(line["pair_id"] for line in again[file])
        assert len(set(ids)) == len(ids)
    count = sum(len(again[file]) for file in ("pairs.jsonl", "undecided.jsonl"))
    assert count == SMALL["iters"] * SMALL["batch_size"]
    evaluated = [line["step"] for line in again["metrics.jsonl"] if line.get("split") == "valid"]
    assert evaluated == [0, 2, 4]
