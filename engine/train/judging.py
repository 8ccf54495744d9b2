"""The judge of a run, by what its settings name: opened before models are loaded where it is
elsewhere, so that one that is not there is told of at once."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.judges import Judge, PairJudge
from engine.judges.function import FunctionJudge
from engine.judges.llm import LLMJudge
from engine.judges.queued import QueuedJudge
from engine.judges.reward import RewardJudge
from engine.judges.server import ServerJudge
from engine.model.reward import RewardModel
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.roles import Roles

DIGEST = "judge_sha256"  # of a judge's file, in run.json


@dataclass(frozen=True, slots=True)
class Judging:
    """The judge of a run that is no person: as it judges the run's batches, and the pairs of an
    evaluation. Often both are one."""

    batches: Judge
    pairs: PairJudge


@contextlib.contextmanager
def judge_elsewhere(
    settings: Settings, journal: Journal, control: Control
) -> Iterator[Judging | None]:
    """The judge of a run where it is no model of this machine and no person, for as long as the
    context lasts; None where it is one.

    Raises:
        UserError: it is not there, or cannot judge.
        LoadingStopped: asked to stop.
    """
    kinds = settings.judge_kinds
    if kinds.isdisjoint(("server", "function", "rule")):
        yield None
        return
    judge = _server(settings, journal, control) if "server" in kinds else None
    judge = judge or _function(settings, journal, control)
    with contextlib.closing(judge):
        try:
            judge.open()
        except Interrupted:
            control.raise_if_stopping()
            raise
        if isinstance(judge, ServerJudge):
            yield Judging(judge, judge)
        else:
            yield Judging(QueuedJudge(judge), judge)


def model_here(settings: Settings, roles: Roles, journal: Journal, control: Control) -> Judging:
    """The model on this machine that the settings name."""
    assert roles.judge is not None
    if isinstance(roles.judge, RewardModel):
        reward = RewardJudge(roles.judge, settings, settings.judge, **_ears(journal, control))
        return Judging(QueuedJudge(reward), reward)
    judge = LLMJudge(roles.judge, settings, **_ears(journal, control))
    return Judging(judge, judge)


class _Ears(TypedDict):
    """What a judge on this machine tells of its work, and asks of its run."""

    progress: Callable[[int, int], None]
    stop: Callable[[], bool]
    warn: Callable[[str], None]


def _ears(journal: Journal, control: Control) -> _Ears:
    return {
        "progress": lambda done, total: journal.progress("judging", done, total, "pairs"),
        "stop": lambda: control.stopping,
        "warn": lambda text: journal.log("warning", text),
    }


def _server(settings: Settings, journal: Journal, control: Control) -> ServerJudge:
    return ServerJudge(
        settings,
        settings.judge,
        progress=lambda done, total: journal.progress("judging", done, total, "pairs"),
        stop=lambda: control.stopping,
        tell=journal.log,
        wake=control.wake,
    )


def _function(settings: Settings, journal: Journal, control: Control) -> FunctionJudge:
    judge = FunctionJudge(settings, settings.judge, **_ears(journal, control))
    if "function" in settings.judge_kinds:
        before, now = journal.run.state().get(DIGEST), judge.digest
        if before not in (None, now):
            journal.log(
                "warning",
                f"judge: {judge.file} has changed since the run began; from here on pairs are "
                "judged by what it says now",
            )
        if before != now:
            journal.update(**{DIGEST: now})
    return judge
