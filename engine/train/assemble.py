"""Puts a run together from its settings, trains it, and leaves its results, stage by stage.

Everything here happens on the thread that trains, which MLX belongs to.
"""

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.compute.sampling import Sampler
from engine.control import Control
from engine.data.order import PromptOrder, total_steps
from engine.data.prompts import Prompt, PromptSet
from engine.data.recorded_pairs import RecordedPair
from engine.data.rendering import render_prompt
from engine.errors import CannotGoOn, NothingLearned
from engine.events import Event, RunStarted
from engine.judges import PairJudge
from engine.judges.human import HumanJudge
from engine.judges.hybrid import HybridJudge
from engine.machine.device import configure_mlx, device
from engine.model.adapters import count_parameters
from engine.model.language_model import LanguageModel
from engine.runs import go_back
from engine.runs.folder import METRICS, PAIRS, UNDECIDED, Run
from engine.runs.go_back import AFTER_THE_END
from engine.runs.json_lines import Record
from engine.runs.relabel import settle
from engine.settings.judge_roles import evaluator, training_judge
from engine.settings.schema import Settings
from engine.train.earlier_labels import EarlierLabels
from engine.train.evaluation import Evaluation
from engine.train.finish import finish
from engine.train.journal import Journal
from engine.train.judging import Elsewhere, Judging, judges_elsewhere, judging_of
from engine.train.loading import load
from engine.train.online_dpo import Trainer
from engine.train.optimizers import build_optimizer
from engine.train.ranks import Ranks, ranks_of
from engine.train.ranks.refusal import refusals_told
from engine.train.roles import Roles
from engine.train.state import TrainingState
from engine.train.update import Update
from engine.train.upkeep import Upkeep
from engine.train.warm_start import WarmStart, load_warm_start
from engine.train.watch.advice import fitting
from engine.train.watch.findings import nothing_learned
from engine.train.watch.guard import Guard, suites_of
from engine.train.watch.guard_function import answers_rated


@dataclass(frozen=True, slots=True)
class Outcome:
    """The policy that the run keeps, and whether it is over: every step was taken, or it ended
    before by itself."""

    policy: LanguageModel
    finished: bool


def train(
    settings: Settings,
    run: Run,
    control: Control,
    emit: Callable[[Event], None],
    on_person: Callable[[HumanJudge], None] = lambda judge: None,
    back_to: int | None = None,
) -> Outcome:
    """Train a run from its latest checkpoint, or from the start.

    Args:
        back_to: the step of an earlier checkpoint to go on from.
        on_person: given the judge of a run that a person judges, to hand answers to.

    Raises:
        UserError: settings, models or data do not serve; says what to do.
        NothingLearned: every step was taken, and there was no pair to learn from.
        CannotGoOn: it has stopped with a checkpoint, and nobody is there to help it.
        StorageError: the disk refused to the end.
        LoadingStopped: asked to stop before the training began; nothing was changed.
    """
    configure_mlx()
    journal = Journal(run, emit, control)
    with refusals_told():
        for repaired in [*run.repair(), *filter(None, [settle(run), go_back.settle(run)])]:
            journal.log("warning", repaired)
        suites = suites_of(settings)
    judge, others = training_judge(settings), evaluator(settings)
    with (
        ranks_of(settings, journal, control) as ranks,
        judges_elsewhere(judge, others, journal, control) as elsewhere,
        answers_rated(settings, journal, control) as rate,
    ):
        guard = Guard(
            suites,
            settings,
            rate=rate,
            sample=ranks.sample,
            progress=lambda done, total: journal.progress("evaluating", done, total, "tokens"),
            stop=lambda: control.stopping,
        )
        return _train(settings, run, control, journal, ranks, elsewhere, guard, on_person, back_to)


def _train(
    settings: Settings,
    run: Run,
    control: Control,
    journal: Journal,
    ranks: Ranks,
    elsewhere: tuple[Elsewhere, Elsewhere],
    guard: Guard,
    on_person: Callable[[HumanJudge], None],
    back_to: int | None,
) -> Outcome:
    prompts, roles = load(settings, run, journal, control)
    ranks.serve(roles)
    warm_start = load_warm_start(settings, run, roles.policy, journal, control)
    last_step = warm_start.steps + total_steps(settings, len(prompts.train))
    judging = judging_of(
        settings, roles.judges, elsewhere, journal, control, last_step, ranks.judge
    )
    if judging.person:
        on_person(judging.person)
    evaluations = _evaluations(
        settings, roles, judging.evaluators, prompts, ranks, journal, control
    )
    trainer = _trainer(
        settings,
        roles,
        judging,
        prompts,
        warm_start,
        ranks,
        evaluations,
        guard,
        journal,
        control,
        steps=last_step,
    )
    control.begin()
    if back_to is not None:
        journal.persist(lambda: go_back.go_back(run, back_to))
        journal.log("info", f"the run goes back to step {back_to}")
    resumed = _restore(run, trainer, journal, went_back=back_to is not None)
    ranks.spread(trainer.update)
    if ranks.size > 1 or "ranks" in run.state():
        journal.update(ranks=ranks.size)
    _announce(run, trainer, prompts, journal, resumed=resumed)
    with _loaded_left_uncollected():
        finished = trainer.train()
        finished = finish(settings, run, trainer, journal, ranks, finished=finished)
        trainer.upkeep.at_end()
    if ranks.lost and not finished:
        raise CannotGoOn(
            f"stopped with a checkpoint of step {trainer.state.step}: {ranks.lost}; "
            f"`lora-studio resume {run.name}` goes on, with any number of ranks"
        )
    if trainer.upkeep.halted:
        raise CannotGoOn(trainer.upkeep.halted)
    if finished and (unused := nothing_learned(trainer.state.health)):
        raise NothingLearned(f"{unused.text}. {fitting(unused, settings).advice}")
    return Outcome(roles.policy, finished)


# -- evaluating ------------------------------------------------------------------------------------


def _evaluations(
    settings: Settings,
    roles: Roles,
    judges: Sequence[PairJudge],
    prompts: PromptSet,
    ranks: Ranks,
    journal: Journal,
    control: Control,
) -> dict[str, Evaluation]:
    """The evaluations of a run by split, where the settings ask for them."""

    def evaluation(
        prompts: Sequence[Prompt], batches: int, purpose: str = "evaluation"
    ) -> Evaluation:
        measured = prompts if batches < 0 else prompts[: batches * settings.batch_size]
        return Evaluation(
            roles.reference,
            judges,
            sample=ranks.sample,
            prompts=measured,
            prompt_ids=[
                render_prompt(roles.policy.tokenizer, prompt, settings, settings.prompt_tokens)
                for prompt in measured
            ],
            sampler=Sampler.of(settings),
            max_tokens=settings.max_completion_length,
            seed=settings.seed,
            purpose=purpose,
            progress=lambda done, total: journal.progress("evaluating", done, total, "tokens"),
            stop=lambda: control.stopping,
        )

    evaluations: dict[str, Evaluation] = {}
    if not judges:
        return evaluations
    if prompts.held_out and settings.steps_per_eval > 0 and settings.val_batches:
        evaluations["valid"] = evaluation(prompts.held_out, settings.val_batches)
        evaluations["kept"] = evaluation(prompts.held_out, settings.val_batches, "kept")
    if prompts.test and settings.test and settings.test_batches:
        evaluations["test"] = evaluation(prompts.test, settings.test_batches)
    return evaluations


# -- training --------------------------------------------------------------------------------------


def _trainer(
    settings: Settings,
    roles: Roles,
    judging: Judging,
    prompts: PromptSet,
    warm_start: WarmStart,
    ranks: Ranks,
    evaluations: Mapping[str, Evaluation],
    guard: Guard,
    journal: Journal,
    control: Control,
    *,
    steps: int,
) -> Trainer:
    """The loop of a run of so many steps, at its start."""
    order = PromptOrder(len(prompts.train), settings.seed)
    state = TrainingState(order, sampled=warm_start.steps)

    def progress(done: int, total: int, share: float | None) -> None:
        if state.step <= warm_start.steps:
            learned = warm_start.learned(state.step - 1)
            journal.progress("warming", learned + done, warm_start.count, "pairs")
        else:
            journal.progress("updating", done, total, "pairs", share)

    # Gradients of the warm start's last step do not wait for those of the run's own steps.
    parts = (warm_start.steps, steps - warm_start.steps)
    updates = sum(math.ceil(part / settings.gradient_accumulation_steps) for part in parts)

    def make(kind: Callable[..., Update]) -> Update:
        return kind(
            roles.policy,
            roles.reference,
            settings,
            build_optimizer(settings, updates),
            progress,
            lambda: control.stopping,
            lambda text: journal.log("warning", text),
        )

    update = ranks.update(make, updates)
    upkeep = Upkeep(
        settings,
        state=state,
        total_steps=steps,
        update=update,
        judge=judging.batches,
        evaluations=evaluations,
        guard=guard,
        journal=journal,
        control=control,
        measures=judging.measures,
        step_measures=ranks.step_measures,
    )
    return Trainer(
        settings,
        policy=roles.policy,
        judge=judging.batches,
        prompts=prompts.train,
        total_steps=steps,
        update=update,
        state=state,
        upkeep=upkeep,
        journal=journal,
        warm_start=warm_start,
        sample=ranks.sample,
    )


def _restore(run: Run, trainer: Trainer, journal: Journal, *, went_back: bool) -> bool:
    """Take the run's files and its trainer back to the newest checkpoint, if there is one."""
    checkpoint = run.latest_checkpoint()
    reached = int(checkpoint.name) if checkpoint else -1
    for file in (METRICS, PAIRS, UNDECIDED):
        run.keep_until(file, reached)
    lines = [line for file in (PAIRS, UNDECIDED) for line in run.read(file)]
    journal.labelled = {str(line.get("pair_id")) for line in lines}
    journal.pairs = len(journal.labelled)
    journal.earlier = EarlierLabels(run, journal.layout)
    answered = [line for line in lines if {"pair_id", "choice"} <= line.keys()]
    if isinstance(trainer.judge, HumanJudge):
        labels = map(RecordedPair.from_record, answered)
        trainer.judge.restore({label.pair_id: label.verdict for label in labels})
    elif isinstance(trainer.judge, HybridJudge):
        trainer.judge.restore(answered)
    trainer.upkeep.restore(checkpoint, went_back=went_back)
    # What is measured after the last step is measured again; and so is the step that was reached,
    # where its evaluation came after its checkpoint.
    again = (reached, "valid") if trainer.upkeep.evaluates_first else None

    def unless_measured_again(line: Record) -> Record | None:
        split = line.get("split")
        return None if split in AFTER_THE_END or (line.get("step"), split) == again else line

    run.rewrite(METRICS, unless_measured_again)
    return checkpoint is not None


def _announce(
    run: Run, trainer: Trainer, prompts: PromptSet, journal: Journal, *, resumed: bool
) -> None:
    """Say that the training begins, or goes on."""
    step, total_steps = trainer.state.step, trainer.total_steps
    trainable, total = count_parameters(trainer.policy.model)
    journal.emit(
        RunStarted(
            name=run.name,
            folder=str(run.path),
            step=step,
            total_steps=total_steps,
            device=device().name,
            trainable_parameters=trainable,
            total_parameters=total,
            prompts=len(prompts.train),
            dropped_prompts=prompts.dropped,
            pairs=journal.pairs,
            warm_steps=trainer.warm_start.steps,
            seconds=trainer.state.elapsed,
        )
    )
    journal.update(status="running", total_steps=total_steps, error=None, ended=None)
    at = f"step {step} of {total_steps}"
    if not resumed and not journal.pairs:
        journal.log("info", f"{at}: training begins")
        return
    waiting = sum(map(len, trainer.judge.pending()))
    journal.log(
        "info",
        f"{at}: training goes on; {journal.pairs:,} labels are kept, "
        f"{waiting:,} pairs wait to be judged or learned from",
    )


@contextlib.contextmanager
def _loaded_left_uncollected() -> Iterator[None]:
    """Libraries and models stay for as long as the run. A garbage collection that walks through
    them holds up every thread, the screen's too, for a tenth of a second."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
