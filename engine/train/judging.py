"""The judge of a run, by what its settings name: opened before models are loaded where it is
elsewhere, so that one that is not there is told of at once."""

import contextlib
from collections.abc import Iterator

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.judges.llm import LLMJudge
from engine.judges.server import ServerJudge
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.roles import Roles


@contextlib.contextmanager
def judge_elsewhere(
    settings: Settings, journal: Journal, control: Control
) -> Iterator[ServerJudge | None]:
    """The judge of a run where it is no model of this machine and no person, for as long as the
    context lasts; None where it is one.

    Raises:
        UserError: it is not there, or cannot judge.
        LoadingStopped: asked to stop.
    """
    if "server" not in settings.judge_kinds:
        yield None
        return
    judge = ServerJudge(
        settings,
        settings.judge,
        progress=lambda done, total: journal.progress("judging", done, total, "pairs"),
        stop=lambda: control.stopping,
        tell=journal.log,
        wake=control.wake,
    )
    with contextlib.closing(judge):
        try:
            judge.open()
        except Interrupted:
            control.raise_if_stopping()
            raise
        yield judge


def llm_judge(settings: Settings, roles: Roles, journal: Journal, control: Control) -> LLMJudge:
    """The model on this machine that the settings name."""
    assert roles.judge is not None
    return LLMJudge(
        roles.judge,
        settings,
        progress=lambda done, total: journal.progress("judging", done, total, "pairs"),
        stop=lambda: control.stopping,
        warn=lambda text: journal.log("warning", text),
    )
