"""The run that goes on now, as the line about it on every screen tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.events import Evaluated
from tui.state.run_view import RunView

if TYPE_CHECKING:
    from engine.session import Session


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that goes on. `path` is its folder, where it has one already; `here` is whether this
    process trains it; `waiting` are pairs that wait for a person. The name is untrusted."""

    name: str
    path: Path | None
    here: bool
    human: bool
    paused: bool
    step: int
    total_steps: int
    seconds_left: float | None
    evaluation: Evaluated | None
    waiting: int


def live_here(session: "Session | None", view: RunView | None) -> LiveRun | None:
    """The run that trains in this process, if one does."""
    if session is None or view is None or not session.alive:
        return None
    human = session.settings.asks_person
    path = session.run.path if session.run else None
    return live_run(view, path, human, len(session.waiting()) if human else 0, here=True)


def live_run(view: RunView, path: Path | None, human: bool, waiting: int, *, here: bool) -> LiveRun:
    """What a view of a run that goes on tells of it."""
    return LiveRun(
        name=view.name,
        path=path,
        here=here,
        human=human,
        paused=view.status == "paused" and bool(view.total_steps),
        step=view.step,
        total_steps=view.total_steps,
        seconds_left=view.seconds_left(),
        evaluation=None if view.only_start_measured else view.evaluation,
        waiting=waiting,
    )
