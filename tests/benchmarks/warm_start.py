"""What are existing labels worth? `python -m tests.benchmarks.warm_start`.

The starter with 200 labels of its own judge, given on answers of the untrained policy, against the
starter without, by the programmatic truth on prompts of their own: at equal judgements, where the
labels were there anyway, and at equal labels, where they count too. A minute or two a seed.
"""

import argparse
import os
import tempfile
from pathlib import Path

from engine.machine.blas import load_fast_blas
from engine.runs.folder import Run
from engine.runs.labels import select
from engine.runs.pair_files import write_pairs
from tests.benchmarks.starter_quality import run, show, truth_of

SEEDS = (0, 1, 2)
BATCH = 20  # pairs a step
QUIET = {"batch_size": BATCH, "steps_per_eval": -1, "guard": "off"}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="200 labels against none.")
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--judgements", type=int, default=400)
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over the labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    load_fast_blas()
    with tempfile.TemporaryDirectory() as home:
        os.environ["LORA_STUDIO_HOME"] = home
        rows: list[dict[str, object]] = []
        for seed in options.seeds:
            file = label(Path(home) / f"labels-{seed}.jsonl", options.labels, seed)
            warm = {"warm_start": str(file), "warm_start_epochs": options.epochs}
            fewer = options.judgements - options.labels
            for name, count, judgements, changes in (
                ("none", 0, options.judgements, {}),
                ("warm start", options.labels, options.judgements, warm),
                ("warm start", options.labels, fewer, warm),
            ):
                changes = {**QUIET, **changes, "seed": seed, "iters": judgements // BATCH}
                folder = run(changes, "starter", lambda session: session.join(0.2))
                facts = {"seed": seed, "start": name, "labels": count, "judgements": judgements}
                rows.append(facts | truth_of(folder, keep="last"))
                print(rows[-1], flush=True)
    show("labels that were there before", rows)


def label(file: Path, count: int, seed: int) -> Path:
    """Write labels of the preset's judge on answers of the policy as it was at the start."""
    changes = {**QUIET, "seed": 1000 + seed, "learning_rate": 1e-9, "iters": 2 + count // BATCH}
    folder = run(changes, "starter", lambda session: session.join(0.2))
    labels = select([Run(folder)]).labels
    if len(labels) < count:
        raise SystemExit(f"only {len(labels)} of the pairs have a winner")
    write_pairs(file, {"train": labels[:count]}, "jsonl", folder=False)
    return file


if __name__ == "__main__":
    main()
