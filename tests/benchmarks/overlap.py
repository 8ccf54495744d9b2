"""What it brings that a judge on another machine judges a batch while the next one is sampled:
`python -m tests.benchmarks.overlap`.

The judge is a server process that sleeps for a fixed time and prefers the longer answer: to this
machine that is what another one is that computes elsewhere, so its cores are the trainer's alone.
The same run goes with `lookahead` 0 and 1, in turn. Without overlap a step lasts as long as
sampling, judging and the update together, with it as long as the longer of judging and the rest.
Where others use this machine too, two runs differ by that; how long each waits for the judge does
not.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.program import words
from tests.end_to_end.ranks import ROOT, SHORT
from tests.engine.little_server import LittleServer
from tests.signals import leave_when_told_to_end

PHASES = ("sample_seconds", "judge_seconds", "update_seconds", "step_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description="A judge on another machine, with lookahead.")
    parser.add_argument("--steps", type=int, default=12, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.2, help="that the server takes")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.seconds)
        return
    leave_when_told_to_end()
    ratios, gains, hidden = [], [], []
    with tempfile.TemporaryDirectory() as folder, server(options.seconds) as address:
        for number in range(options.rounds):
            apart, ahead = (
                measure(Path(folder) / f"{number}-{ahead}", address, ahead, options)
                for ahead in (0, 1)
            )
            own = apart["sample_seconds"] + apart["update_seconds"]
            best = max(own, apart["judge_seconds"]) / (own + apart["judge_seconds"])
            ratios.append(ahead["step_seconds"] / apart["step_seconds"])
            gains.append(best)
            hidden.append(1 - ahead["judge_seconds"] / apart["judge_seconds"])
            for name, phases in (("lookahead 0", apart), ("lookahead 1", ahead)):
                row = "   ".join(f"{phase[:-8]} {phases[phase]:.2f} s" for phase in PHASES)
                print(f"round {number + 1}, {name}: {row}")
    print(
        f"step with lookahead 1, of that with 0: {statistics.median(ratios):.2f} "
        f"(of {', '.join(f'{ratio:.2f}' for ratio in ratios)}); "
        f"at an even speed no overlap could do better than {statistics.median(gains):.2f}"
    )
    print(f"share of the judge's time that nobody waits for: {statistics.median(hidden):.2f}")


def serve(seconds: float) -> None:
    """Be the judge, and say where."""

    def wait(*_: object) -> bool:
        time.sleep(seconds)
        return False

    with LittleServer(models=("longer",), misbehave=wait).running() as little:
        print(little.address, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def server(seconds: float) -> Iterator[str]:
    """The judge's process, by its address."""
    command = [sys.executable, "-m", "tests.benchmarks.overlap", "--serve", "--seconds"]
    with subprocess.Popen(
        [*command, str(seconds)], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


def measure(home: Path, address: str, ahead: int, options: argparse.Namespace) -> dict[str, float]:
    """Medians of a run's steps; the first ones warm up, and the last has nothing to overlap."""
    values = {
        **SHORT,
        "iters": options.steps,
        "batch_size": options.batch,
        "max_completion_length": 64,
        "steps_per_eval": -1,
        "judge": address,
        "judge_concurrency": options.batch,
        "lookahead": ahead,
    }
    command = [sys.executable, "-m", "tui.main", "train", "starter", "--run-name", "run"]
    subprocess.run(
        [*command, *words(**values)],
        env={**os.environ, "LORA_STUDIO_HOME": str(home)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    text = (home / "runs" / "run" / "metrics.jsonl").read_text()
    steps = [line for line in map(json.loads, text.splitlines()) if "loss" in line][2:-1]
    return {phase: statistics.median(step[phase] for step in steps) for phase in PHASES}


if __name__ == "__main__":
    main()
