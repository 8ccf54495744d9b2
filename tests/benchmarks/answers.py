"""Two, four or eight answers a prompt: which learns more from as many judgements, and in as much
time?

    python -m tests.benchmarks.answers [--answers 4 8] [--rejected worst low] [--seeds 0 1 2]

Trains the starter's preset with two answers a prompt to its end, which says how many judgements of
two answers in both orders and how much time of the processor there is. With more answers the same
preset is then trained until it has used as many judgements, and as much time. Prints for each how
many held-out prompts its answers win by the programmatic truth against the start's, as
`starter_quality` does, and how many are well-formed. Sampling, judging and updates count as time;
evaluations and the guard are left out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from engine.events import RunStarted, StepDone
from engine.machine.blas import load_fast_blas
from engine.session import Session
from engine.settings.files import preset
from engine.settings.schema import Settings
from tests.benchmarks.starter_quality import truth_of

ENDLESS = 100_000  # steps
QUIET = {"steps_per_eval": -1, "test": False, "guard": "off", "collapse_watch": "off"}


@dataclass
class Spent:
    """What a run has used."""

    steps: int = 0
    judgements: int = 0
    seconds: float = 0.0  # of the processor, in training


def main() -> None:
    """Print a line for each run and budget."""
    parser = argparse.ArgumentParser(description="Two, four or eight answers a prompt.")
    parser.add_argument("--answers", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--rejected", nargs="*", default=["worst"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--iters", type=int, help="steps with two answers; the preset's by default")
    options = parser.parse_args()
    load_fast_blas()
    print("seed  answers  rejected  the same    steps  judgements  seconds  truth  well-formed")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as home:
            os.environ["LORA_STUDIO_HOME"] = home
            iters = options.iters or preset("starter").iters
            budget = Spent()
            for spent, folder in trained(seed, {}, [after(iters)]):
                tell(seed, 2, "–", "both", spent, folder)
                budget = spent
            for count in options.answers:
                for rejected in options.rejected:
                    changes = {"completions": count, "rejected": rejected}
                    compare(seed, changes, budget)


def after(steps: int) -> Callable[[Spent], bool]:
    """Whether so many steps were taken."""
    return lambda spent: spent.steps >= steps


def compare(seed: int, changes: dict[str, Any], budget: Spent) -> None:
    """Train until each of the two budgets is used, the smaller one first."""
    limits = ("judgements", "seconds")
    left = set(limits)

    def used(spent: Spent) -> bool:
        return any(getattr(spent, each) >= getattr(budget, each) for each in left)

    for spent, folder in trained(seed, changes, [used, used]):
        now = {each for each in left if getattr(spent, each) >= getattr(budget, each)}
        tell(seed, changes["completions"], changes["rejected"], " and ".join(now), spent, folder)
        left -= now
        if not left:
            return


def trained(
    seed: int, changes: dict[str, Any], until: list[Callable[[Spent], bool]]
) -> Iterator[tuple[Spent, Path]]:
    """Train the preset until each condition holds in turn; what was used, and the run's folder."""
    values = preset("starter").model_dump() | QUIET | {"fuse": False, "iters": ENDLESS}
    settings = Settings.model_validate(values | changes | {"seed": seed})
    spent, run = Spent(), None
    for condition in until:
        session = Session(settings, run)
        session.start()
        at = time.process_time()  # after the step before
        while session.alive:
            for event in session.drain():
                if isinstance(event, RunStarted):  # all is loaded
                    at = time.process_time()
                if isinstance(event, StepDone) and not session.stopping:
                    now = time.process_time()
                    spent.seconds, at = spent.seconds + now - at, now
                    spent.steps = event.step
                    spent.judgements += round(event.metrics["judgements"])
                    if condition(spent):
                        session.stop()
            session.join(0.005)
        if session.error or session.run is None:
            raise SystemExit(session.error)
        run = session.run
        yield Spent(**vars(spent)), run.path


def tell(seed: int, answers: int, rejected: str, same: str, spent: Spent, folder: Path) -> None:
    """Print how good the policy is that a run has reached."""
    quality = truth_of(folder, keep="last")
    print(
        f"{seed:4}  {answers:7}  {rejected:8}  {same:10}  {spent.steps:5}  {spent.judgements:10,}  "
        f"{spent.seconds:7.1f}  {quality['truth']:5.3f}  {quality['well-formed']:5.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
