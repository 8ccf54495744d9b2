"""The run that another process trains now.

Only its small files are read: run.json, progress.json, and what a person was asked since the last
checkpoint or, where a model judges too, how many pairs wait.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from engine.data.pairs import prompt_id
from engine.errors import UserError
from engine.events import UNDER_WAY
from engine.json_number import whole
from engine.runs import remote
from engine.runs.archive import runs_root
from engine.runs.folder import LOCK, PAIRS, SAMPLED, UNDECIDED, Run
from engine.runs.lock import Holder, holder
from engine.settings.judge_names import HYBRID
from tui.state.live_run import LiveRun, live_run
from tui.state.run_from_files import take_state
from tui.state.run_view import RunView

RECENT = 512  # of the newest judged pairs, that may be of a batch that waits


def live_elsewhere(root: Path | None = None) -> LiveRun | None:
    """The run that another process trains, the one that began last of several. Never raises."""
    now: list[tuple[str, LiveRun]] = []
    for path in _folders_elsewhere(root or runs_root()):
        run = Run(path)
        try:
            state = run.state()
        except UserError:
            continue
        if state.get("status") not in UNDER_WAY:
            continue
        view = RunView(run.name)
        take_state(view, state, has_holder=True)
        alone, shared = view.judge == "human", view.judge == HYBRID
        waiting = _waiting(run, view.step) if alone else remote.waiting(run) if shared else 0
        live = live_run(view, path, alone or shared, waiting, here=False)
        now.append((str(state.get("created") or ""), live))
    return max(now, key=lambda each: each[0])[1] if now else None


def is_elsewhere(holder: Holder | None) -> bool:
    """Whether another process than this one holds a run."""
    if holder is None:
        return False
    return (holder.pid, holder.host) != (os.getpid(), socket.gethostname())


def _folders_elsewhere(root: Path) -> Iterator[Path]:
    """The folders of runs that another process holds."""
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            path = Path(entry.path)
            if is_elsewhere(holder(path / LOCK)):
                yield path


def _waiting(run: Run, step: int) -> int:
    """How many pairs of batches after `step` a person was asked about and has not judged."""
    asked = {
        pair.get("pair_id")
        for line in run.read(SAMPLED)
        if whole(line.get("step")) > step and isinstance(line.get("pairs"), list)
        for pair in line["pairs"]
        if isinstance(pair, dict)
    }
    if not asked:
        return 0
    lines = [line for file in (PAIRS, UNDECIDED) for line in run.last(file, RECENT)]
    return len(asked - {prompt_id(str(line.get("pair_id"))) for line in lines})
