"""What two ranks of one thread do, beside two runs of one thread each that know nothing of each
other: `python -m tests.benchmarks.ranks`.

The four processes take turns in pairs, each process on a core of its own, so that what else the
machine does hits both. The ratio is that of pairs trained a second: of the two ranks together, over
the sum of the two runs. What ranks lose is shown by phase, in which what rank 0 waits for others is
counted, and what they wait for each other and sum apart. `--short` is for a first look. Linux only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.machine.blas import import_mlx
from tests.end_to_end.program import words
from tests.end_to_end.ranks import ROOT, ended_with, free_ports
from tests.signals import leave_when_told_to_end

PHASES = ("sample_seconds", "judge_seconds", "update_seconds", "step_seconds")
OF_RANKS = ("wait_seconds", "longest_wait_seconds", "sum_seconds", "sent_mb")
RUN: dict[str, Any] = {
    "batch_size": 32,
    "steps_per_report": 1,
    "steps_per_eval": -1,
    "save_every": 1000,
    "guard": "off",
    "collapse_watch": "off",
    "judge_watch": "off",
    "fuse": False,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Two ranks beside two runs of one thread.")
    parser.add_argument("--steps", type=int, default=12, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--medium", action="store_true", help="random weights, 82 M parameters")
    parser.add_argument("--short", action="store_true", help="six steps, one round, short answers")
    options = parser.parse_args()
    if options.short:
        options.steps, options.rounds = 6, 1
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("two cores are needed")
    import_mlx()
    leave_when_told_to_end()
    with tempfile.TemporaryDirectory() as folder:
        values = {**RUN, "iters": options.steps}
        if options.medium:
            values |= medium(Path(folder))
            if options.short:
                values |= {"batch_size": 4, "max_completion_length": 16}
        rounds: dict[str, list[dict[str, float]]] = {"two ranks": [], "two runs": []}
        for number in range(options.rounds):
            for what, found in rounds.items():
                home = Path(folder) / f"{number}-{what.replace(' ', '-')}"
                found.append(measure(home, cores, values, together=what == "two ranks"))
                print(f"round {number + 1}, {what}: {found[-1]['pairs a second']:.2f} pairs/s")
        show(rounds)


def medium(folder: Path) -> dict[str, Any]:
    """Settings of a run of random weights of 82 million parameters."""
    from tests.benchmarks.random_model import MEDIUM, prompts, write_model

    texts = prompts(64, 60, MEDIUM.vocabulary)
    write_model(folder / "model", MEDIUM, "")
    judge = folder / "judge.py"  # there is no sense in what a random model writes, or thinks of it
    judge.write_text("def score(prompt, completion):\n    return hash(completion) % 1000\n")
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return {
        "model": folder / "model",
        "judge": f"{judge}:score",
        "data": file,
        "quantization": "none",
        "max_completion_length": 32,
        "batch_size": 8,
        "eval_prompts": 1,
    }


def measure(
    home: Path, cores: Sequence[int], values: Mapping[str, Any], *, together: bool
) -> dict[str, float]:
    """Pairs a second of both processes, and the seconds of a step by phase."""
    home.mkdir()
    hosts = home / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(2)]))
    processes: list[subprocess.Popen[bytes]] = []
    with ended_with(processes):
        for rank, core in enumerate(cores):
            environment = {**os.environ, "LORA_STUDIO_HOME": str(home), "OMP_NUM_THREADS": "1"}
            if together:
                environment |= {"MLX_HOSTFILE": str(hosts), "MLX_RANK": str(rank)}
            name = "run" if together else f"run{rank}"
            program = [sys.executable, "-m", "tui.main", "train", "starter", "--run-name", name]
            processes.append(
                subprocess.Popen(
                    ["taskset", "-c", str(core), *program, *words(**values)],
                    env=environment,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            )
        if any(each.wait() for each in processes):
            sys.exit("a run has failed")
    runs = [of_run(folder) for folder in sorted((home / "runs").iterdir())]
    measured = {phase: statistics.mean(run[phase] for run in runs) for phase in PHASES}
    measured["pairs a second"] = sum(values["batch_size"] / run["step_seconds"] for run in runs)
    if together:
        measured |= {name: runs[0][name] for name in OF_RANKS}
    return measured


def of_run(folder: Path) -> dict[str, float]:
    """Medians of a run's steps; the first ones warm up."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line][2:]
    of_ranks = {
        name: statistics.mean(line[name] for line in steps) for name in OF_RANKS if name in steps[0]
    }
    return {name: statistics.median(line[name] for line in steps) for name in PHASES} | of_ranks


def show(rounds: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """A table of both, and the ratio with its spread."""
    pairs = [
        [each["pairs a second"] for each in rounds[what]] for what in ("two ranks", "two runs")
    ]
    print()
    for name in (*PHASES, "pairs a second"):
        row = (f"{what} {statistics.median(r[name] for r in rounds[what]):.3f}" for what in rounds)
        print(f"{name:20} {'   '.join(row)}")
    for name in OF_RANKS:
        print(f"{name:20} {statistics.median(r[name] for r in rounds['two ranks']):.3f}")
    ratios = [ours / theirs for ours, theirs in zip(*pairs, strict=True)]
    print(
        f"ratio                {statistics.median(ratios):.2f} "
        f"(of {', '.join(f'{ratio:.2f}' for ratio in ratios)}); the goal is 0.85"
    )


if __name__ == "__main__":
    main()
