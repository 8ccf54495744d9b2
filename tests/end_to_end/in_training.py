"""The app on a pseudo-terminal with a run that has taken its first steps."""

import sys
import time
from pathlib import Path
from typing import Any

from engine.runs.folder import METRICS, Run
from tests.end_to_end.program import TIMEOUT
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio

CONFIG = """\
model: starter
data: starter
judge: {judge}
quantization: none
num_layers: -1
run_name: watched
batch_size: 2
iters: {iters}
eval_prompts: 4
max_seq_length: 256
max_completion_length: 16
steps_per_report: 1
steps_per_eval: -1
save_every: 1000
grad_checkpoint: false
fuse: false
on_hangup: {on_hangup}
"""
ENDLESS = 100_000  # steps


def config(home: Path, **values: Any) -> Path:
    """The config of the run."""
    file = home / "config.yaml"
    defaults = {"judge": "starter", "on_hangup": "continue", "iters": ENDLESS}
    file.write_text(CONFIG.format(**defaults | values))
    return file


def trained_in(home: Path, **values: Any) -> tuple[PseudoTerminal, Run]:
    """The app with a run that has taken its first steps."""
    terminal = studio(home, str(config(home, **values)))
    return terminal, begin(terminal, home, judge=values.get("judge", "starter"))


def under_a_shell(
    home: Path, program: str = "tui.main", *arguments: str, shell: str = "sh -c"
) -> PseudoTerminal:
    """The app with a shell above it, which stays when the app is gone and says how it ended."""
    words = [sys.executable, "-m", program, str(config(home)), *arguments]
    line = f'{" ".join(words)}; echo "ended with $?"; read line'
    return PseudoTerminal([*shell.split(), line], environment={"LORA_STUDIO_HOME": str(home)})


def begin(terminal: PseudoTerminal, home: Path, judge: str = "starter") -> Run:
    """Start the run that the form holds, and wait for its first steps."""
    terminal.wait_for("start")
    terminal.press("s")
    terminal.wait_for("watched")
    run = Run(home / "runs" / "watched")
    if judge != "human":
        until(lambda: steps(run) >= 2)
    return run


def steps(run: Run) -> int:
    """The newest step in the metrics."""
    lines = run.last(METRICS, 1)
    return int(lines[0]["step"]) if lines else 0


def until(holds: Any, seconds: float = TIMEOUT) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)
