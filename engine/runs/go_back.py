"""Going back: a run becomes what it was at an earlier checkpoint, to go on from there.

Later checkpoints, and what later steps wrote, go. A person's labels of later steps stay in the
run's files, set aside under another id, so that no pair that is sampled anew is taken for theirs.
What is to be done is written down first, so that a kill in the middle leaves something to finish.
"""

import re
from collections.abc import Iterable

from engine.errors import UserError
from engine.events import EVAL_WIN_RATE, WIN_RATE
from engine.json_number import finite, whole
from engine.runs import durable, plan_file
from engine.runs.checkpoints import checkpoint_damage
from engine.runs.folder import METRICS, PAIRS, SAMPLED, UNDECIDED, Run, seconds_taken
from engine.runs.json_lines import Record

PLANNED = "going_back.json"
PLAN_LIMIT = 1 << 16  # bytes
AFTER_THE_END = ("test", "kept")  # splits of win rates that are measured after the last step
_SET_ASIDE = re.compile(r"(.+)~(\d+)")


def check(run: Run, step: int, *, force: bool = False) -> None:
    """Whether the run has a checkpoint of a step to go back to.

    Args:
        force: even where the best checkpoint is a later one, which goes.

    Raises:
        UserError: it has none that is intact, or going back would lose the best.
    """
    steps = [int(each.name) for each in run.checkpoints()]
    if step not in steps:
        some = f"its checkpoints are of {_steps(steps)}" if steps else "it has no checkpoint"
        raise UserError(f"the run {run.name!r} has no checkpoint of step {step}: {some}")
    folder = next(each for each in run.checkpoints() if int(each.name) == step)
    if damage := checkpoint_damage(folder):
        raise UserError(f"the checkpoint of step {step} is damaged: {damage}")
    total = run.state().get("total_steps")
    if isinstance(total, int) and step >= total:
        raise UserError(f"step {step} is the last of {run.name!r}: there is none to go on with")
    best = run.best()
    if best and step < best.step and not force:
        raise UserError(
            f"step {step} is before step {best.step}, the best ({best.win_rate:.0%}), whose "
            "checkpoint would go: export it first, then say --force"
        )


def go_back(run: Run, step: int) -> None:
    """Take the run back to its checkpoint of a step, with the lock held.

    Raises:
        UserError: it has no such checkpoint.
        StorageError: it is as it was, or the rest is done when the run is opened next.
    """
    check(run, step, force=True)
    # A run that is over is one that can be gone on with, from here on.
    run.update(status="stopped", ended=None, error=None)
    mark = 1 + max((_mark(line) for file in _LABELS for line in run.read(file)), default=0)
    plan_file.write(run, PLANNED, {"step": step, "mark": mark})
    settle(run)


def settle(run: Run) -> str | None:
    """Finish a going back that was planned, with the lock held; a sentence if there was one.

    Raises:
        StorageError: it is still to be finished.
    """
    plan = planned(run)
    if plan is None:
        return None
    step, mark = plan
    for checkpoint in reversed(run.checkpoints()):
        if int(checkpoint.name) > step:
            durable.remove_folder(checkpoint)
    # Batches that a person was asked about since the newest checkpoint were sampled by weights
    # that are gone; those that waited at the step are in its checkpoint.
    run.rewrite(SAMPLED, lambda line: None)
    for file in _LABELS:
        run.rewrite(file, lambda line: _set_aside(line, step, mark))
    run.rewrite(METRICS, lambda line: line if _is_of(line, step) else None)
    _tell(run, step)
    plan_file.remove(run, PLANNED)
    return (
        f"the run went back to step {step}; what came after it is gone, but for a person's labels"
    )


def planned(run: Run) -> tuple[int, int] | None:
    """The step of a going back that is to be finished, and the mark of the labels that it sets
    aside; None: there is none.

    Raises:
        StorageError: it cannot be read.
    """
    plan = plan_file.read(run, PLANNED, PLAN_LIMIT)
    step, mark = finite(plan.get("step")), finite(plan.get("mark"))
    return None if step is None or mark is None else (int(step), int(mark))


def is_set_aside(pair_id: str) -> bool:
    """Whether this is the id of a label of a step that the run went back from."""
    return _SET_ASIDE.fullmatch(pair_id) is not None


_LABELS = (PAIRS, UNDECIDED)


def _set_aside(line: Record, step: int, mark: int) -> Record | None:
    """A line of a later step: nothing but for a person's label, which gets another id."""
    if whole(line.get("step")) <= step:
        return line
    if line.get("keep") is not True or line.get("choice") == "unanswered":
        return None
    pair_id = str(line.get("pair_id"))
    return line if is_set_aside(pair_id) else {**line, "pair_id": f"{pair_id}~{mark}"}


def _mark(line: Record) -> int:
    match = _SET_ASIDE.fullmatch(str(line.get("pair_id")))
    return int(match[2]) if match else 0


def _is_of(line: Record, step: int) -> bool:
    """Whether a line of metrics was written up to a step, and not after the end of the run."""
    return whole(line.get("step")) <= step and line.get("split") not in AFTER_THE_END


def _tell(run: Run, step: int) -> None:
    """Let run.json tell of the step, and of what was measured up to it."""
    names = (*WIN_RATE, *EVAL_WIN_RATE)
    rates: Record = dict.fromkeys((*names, "win_rate_step"))
    seconds, report = 0.0, Record()
    for line in run.read(METRICS):
        seconds = seconds_taken(line) or seconds
        report = report if "split" in line else line
        if any(finite(line.get(name)) is not None for name in names):
            rates = {name: line.get(name) for name in names} | {"win_rate_step": line.get("step")}
    pairs = sum(1 for file in _LABELS for _ in run.read(file))
    run.advance(step=step, pairs=pairs, seconds=seconds)
    run.update(
        **rates,
        loss=report.get("loss"),
        metrics={name: value for name, value in report.items() if value is not None},
        examples=[],
        health=[],
        guard=[],
        guard_step=None,
        step=step,
        pairs=pairs,
        seconds=seconds,
    )


def _steps(steps: Iterable[int]) -> str:
    return ", ".join(f"step {step}" for step in sorted(steps))
