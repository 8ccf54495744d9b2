"""A long run of the starter in the app: what the program holds, and how late its screen is.

    python -m tests.benchmarks.soak [--steps 2000] [--json]

Memory, file handles and threads of the process, and the time from a key to the screen that
answers it, sampled through the run on a pseudo-terminal. Each should be flat: the figures of the
last third of the samples against those of the second, the first being the warm-up. Linux only.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from engine.runs.folder import Run
from tests.benchmarks.screen_speed import KEYS, LARGE, answer_ms, begin, write_config
from tests.end_to_end.pseudo_terminal import studio
from tests.signals import leave_when_told_to_end, let_programs_take_signals

Sample = dict[str, float]
SAMPLES = 60  # over the whole run


def soak(steps: int) -> list[Sample]:
    """Samples over a run of so many steps."""
    with tempfile.TemporaryDirectory() as home:
        values = {"iters": steps, "run_name": "soak", "steps_per_eval": -1, "save_every": 50}
        # So slow that there is something to learn to the end.
        config = write_config(Path(home), **values, learning_rate=0.02)
        run, samples = Run(Path(home, "runs", "soak")), []
        with studio(Path(home), str(config), **LARGE) as terminal:
            begin(terminal)
            terminal.wait_for("step 3 ", 300)
            key, due = 0, 3.0
            while (step := step_of(run)) < steps - 1 and run.state()["status"] == "running":
                if step < due:
                    time.sleep(0.2)
                    continue
                due = step + steps / SAMPLES
                press, holds = KEYS[1 + key % 2]
                key += 1
                late = answer_ms(terminal, press, holds)
                samples.append({"step": step, "late_ms": late} | held(terminal.pid))
    return samples


def step_of(run: Run) -> int:
    """The step of the newest report."""
    return int(run.state().get("step") or 0)


def held(pid: int) -> Sample:
    """Resident memory in MB, file handles and threads of a process."""
    process = psutil.Process(pid)
    return {
        "memory_mb": process.memory_info().rss / 1e6,
        "handles": process.num_fds(),
        "threads": process.num_threads(),
    }


def growth(samples: list[Sample]) -> dict[str, dict[str, float]]:
    """Of each figure: the median of the second and of the last third, and the worst of all."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]

    def median(part: list[Sample], name: str) -> float:
        return statistics.median(sample[name] for sample in part)

    def worst(name: str) -> float:
        return max(sample[name] for sample in samples)

    names = ("memory_mb", "handles", "threads", "late_ms")
    return {
        name: {"second": median(middle, name), "last": median(last, name), "worst": worst(name)}
        for name in names
    }


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    let_programs_take_signals()
    leave_when_told_to_end()
    samples = soak(chosen.steps)
    if len(samples) < 6:
        print("the run was over before there was anything to compare")
        return 1
    found = growth(samples)
    if chosen.json:
        print(json.dumps({"steps": chosen.steps, "samples": len(samples), **found}))
    else:
        print(f"{chosen.steps} steps, {len(samples)} samples   second third   last third   worst")
        for name, facts in found.items():
            print(f"{name:<24}" + "".join(f"{facts[key]:>14.1f}" for key in facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
