"""Which run one left unfinished."""

from collections.abc import Sequence

from engine.errors import UserError
from engine.runs.folder import Run
from engine.runs.run_summary import RunSummary

RESUMABLE = ("stopped", "interrupted")


def unfinished(runs: Sequence[RunSummary]) -> RunSummary | None:
    """The run that was worked on last, where it has steps or labels and can be gone on with."""
    dated = [(run.updated, run.name, run) for run in runs if run.updated]
    newest = max(dated, key=lambda each: each[:2])[2] if dated else None
    if newest is None or newest.status not in RESUMABLE or not (newest.step or newest.pairs):
        return None
    return newest


def how_far(run: RunSummary) -> str:
    """`18 of 100`: labels of a run that a person judges, else steps; reads its config."""
    done, total = run.step or 0, run.total_steps or 0
    if run.judge == "human":
        try:
            size = Run(run.path).settings().batch_size
        except UserError:
            size = 1
        done, total = run.pairs or 0, total * size
    return f"{done:,} of {total:,}" if total else f"step {done:,}"
