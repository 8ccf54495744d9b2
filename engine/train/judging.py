"""The judge of a run, by what its settings name: opened before models are loaded where it is
elsewhere, so that one that is not there is told of at once."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.errors import UserError
from engine.judges import Judge, PairJudge
from engine.judges.contest import Choosing
from engine.judges.function import FunctionJudge
from engine.judges.human import HumanJudge
from engine.judges.hybrid import HybridJudge
from engine.judges.llm import LLMJudge
from engine.judges.picks import Picking
from engine.judges.queued import QueuedJudge
from engine.judges.reward import RewardJudge
from engine.judges.server import ServerJudge
from engine.judges.several import SeveralJudges
from engine.model.reward import RewardModel
from engine.settings.judge_names import judge_kind
from engine.settings.judge_roles import evaluator, training_judge
from engine.settings.schema import Settings
from engine.train.function_files import tell_of_changes
from engine.train.journal import Journal
from engine.train.reporting import Measures
from engine.train.roles import JudgeModel
from engine.train.run_labels import RunLabels

Elsewhere = Mapping[str, PairJudge]  # judges that are no models of this machine, by their names


@contextlib.contextmanager
def judges_elsewhere(
    judge: Settings | None, evaluator: Settings | None, journal: Journal, control: Control
) -> Iterator[tuple[Elsewhere, Elsewhere]]:
    """The judges of a run that are neither models on this machine nor a person, for as long as the
    context lasts: those that judge its pairs, and those that only evaluate.

    Args:
        judge: their settings, as `judge_roles` has them; None where there is no such judge.

    Raises:
        UserError: one is not there, or cannot judge.
        LoadingStopped: asked to stop.
    """
    with contextlib.ExitStack() as opened:
        functions: dict[str, FunctionJudge] = {}

        def opening(judge: ServerJudge | FunctionJudge) -> PairJudge:
            opened.enter_context(contextlib.closing(judge))
            try:
                judge.open()
            except Interrupted:
                control.raise_if_stopping()
                raise
            return judge

        def those_of(settings: Settings) -> Elsewhere:
            judges: dict[str, PairJudge] = {}
            for name in settings.judge_names("server"):
                judges[name] = by_criteria(
                    settings, lambda each, name=name: opening(_server(each, name, journal, control))
                )
            for name in settings.judge_names("function", "rule"):
                if name not in functions:
                    functions[name] = FunctionJudge(settings, name, **_ears(journal, control))
                    opening(functions[name])
                judges[name] = functions[name]
            return judges

        judging = those_of(judge) if judge else {}
        try:
            evaluating = those_of(evaluator) if evaluator else {}
        except UserError as error:  # which begins with the name of a setting
            raise UserError(f"eval_{error}") from error
        files = {
            name: each.file for name, each in functions.items() if judge_kind(name) == "function"
        }
        tell_of_changes(journal, "judge", files, "pairs are judged by what it says")
        yield judging, evaluating


@dataclass(frozen=True, slots=True)
class Judging:
    """Who judges a run. `batches` judges the pairs that are trained on, `person` is who is asked
    about them, if anybody is; `evaluators` measure the win rate, the run's own judge first;
    `measures` are what the judge tells of itself."""

    batches: Judge
    person: HumanJudge | None
    evaluators: list[PairJudge]
    measures: Measures | None = None


def judging_of(
    settings: Settings,
    models: Mapping[str, JudgeModel],
    elsewhere: tuple[Elsewhere, Elsewhere],
    journal: Journal,
    control: Control,
    last_step: int,
    share: Callable[[int, Settings, PairJudge], PairJudge] = lambda at, settings, judge: judge,
) -> Judging:
    """Who judges a run of so many steps, from its loaded models and the judges elsewhere; `share`
    puts ranks before the run's judge (0), or the one that only evaluates (1)."""
    judge, other = (
        each and share(at, each, judge_of(each, models, away, journal, control))
        for at, (each, away) in enumerate(
            zip((training_judge(settings), evaluator(settings)), elsewhere, strict=True)
        )
    )
    evaluators = [each for each in (judge, other) if each]
    if judge is None:
        person = _person(settings, journal, control)
        return Judging(person, person, evaluators)
    if settings.asks_person:
        hybrid = _hybrid(judge, settings, last_step, journal, control)
        return Judging(hybrid, hybrid.person, evaluators, hybrid.both.agreement)
    batches = judge if isinstance(judge, Judge) else QueuedJudge(judge, Choosing.of(settings))
    return Judging(batches, None, evaluators)


def _person(settings: Settings, journal: Journal, control: Control) -> HumanJudge:
    """A person as the judge."""
    return HumanJudge(
        seed=settings.seed,
        undo_seconds=settings.undo_seconds,
        self_check_every=settings.self_check_every,
        labels=RunLabels(journal.run, journal),
        show=journal.emit,
        wake=control.wake,
        picking=Picking.of(settings),
    )


def _hybrid(
    model: PairJudge, settings: Settings, last_step: int, journal: Journal, control: Control
) -> HybridJudge:
    """A model beside a person."""
    if not control.attended:
        journal.log(
            "warning",
            "judge: nobody is here to be asked, so the pairs that the model is not sure of are "
            "left out; in the app they wait in Review",
        )
    return HybridJudge(
        model,
        settings,
        last_step=last_step,
        labels=RunLabels(journal.run, journal),
        show=journal.emit,
        wake=control.wake,
    )


def judge_of(
    settings: Settings,
    models: Mapping[str, JudgeModel],
    elsewhere: Elsewhere,
    journal: Journal,
    control: Control,
) -> PairJudge:
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
    return judge


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
