"""This program and its peers, measured side by side: `python -m tests.benchmarks.peers`.

Needs the extra `bench` (mlx-lm-lora, TRL, PyTorch), but for `real`, `flat`, `roofline` and
`starter`, which measure this program alone. Each contestant is a process of its own that
keeps its model; they take steps in turns, on one machine, with the same random weights, prompts,
rubric, lengths, number of threads and, but where the table says otherwise, the same BLAS.
`workers/` says of each what of it is run.

    --only step,memory     some of the sections: step, medium, long, memory, real, flat, judge,
                           roofline, starter
    --quick                few rounds: to see that it works, not to quote
    --threads N            for every contestant
    --backend mlx          this program without numpy, as on a GPU; `step` has other goals then
    --json FILE            the figures behind the table
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.machine.device import cores
from engine.runs.folder import METRICS, Run
from tests.benchmarks.contest import Contestant, Setting, alternate
from tests.benchmarks.random_model import MEDIUM, QWEN3_06B, SMALL, STARTER

PHASES = ("step", "sample", "judge", "update", "processor")


@dataclass(frozen=True)
class Goal:
    """A line of the table: a ratio, and what it has to be."""

    what: str
    goal: str
    value: float
    reached: bool | None  # None: shown for information

    @classmethod
    def most(cls, what: str, most: float, value: float) -> "Goal":
        return cls(what, f"at most {most:g}", value, value <= most)

    @classmethod
    def least(cls, what: str, least: float, value: float) -> "Goal":
        return cls(what, f"at least {least:g}", value, value >= least)

    @classmethod
    def shown(cls, what: str, value: float) -> "Goal":
        return cls(what, "", value, None)


@dataclass
class Bench:
    """What the command line asked for, and what was found."""

    folder: Path
    quick: bool
    threads: int
    goals: list[Goal]
    figures: dict[str, Any]
    by_mlx: bool = False  # this program computes nothing by numpy

    def contest(
        self, setting: Setting, contestants: list[Contestant], rounds: int
    ) -> list[Contestant]:
        """Let contestants take turns, and keep their figures."""
        rounds = max(1, rounds // 5) if self.quick else rounds
        alternate(setting, contestants, self.folder / setting.name, rounds)
        shape = asdict(setting) | {"parameters": setting.shape.parameters}
        steps = {contestant.name: contestant.steps for contestant in contestants}
        self.figures[setting.name] = {"setting": shape, "steps": steps}
        return contestants


def studio(**options: Any) -> Contestant:
    return Contestant("lora-studio", "studio", options)


def mlx_lm_lora(name: str = "mlx-lm-lora", **options: Any) -> Contestant:
    return Contestant(name, "mlx_lm_lora_peer", options)


def trl() -> Contestant:
    return Contestant("TRL", "trl_peer")


# -- the sections --------------------------------------------------------------------------------


def step(bench: Bench) -> None:
    setting = Setting("step", SMALL, threads=bench.threads)
    ours, same, torch = bench.contest(setting, [studio(), mlx_lm_lora(), trl()], 15)
    most, without_judge = (0.35, 0.90) if bench.by_mlx else (0.33, 0.80)
    versus(bench, "a step", ours, same, most)
    without = ours.median("sample") + ours.median("update")
    name = "sample + score + update without a judge, against TRL"
    bench.goals.append(Goal.most(name, without_judge, without / torch.median("step")))

    setting = Setting("step as installed", SMALL, threads=bench.threads)
    installed = mlx_lm_lora("mlx-lm-lora as it installs", fast_blas=False)
    ours, installed = bench.contest(setting, [studio(), installed], 3)
    versus(bench, "a step, against mlx-lm-lora as it installs", ours, installed, 0.05)


def medium(bench: Bench) -> None:
    setting = Setting("medium", MEDIUM, threads=bench.threads)
    ours, same, torch = bench.contest(setting, [studio(), mlx_lm_lora(), trl()], 3)
    versus(bench, "a step at the 82 M shape", ours, same)
    without = ours.median("sample") + ours.median("update")
    bench.goals.append(
        Goal.shown("sample + score + update, 82 M, against TRL", without / torch.median("step"))
    )


def long(bench: Bench) -> None:
    setting = Setting("long", SMALL, prompt=512, completion=128, threads=bench.threads)
    ours, same, torch = bench.contest(setting, [studio(), mlx_lm_lora(), trl()], 3)
    versus(bench, "a step with prompts of 512 + 128 tokens", ours, same)
    without = ours.median("sample") + ours.median("update")
    bench.goals.append(
        Goal.shown("sample + score + update, long, against TRL", without / torch.median("step"))
    )


def memory(bench: Bench) -> None:
    setting = Setting("memory", MEDIUM, threads=bench.threads)
    ours, peer = bench.contest(setting, [studio(), mlx_lm_lora()], 2)
    ratio = ours.median("peak_bytes") / peer.median("peak_bytes")
    bench.goals.append(Goal.most("peak memory, 82 M, judge = base", 0.45, ratio))


def real(bench: Bench) -> None:
    setting = Setting(
        "real",
        QWEN3_06B,
        pairs=2,
        prompt=256,
        completion=128,
        grad_checkpoint=True,
        threads=bench.threads,
    )
    (ours,) = bench.contest(setting, [studio()], 2)
    ratio = ours.median("peak_bytes") / (4 * setting.shape.parameters)
    bench.goals.append(
        Goal.most("peak memory of a step of Qwen3-0.6B, by its weights", 1.45, ratio)
    )


def flat(bench: Bench) -> None:
    setting = Setting("flat", STARTER, prompt=24, completion=16, threads=bench.threads)
    steps = 100 if bench.quick else 1_000
    ours = studio()
    alternate(setting, [ours], bench.folder / setting.name, steps)
    resident = [each["resident_bytes"] for each in ours.steps]
    bench.figures["flat"] = {"resident_bytes": resident[::10]}
    growth = statistics.median(resident[-50:]) / statistics.median(resident[40:60])
    bench.goals.append(Goal.most(f"memory after {steps} steps, of that after 50", 1.01, growth))


def judge(bench: Bench) -> None:
    """The judge of a step, in both orders, against the peer's, which asks one pair at a time in
    one order. A step of each is taken, and its judging timed."""
    setting = Setting("judge", SMALL, pairs=16, prompt=24, completion=24, threads=bench.threads)
    short = mlx_lm_lora("mlx-lm-lora, one-token answers", judge_tokens=1)
    ours, peer, short = bench.contest(setting, [studio(), mlx_lm_lora(), short], 7)
    rate = peer.median("judge") / ours.median("judge")
    bench.goals.append(Goal.least("pairs a second of the judge, 16 of them", 8, rate))
    rate = short.median("judge") / ours.median("judge")
    bench.goals.append(Goal.shown("the same, where the peer's answer ends after its digit", rate))


def roofline(bench: Bench) -> None:
    """In a process of its own, so that it has the asked number of threads."""
    setting = Setting("roofline", MEDIUM, threads=bench.threads)
    (found,) = bench.contest(setting, [Contestant("lora-studio", "roofline")], 1)
    for what, least in (("update", 0.60), ("decode", 0.50)):
        share = found.median(f"{what} / roofline")
        bench.goals.append(Goal.least(f"{what} at the 82 M shape, of its roofline", least, share))


def starter(bench: Bench) -> None:
    """Seconds of training until an evaluation finds the win rate of 0.85, on all cores."""
    seeds = (0,) if bench.quick else (0, 1, 2)
    seconds = [seconds_to_win(bench.folder / f"seed-{seed}", seed) for seed in seeds]
    bench.figures["starter"] = {"seconds": seconds}
    what = "seconds to a win rate of 0.85 of the starter, the slowest seed"
    bench.goals.append(Goal.most(what, 40, max(seconds)))


def seconds_to_win(home: Path, seed: int) -> float:
    """Of a run of the starter in a process of its own; infinite where it does not get there."""
    program = [sys.executable, "-m", "tui.main", "train", "starter", "--run-name", "run"]
    subprocess.run(
        [*program, "--set", f"seed={seed}", "--set", "fuse=false", "--json"],
        env=os.environ | {"LORA_STUDIO_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    lines = list(Run(home / "runs" / "run").read(METRICS))
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    won = (line["step"] for line in lines if (line.get("win_rate") or 0) >= 0.85)
    return min((seconds[step] for step in won), default=math.inf)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    each.__name__: each
    for each in (step, medium, long, memory, real, flat, judge, roofline, starter)
}


def versus(
    bench: Bench, what: str, ours: Contestant, peer: Contestant, most: float | None = None
) -> None:
    """The ratio of two contestants' steps."""
    ratio = ours.median("step") / peer.median("step")
    bench.goals.append(Goal.most(what, most, ratio) if most else Goal.shown(what, ratio))


# -- the command ---------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure this program and its peers in one run.")
    parser.add_argument(
        "--only", default=",".join(SECTIONS), help="some of the sections: %(default)s"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few rounds: to see that it works, not to quote"
    )
    parser.add_argument(
        "--threads", type=int, default=cores(), help="threads of every contestant, else one a core"
    )
    parser.add_argument("--backend", choices=["mlx"], help="what computes, else what is chosen")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if options.backend == "mlx":
        os.environ["LORA_STUDIO_NUMPY"] = "0"  # for the processes that are measured
    with tempfile.TemporaryDirectory() as folder:
        by_mlx = options.backend == "mlx"
        bench = Bench(Path(folder), options.quick, options.threads, [], {}, by_mlx)
        for name in chosen:
            print(f"{name} ...", flush=True)
            SECTIONS[name](bench)
            if options.json:  # after each, since all of them take long
                save(bench, options.json)
    show(bench)


def save(bench: Bench, path: Path) -> None:
    goals = [asdict(goal) for goal in bench.goals]
    found = {"machine": machine(), "goals": goals, "figures": bench.figures}
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures depend on: the kind of machine, and versions of what is installed."""
    import importlib.metadata

    from engine.machine.device import device

    versions: dict[str, str] = {}
    for name in ("mlx", "mlx-lm", "mlx-lm-lora", "trl", "torch", "transformers", "peft"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"device": device().name, "cores": cores(), "versions": versions}


def show(bench: Bench) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    phases = Table(title="medians, in seconds; processor: of all cores together")
    for column in ("setting", "contestant", *PHASES):
        phases.add_column(
            column, justify="left" if column in ("setting", "contestant") else "right"
        )
    for name, figures in bench.figures.items():
        for contestant, steps in figures.get("steps", {}).items():
            if "sample" in steps[0]:
                medians = (statistics.median(each[phase] for each in steps) for phase in PHASES)
                phases.add_row(name, contestant, *(f"{median:.2f}" for median in medians))
    goals = Table(title="ratios")
    for column in ("what", "goal", "measured", ""):
        goals.add_column(column)
    for goal in bench.goals:
        mark = {True: "reached", False: "not reached", None: ""}[goal.reached]
        goals.add_row(goal.what, goal.goal, f"{goal.value:.3f}", mark)
    console.print(phases, goals)


if __name__ == "__main__":
    main()
