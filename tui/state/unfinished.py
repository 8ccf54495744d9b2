"""Which run one left unfinished."""

from collections.abc import Sequence
from itertools import chain

from engine.data.pairs import prompt_id
from engine.errors import UserError
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.run_summary import RunSummary
from engine.settings.schema import Settings
from tui.state.run_from_files import take_state
from tui.state.run_view import RunView

RESUMABLE = ("stopped", "interrupted")


def unfinished(runs: Sequence[RunSummary]) -> RunSummary | None:
    """The run that was worked on last, where it has steps or labels and can be gone on with."""
    dated = [(run.updated, run.name, run) for run in runs if run.updated]
    newest = max(dated, key=lambda each: each[:2])[2] if dated else None
    if newest is None or newest.status not in RESUMABLE or not (newest.step or newest.pairs):
        return None
    return newest


def how_far(run: RunSummary) -> str:
    """`18 of 100`: verdicts of a run that a person judges, else steps; reads the run's files."""
    done, total = run.step or 0, run.total_steps or 0
    if run.judge == "human":
        folder, view = Run(run.path), RunView()
        try:
            settings = folder.settings()
            take_state(view, folder.state(), has_holder=False)
        except UserError:
            done = run.pairs or 0
        else:
            done, total = _verdicts(folder, settings, run), view.own_steps * settings.batch_size
    return f"{done:,} of {total:,}" if total else f"step {done:,}"


def _verdicts(folder: Run, settings: Settings, run: RunSummary) -> int:
    """The prompts that have a verdict, one of which may have made several pairs."""
    if settings.completions == 2 or settings.pairs_per_pick == "one":
        return run.pairs or 0
    records = chain(folder.read(PAIRS), folder.read(UNDECIDED))
    return len({prompt_id(str(each.get("pair_id"))) for each in records})
