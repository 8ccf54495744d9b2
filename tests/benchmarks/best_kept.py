"""Is the best step worth keeping? `python -m tests.benchmarks.best_kept`.

The starter with a rate that is too high, which learns and then overshoots: after how many steps it
was best by the judge on held-out prompts, and what the best and the last step are worth by the
programmatic truth, on prompts of their own. The watch over the text is left out: it would stop the
run before its end. A few minutes.
"""

import argparse
import os
import tempfile

from engine.machine.blas import load_fast_blas
from engine.runs.folder import Run
from tests.benchmarks.starter_quality import run, show, truth_of

SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="The best step against the last.")
    parser.add_argument("--rate", type=float, default=2.4, help="the starter's is 0.8")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    load_fast_blas()
    with tempfile.TemporaryDirectory() as home:
        os.environ["LORA_STUDIO_HOME"] = home
        rows = [row for seed in options.seeds for row in of_seed(seed, options.rate, options.steps)]
    show(f"best against last, learning_rate {options.rate:g}", rows)


def of_seed(seed: int, rate: float, steps: int) -> list[dict[str, object]]:
    """A line for the best and one for the last step of a run."""
    changes = {
        "seed": seed,
        "learning_rate": rate,
        "iters": steps,
        "steps_per_eval": 5,
        "guard": "off",
        "collapse_watch": "off",
    }
    folder = run(changes, "starter", lambda session: session.join(0.2))
    best = Run(folder).best()
    assert best is not None
    at = {"best": best.step, "last": steps}
    rows = [
        {"seed": seed, "keep": keep, "step": at[keep]} | truth_of(folder, keep=keep)
        for keep in ("best", "last")
    ]
    print(*rows, sep="\n", flush=True)
    return rows


if __name__ == "__main__":
    main()
