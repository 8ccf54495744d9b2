"""Loads what a run needs, puts it together, trains, and leaves the results.

Everything here happens on the engine's thread, the first import of MLX included.
"""

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.control import Control
from engine.events import Choice, Event, RunStarted
from engine.machine.device import device, import_mlx
from engine.runs.durable import Record
from engine.runs.folder import ADAPTERS, FUSED, METRICS, PAIRS, START, UNDECIDED, Run
from engine.settings.schema import Settings

NICENESS = 10  # of the engine's threads


def work(
    settings: Settings,
    run: Run,
    control: Control,
    emit: Callable[[Event], None],
    on_person: Callable[[Any], None] = lambda judge: None,
) -> bool:
    """`train`, and then let go of what MLX keeps for this thread.

    A process that exits while a finished thread's streams are still there is aborted by MLX.
    """
    import_mlx()
    import mlx.core as mx

    try:
        return train(settings, run, control, emit, on_person)
    finally:
        gc.unfreeze()
        mx.synchronize()
        mx.clear_streams()
        mx.clear_cache()


def step_back() -> None:
    """Let this thread, and those that compute for it, give way to the screen's (on Linux, where
    a thread has a priority of its own)."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def train(
    settings: Settings,
    run: Run,
    control: Control,
    emit: Callable[[Event], None],
    on_person: Callable[[Any], None],
) -> bool:
    """Train a run from its latest checkpoint, or from the start; True when it is finished.

    Args:
        on_person: given the `HumanJudge` of a run that a person judges, to hand answers to.

    Raises:
        UserError: settings, models or data do not serve; says what to do.
        NothingLearned: every step was taken, and there was no pair to learn from.
        CannotGoOn: it has stopped with a checkpoint, and nobody is there to help it.
        StorageError: the disk refused to the end.
        GivenUp: asked to stop before the training began; nothing was changed.
    """
    import mlx.core as mx

    from engine.compute.sampling import stream_seed
    from engine.data.columns import counted
    from engine.data.prompts import load_prompts
    from engine.data.tool_text import takes_tools
    from engine.errors import CannotGoOn, NothingLearned
    from engine.export import write_adapters
    from engine.machine.device import configure_mlx
    from engine.model.adapter_files import start_of
    from engine.model.adapters import count_parameters
    from engine.plan.memory import plan, refusal
    from engine.runs.relabel import settle
    from engine.train.health import nothing_learned
    from engine.train.online_dpo import Trainer
    from engine.train.reporting import Journal
    from engine.train.roles import load_roles

    configure_mlx()
    journal = Journal(run, emit, control)
    for repaired in [*run.repair(), *filter(None, [settle(run)])]:
        journal.log("warning", repaired)
    journal.progress("loading")
    control.go_on_loading()
    if reason := refusal(plan(settings), settings):
        from engine.errors import UserError

        raise UserError(reason)
    control.go_on_loading()
    prompts = load_prompts(settings)
    control.go_on_loading()
    for note in prompts.notes:
        journal.log("info", note)
    mx.random.seed(stream_seed(settings.seed, "adapters"))

    def downloading(name: str) -> None:
        control.go_on_loading()
        journal.log("info", f"downloading {name}")
        journal.progress("downloading")

    start = start_of(run, settings)
    roles = load_roles(settings, downloading, start)
    control.go_on_loading()
    for note in roles.notes:
        journal.log("info", note)
    equipped = sum(bool(prompt.tools) for prompt in prompts.train)
    if equipped and not takes_tools(roles.policy.tokenizer):
        journal.log(
            "warning",
            f"data: {counted(equipped, 'prompt')} asked without tools: the model's chat "
            "template has no place for them",
        )
    if start and start.parent != run.path / START:
        # Kept, so that a resume does not depend on a file that is not the run's.
        journal.stored(lambda: write_adapters(roles.policy.model, settings, run.path / START))
    for change in _computed_otherwise(settings, run, start):
        journal.log("info", change)
    journal.layout = _layout(run, prompts, journal)
    for note in _thinking_notes(settings, roles):
        journal.log("info", note)
    judge, evaluations = _judge(settings, run, roles, prompts, journal, control, on_person)
    trainer = Trainer(
        settings,
        policy=roles.policy,
        reference=roles.reference,
        judge=judge,
        prompts=prompts.train,
        evaluations=evaluations,
        journal=journal,
        control=control,
    )
    control.begin()
    checkpoint = run.latest_checkpoint()
    reached = int(checkpoint.name) if checkpoint else -1
    for file in (METRICS, PAIRS, UNDECIDED):
        run.keep_until(file, reached)
    journal.kept = {
        str(line.get("pair_id")) for file in (PAIRS, UNDECIDED) for line in run.read(file)
    }
    journal.pairs = len(journal.kept)
    # The test comes after the last checkpoint, and is made again.
    run.rewrite(METRICS, lambda line: None if line.get("split") == "test" else line)
    trainer.restore(checkpoint)
    trainable, total = count_parameters(roles.policy.model)
    emit(
        RunStarted(
            name=run.name,
            folder=str(run.path),
            step=trainer.step,
            total_steps=trainer.total_steps,
            device=device().name,
            trainable_parameters=trainable,
            total_parameters=total,
            prompts=len(prompts.train),
            dropped_prompts=prompts.dropped,
            pairs=journal.pairs,
        )
    )
    journal.update(status="running", total_steps=trainer.total_steps, error=None)
    at = f"step {trainer.step} of {trainer.total_steps}"
    if checkpoint or journal.pairs:
        waiting = sum(map(len, judge.pending()))
        journal.log(
            "info",
            f"{at}: training goes on; {journal.pairs:,} labels are kept, "
            f"{waiting:,} pairs wait to be judged or learned from",
        )
    else:
        journal.log("info", f"{at}: training begins")
    # Libraries and models stay for as long as the run. A collection that walks through them holds
    # up every thread, the screen's too, for a tenth of a second.
    gc.collect()
    gc.freeze()
    finished = trainer.train()
    unused = nothing_learned(trainer.health)
    if finished and not unused:
        trainer.test()
    _leave_results(settings, run, roles.policy.model, journal, fuse=finished and not unused)
    if trainer.halted:
        raise CannotGoOn(trainer.halted)
    if finished and unused:
        raise NothingLearned(f"{unused.text}. {unused.advice}")
    return finished


def _computed_otherwise(settings: Settings, run: Run, start: Path | None) -> Iterator[str]:
    """What differs, in a run of an older format that is resumed, from what it would be now or
    from what it was, a sentence each."""
    if run.format >= 2 or run.latest_checkpoint() is None:
        return
    older = "this run was begun by an older version"
    yield f"{older}: what stands beside the prompt column, such as input and tools, is asked now"
    if settings.resume_adapter_file and not start:
        yield f"{older}: its reference stays the model without the adapters that it started from"
    if settings.train_type == "dora" and not settings.reference_model_path:
        yield f"{older}: its reference is now rounded as the policy is, so margins may shift a bit"


def _layout(run: Run, prompts: Any, journal: Any) -> Any:
    """The layout of the run's files of pairs: once it began, what it began with."""
    from engine.data.pairs import layout_for

    state = run.state()
    began = "total_steps" in state
    layout = state.get("pairs_layout") or ("text" if began else layout_for(prompts.train))
    journal.update(pairs_layout=layout)
    return layout


def _thinking_notes(settings: Settings, roles: Any) -> list[str]:
    """What a person should know who asked models to think that know no such mode."""
    from engine.data import chat_template

    if not settings.enable_thinking:
        return []
    asked = [(settings.model, "model", roles.policy)]
    if roles.judge and settings.judge_mode == "generate":
        asked.append((settings.judge, "judge", roles.judge))
    return [
        f"enable_thinking: the chat template of {name} knows no such mode, so it changes nothing "
        f"for the {role}"
        for name, role, lm in asked
        if not chat_template.knows_thinking(lm.tokenizer)
    ]


def leave_thread() -> None:
    """Let go of what MLX holds for this thread; call it last on a thread that used MLX.

    MLX 0.32 starts threads of its own for each thread's streams, and aborts the process at its
    end if they are still there.
    """
    import mlx.core as mx

    if hasattr(mx, "clear_streams"):
        mx.synchronize()
        mx.clear_streams()


def _judge(
    settings: Settings,
    run: Run,
    roles: Any,
    prompts: Any,
    journal: Any,
    control: Control,
    on_person: Callable[[Any], None],
) -> tuple[Any, dict[str, Any]]:
    """The judge of a run, and the evaluations that it serves: none where a person judges."""
    from engine.compute.sampling import Sampler
    from engine.data.pairs import Pair, Verdict, record, verdict_from
    from engine.data.rendering import render_prompt
    from engine.judges.human import HumanJudge
    from engine.judges.llm import LLMJudge
    from engine.runs.relabel import find, relabel_own
    from engine.train.evaluation import Evaluation

    if settings.human_judge:

        def file_of(verdict: Verdict) -> str:
            return PAIRS if verdict.decided else UNDECIDED

        def write(pair: Pair, verdict: Verdict) -> None:
            line = record(pair, verdict, HumanJudge.name, journal.layout) | {"keep": True}
            run.append(file_of(verdict), [line], sync=True)
            journal.count_pairs(1)

        def retract(pair_id: str) -> None:
            for file in (PAIRS, UNDECIDED):
                run.rewrite(file, lambda line: None if line.get("pair_id") == pair_id else line)
            journal.count_pairs()

        def relabel(pair_id: str, choice: Choice | None) -> None:
            relabel_own(run, pair_id, choice)
            journal.count_pairs()

        def stored(pair_id: str) -> Record | None:
            found = find(run, pair_id)
            return found[1] if found else None

        person = HumanJudge(
            seed=settings.seed,
            undo_seconds=settings.undo_seconds,
            self_check_every=settings.self_check_every,
            write=write,
            retract=retract,
            stored=stored,
            relabel=relabel,
            show=journal.emit,
            wake=control.wake,
        )
        lines = [line for file in (PAIRS, UNDECIDED) for line in run.read(file)]
        answered = [line for line in lines if {"pair_id", "choice"} <= line.keys()]
        person.restore({line["pair_id"]: verdict_from(line) for line in answered})
        on_person(person)
        return person, {}
    judge = LLMJudge(
        roles.judge,
        settings,
        progress=lambda done, total: journal.progress("judging", done, total, "pairs"),
        stop=lambda: control.stopping,
        warn=lambda text: journal.log("warning", text),
    )
    budget = settings.max_seq_length - settings.max_completion_length

    def evaluation(prompts: list[Any], batches: int) -> Evaluation:
        chosen = prompts if batches < 0 else prompts[: batches * settings.batch_size]
        return Evaluation(
            roles.reference,
            judge,
            asked=chosen,
            prompts=[
                render_prompt(roles.policy.tokenizer, prompt, settings, budget) for prompt in chosen
            ],
            sampler=Sampler.of(settings),
            max_tokens=settings.max_completion_length,
            seed=settings.seed,
            progress=lambda done, total: journal.progress("evaluating", done, total, "tokens"),
            stop=lambda: control.stopping,
        )

    evaluations = {}
    if prompts.held_out and settings.steps_per_eval > 0 and settings.val_batches:
        evaluations["valid"] = evaluation(prompts.held_out, settings.val_batches)
    if prompts.test and settings.test and settings.test_batches:
        evaluations["test"] = evaluation(prompts.test, settings.test_batches)
    return judge, evaluations


def _leave_results(settings: Settings, run: Run, policy: Any, journal: Any, *, fuse: bool) -> None:
    """Write the adapters, and with `fuse` the fused model where the settings ask for it."""
    from engine.export import fuse_run, publish_to_lm_studio, readers, write_adapters

    journal.stored(lambda: write_adapters(policy, settings, run.path / ADAPTERS))
    if not (fuse and settings.fuse):
        return
    journal.progress("fusing")
    folder = run.path / FUSED
    said: list[str] = []
    journal.stored(lambda: fuse_run(run, folder, replace=True, say=said.append))
    for text in (*said, f"the trained model stands alone in {folder}; {readers(run, folder)}"):
        journal.log("info", text)
    if settings.lm_studio_name:
        published = publish_to_lm_studio(folder, settings.lm_studio_name)
        journal.log("info", f"LM Studio finds it in {published}")
    if settings.fuse_remove_adapters and settings.train_type != "full":
        for path in Path(run.path / ADAPTERS).glob("*"):
            path.unlink()
