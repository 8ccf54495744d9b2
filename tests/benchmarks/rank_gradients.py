"""What it costs in equality, and saves, that two ranks send gradients in bfloat16:
`python -m tests.benchmarks.rank_gradients`.

The starter is trained for some steps by one rank, by two that send float32, and by two that send
bfloat16. Differences are from the run of one rank: of what the first steps changed in the weights,
relative to the size of that change. From float32 they show how soon a run goes its own way by the
order of sums alone.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.machine.blas import import_mlx
from tests.end_to_end.program import words
from tests.end_to_end.ranks import SHORT, ended, started
from tests.signals import leave_when_told_to_end

RUNS: dict[str, tuple[int, str]] = {
    "one rank": (1, "float32"),
    "two, float32": (2, "float32"),
    "two, bfloat16": (2, "bfloat16"),
}


@dataclass(frozen=True)
class Trained:
    """A run's folder, and the half of its adapters that starts from zero, by step."""

    folder: Path
    weights: dict[int, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description="Gradients of ranks in bfloat16.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=64, help="that the win rate is of")
    options = parser.parse_args()
    import_mlx()
    leave_when_told_to_end()
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: train(Path(folder), name, options) for name in RUNS}
        show(runs, options.steps)


def train(home: Path, name: str, options: argparse.Namespace) -> Trained:
    size, dtype = RUNS[name]
    run = name.replace(", ", "-").replace(" ", "-")
    values = {
        **SHORT,
        "iters": options.steps,
        "batch_size": options.batch,
        "max_completion_length": 64,
        "eval_prompts": options.prompts,
        "steps_per_eval": options.steps,
        "save_every": 1,
        "rank_gradients": dtype,
    }
    arguments = ("train", "starter", "--run-name", run, *words(**values))
    with started(size, *arguments, home=home) as ranks:
        kept: dict[int, np.ndarray] = {}
        folder = home / "runs" / run
        while any(each.process.poll() is None for each in ranks):
            collect(folder, kept)
        if any(ended(ranks)):
            sys.exit("\n".join(each.said() for each in ranks))
        collect(folder, kept)
    return Trained(folder, kept)


def collect(folder: Path, kept: dict[int, np.ndarray]) -> None:
    """Keep the half of the adapters that starts from zero, of each checkpoint: the run removes the
    older ones."""
    import mlx.core as mx

    time.sleep(0.02)
    for each in (folder / "checkpoints").glob("[0-9]*"):
        if int(each.name) not in kept:
            with contextlib.suppress(RuntimeError, OSError):  # it is removed right now
                arrays: Any = mx.load(str(each / "adapters.safetensors"))
                kept[int(each.name)] = np.concatenate(
                    [
                        np.array(arrays[key], np.float64).reshape(-1)
                        for key in sorted(arrays)
                        if key.endswith("lora_b")
                    ]
                )


def show(runs: dict[str, Trained], steps: int) -> None:
    common = set.intersection(*(set(each.weights) for each in runs.values()))
    alone = runs["one rank"].weights
    print("difference of what was changed, relative to it, after some steps:")
    shown = [step for step in sorted(common) if step in (1, 2, 5, 10, 20, steps)]
    for name, its in runs.items():
        if name == "one rank":
            continue
        parts = []
        for step in shown:
            change = alone[step]
            difference = np.linalg.norm(its.weights[step] - change) / np.linalg.norm(change)
            parts.append(f"step {step}: {difference:.1e}")
        print(f"{name:14} {', '.join(parts)}")
    for name, its in runs.items():
        text = (its.folder / "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        last = [line for line in lines if line.get("split") == "valid"][-1]
        sent = next((line["sent_mb"] for line in lines if "sent_mb" in line), 0.0)
        norm = next(line["grad_norm"] for line in lines if "grad_norm" in line)
        low, high = last["win_rate_low"], last["win_rate_high"]
        print(
            f"{name:14} sent {sent:.3f} MB a step; first gradient {norm:.6f}; "
            f"win rate {last['win_rate']:.3f} ({low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main()
