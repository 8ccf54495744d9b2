"""The real program in a process of its own, for tests that look at it from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.timing import TIMING

TIMEOUT = 300.0  # seconds that a program on a busy machine may take for what a test waits for
# A run that takes a few seconds.
SMALL = {
    "iters": 6,
    "batch_size": 4,
    "eval_prompts": 8,
    "max_completion_length": 24,
    "steps_per_report": 2,
    "steps_per_eval": 3,
    "save_every": 2,
    "fuse": False,
    "guard": "off",
}


def words(**values: Any) -> list[str]:
    """Settings as `--set` words."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def start(*arguments: str, home: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `lora-studio` with pipes for its output."""
    command = [sys.executable, "-m", "tui.main", *arguments]
    variables = {**os.environ, "LORA_STUDIO_HOME": str(home), **environment}
    return subprocess.Popen(
        command, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `lora-studio` to its end."""
    process = start(*arguments, home=home, **environment)
    out, err = process.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def records(text: str) -> list[dict[str, Any]]:
    """Lines of JSON; a line that is none is an error."""
    return [json.loads(line) for line in text.splitlines()]


def written(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What a run's files say of its training: everything but the time it took."""
    found = {}
    for file in ("metrics.jsonl", "pairs.jsonl", "undecided.jsonl"):
        path = folder / file
        lines = records(path.read_text()) if path.exists() else []
        found[file] = [{k: v for k, v in line.items() if k not in TIMING} for line in lines]
    return found
