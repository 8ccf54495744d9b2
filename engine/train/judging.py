"""The judge of a run, by what its settings name: opened before models are loaded where it is
elsewhere, so that one that is not there is told of at once."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
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
from engine.judges.several import SeveralJudges
from engine.model.reward import RewardModel
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.roles import JudgeModel

DIGESTS = "judge_sha256"  # of judges' files by name, in run.json


@dataclass(frozen=True, slots=True)
class Judging:
    """The judge of a run that is no person: as it judges the run's batches, and the pairs of an
    evaluation. Often both are one."""

    batches: Judge
    pairs: PairJudge


@contextlib.contextmanager
def judges_elsewhere(
    settings: Settings, journal: Journal, control: Control
) -> Iterator[dict[str, PairJudge]]:
    """The judges of a run that are no models of this machine and no person, by their names, for as
    long as the context lasts.

    Raises:
        UserError: one is not there, or cannot judge.
        LoadingStopped: asked to stop.
    """
    judges: dict[str, PairJudge] = {}
    with contextlib.ExitStack() as opened:

        def opening(judge: ServerJudge | FunctionJudge) -> PairJudge:
            opened.enter_context(contextlib.closing(judge))
            try:
                judge.open()
            except Interrupted:
                control.raise_if_stopping()
                raise
            return judge

        for name in settings.judge_names("server"):
            judges[name] = by_criteria(
                settings, lambda each, name=name: opening(_server(each, name, journal, control))
            )
        functions = [
            FunctionJudge(settings, name, **_ears(journal, control))
            for name in settings.judge_names("function", "rule")
        ]
        judges |= {judge.name: opening(judge) for judge in functions}
        _tell_of_changes({each.name: each for each in functions}, settings, journal)
        yield judges


def judging_of(
    settings: Settings,
    models: Mapping[str, JudgeModel],
    elsewhere: Mapping[str, PairJudge],
    journal: Journal,
    control: Control,
) -> Judging:
    """The judge that the settings name, several as one; `models` are those on this machine."""
    ears = _ears(journal, control)

    def member(name: str) -> PairJudge:
        if name in elsewhere:
            return elsewhere[name]
        model = models[name]
        if isinstance(model, RewardModel):
            return RewardJudge(model, settings, name, **ears)
        return by_criteria(settings, lambda each: LLMJudge(model, each, **ears))

    # A model's own name is the setting's.
    members = [member(name) for name in settings.judges]
    weights = settings.judge_weights or [1.0] * len(members)
    judge = members[0]
    if len(members) > 1:
        judge = SeveralJudges(members, weights, settings, settings.judge)
    if isinstance(judge, ServerJudge):
        return Judging(judge, judge)
    return Judging(QueuedJudge(judge), judge)


def by_criteria(settings: Settings, make: Callable[[Settings], PairJudge]) -> PairJudge:
    """A judge by the rubric of the settings, or by each of their criteria apart.

    Since no criterion sees what another was answered, their order changes nothing.
    """
    if not settings.judge_criteria:
        return make(settings)
    judges = [
        make(settings.model_copy(update={"judge_system": criterion["text"]}))
        for criterion in settings.judge_criteria
    ]
    weights = [float(criterion.get("weight", 1)) for criterion in settings.judge_criteria]
    return SeveralJudges(judges, weights, settings, judges[0].name)


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


def _server(settings: Settings, address: str, journal: Journal, control: Control) -> ServerJudge:
    return ServerJudge(
        settings,
        address,
        progress=lambda done, total: journal.progress("judging", done, total, "pairs"),
        stop=lambda: control.stopping,
        tell=journal.log,
        wake=control.wake,
    )


def _tell_of_changes(
    functions: Mapping[str, FunctionJudge], settings: Settings, journal: Journal
) -> None:
    """Keep the digests of a person's files, and name those that changed since the run began."""
    before = journal.run.state().get(DIGESTS)
    before = before if isinstance(before, dict) else {}
    now = {name: functions[name].digest for name in settings.judge_names("function")}
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            journal.log(
                "warning",
                f"judge: {functions[name].file} has changed since the run began; from here on "
                "pairs are judged by what it says now",
            )
    if now != before:
        journal.update(**{DIGESTS: now})
