"""Runs on disk that nobody trained, as the engine writes them."""

import math
import random
from collections.abc import Iterable
from typing import Any

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.runs import archive
from engine.runs.folder import LOG, METRICS, PAIRS, UNDECIDED, Run
from engine.settings.files import preset
from engine.settings.schema import Settings

START = 1_790_000_000.0  # seconds since the epoch
CYCLE = (
    Verdict("first", 0.91, (0.95, 0.87)),
    Verdict("second", 0.2, (0.15, 0.25)),
    Verdict("tie", 0.5, (0.9, 0.1)),
    Verdict("first", 0.6, (0.62, 0.58), note="close", flagged=True),
)


def make_run(
    name: str,
    *,
    steps: int = 40,
    status: str = "finished",
    settings: Settings | None = None,
    pairs: int = 8,
    seed: int = 0,
    **state: Any,
) -> Run:
    """A run of `steps` lines of metrics and `pairs` judged pairs; `state` goes into run.json."""
    base = settings or preset("starter")
    run = archive.create(base.model_copy(update={"run_name": name}))
    lines = list(metrics(steps, seed))
    run.append(METRICS, lines)
    for number in range(pairs):
        each = judged(number)
        run.append(PAIRS if each.decided else UNDECIDED, [each.to_record(base.judge)])
    run.append(
        LOG,
        [
            "2026-09-01T10:00:00.000+00:00 info    loading starter",
            "2026-09-01T10:00:02.000+00:00 warning judge says the same in both orders in 40 %",
            f"2026-09-01T10:01:00.000+00:00 info    step {steps} is done",
        ],
    )
    last = lines[-1] if lines else {}
    known = {
        "status": status,
        "step": steps,
        "total_steps": max(steps, base.iters),
        "pairs": pairs,
        "loss": last.get("loss"),
        "win_rate": 0.71 if lines else None,
        "win_rate_low": 0.65 if lines else None,
        "win_rate_high": 0.77 if lines else None,
        "seconds": steps * 0.9,
        "created": "2026-09-01T10:00:00.000+00:00",
    }
    run.update(**{**known, **state})
    return run


def metrics(steps: int, seed: int = 0) -> Iterable[dict[str, Any]]:
    """Lines of a run that learns."""
    chance = random.Random(seed)
    for step in range(1, steps + 1):
        grown = 1 - math.exp(-step / 25)
        line: dict[str, Any] = {
            "step": step,
            "loss": 0.69 - 0.35 * grown + 0.03 * chance.random(),
            "margin": 1.4 * grown + 0.1 * chance.random(),
            "accuracy": 0.5 + 0.35 * grown,
            "kl": 2.1 * grown,
            "completion_tokens": 40 + 5 * chance.random(),
            "eos_rate": 0.97,
            "judge_q": 0.8,
            "swap_consistency": 0.92,
            "grad_norm": 0.6,
            "learning_rate": 3e-4,
            "sampled_tokens_per_second": 412.0,
            "step_seconds": 0.9,
            "peak_memory_gb": 0.4,
            "seconds": step * 0.9,
        }
        if step % 10 == 0:
            rate = 0.5 + 0.35 * grown
            line |= {"win_rate": rate, "win_rate_low": rate - 0.06, "win_rate_high": rate + 0.06}
        yield line


def judged(number: int) -> JudgedPair:
    """The `number`th pair of a run, and its verdict."""
    first, second = f"It is Paris, dear friend ({number}).", f"Rome. Why ask ({number})?"
    pair = Pair(
        pair_id=f"{number + 1:07d}-000",
        step=number + 1,
        weights_step=number,
        prompt=f"What is the capital of France ({number})?",
        prompt_ids=(1, 2, 3),
        first=first,
        second=second,
        first_ids=tuple(range(9)),
        second_ids=tuple(range(7)),
        first_finished=True,
        second_finished=number % 3 != 0,
    )
    return JudgedPair(pair, CYCLE[number % len(CYCLE)])
