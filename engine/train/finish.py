"""The end of a run: the policy that it keeps, measured once more, and what it leaves.

Everything here may be done again, by a run that was cut off in it.
"""

from pathlib import Path

import mlx.core as mx

from engine.compute.sampling import Interrupted
from engine.events import EndedEarly
from engine.model.adapter_files import WEIGHTS
from engine.model.adapters import load_adapter_file
from engine.runs.checkpoints import checkpoint_damage, in_words
from engine.runs.folder import ADAPTERS, FUSED, Run
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.online_dpo import Trainer
from engine.train.ranks import Ranks
from engine.train.results import fuse_run, publish_to_lm_studio, readers, write_adapters
from engine.train.watch.findings import nothing_learned


def finish(
    settings: Settings,
    run: Run,
    trainer: Trainer,
    journal: Journal,
    ranks: Ranks,
    *,
    finished: bool,
) -> bool:
    """Measure the policy that the run keeps and leave its results; whether nothing more is to do.

    Args:
        finished: every step was taken, or the run ended before by itself.
    """
    if finished and trainer.state.ended:
        journal.update(ended=trainer.state.ended)
        journal.emit(EndedEarly(step=trainer.state.step, reason=trainer.state.ended))
    learned = nothing_learned(trainer.state.health) is None
    if learned:
        step = _take_kept(settings, run, trainer, journal)
        if finished:
            try:
                if step != trainer.state.step:
                    ranks.spread(trainer.update)
                _measure(trainer, step)
            except Interrupted:  # it is measured when the run is resumed
                finished = False
    journal.persist(lambda: write_adapters(trainer.policy.model, settings, run.path / ADAPTERS))
    fuses = finished and learned and settings.fuse
    if fuses and _worth_fusing(settings, trainer, journal):
        _fuse(settings, run, journal)
    return finished


def _take_kept(settings: Settings, run: Run, trainer: Trainer, journal: Journal) -> int:
    """Give the policy the weights of the best step, where the settings keep it and it is not the
    last; the step that the policy is of then."""
    state, best = trainer.state, trainer.state.best.best
    if settings.keep != "best" or best is None or best.is_start or best.step == state.step:
        return state.step
    folder = next((each for each in run.checkpoints() if int(each.name) == best.step), None)
    damage = checkpoint_damage(folder) if folder else "it is gone"
    if folder is None or damage:
        journal.log(
            "warning",
            f"step {best.step:,}, the best, cannot be kept, since of its checkpoint {damage}; the "
            "last step is kept",
        )
        return state.step
    load_adapter_file(trainer.policy.model, folder / WEIGHTS, key="checkpoint")
    mx.eval(trainer.policy.model.trainable_parameters())
    journal.log("info", f"{in_words(best)}, the best, is kept; keep: last keeps the last step")
    return best.step


def _measure(trainer: Trainer, step: int) -> None:
    """The best of several measurements is flattered, so it is made once more; the test; and what
    the policy has unlearned."""
    so_far = trainer.state.best
    if so_far.best is not None and so_far.best.step == step and so_far.evaluations > 1:
        trainer.upkeep.evaluate("kept", step=step)
    trainer.upkeep.evaluate("test", step=step)
    trainer.upkeep.guard_at_end(step)


def _worth_fusing(settings: Settings, trainer: Trainer, journal: Journal) -> bool:
    """Whether there is something better than the start, where the settings keep the best; that
    there is not is said."""
    best = trainer.state.best.best
    if settings.keep != "best" or not best or not best.is_start:
        return True
    journal.log(
        "warning",
        "no step was better than the start by its held-out win rate, so nothing is fused; "
        "keep: last, or `lora-studio export RUN --keep last`, takes the last step all the same",
    )
    return False


def _fuse(settings: Settings, run: Run, journal: Journal) -> None:
    """Write the fused model, and pass it on as the settings ask."""
    journal.progress("fusing")
    folder = run.path / FUSED
    notes: list[str] = []
    journal.persist(lambda: fuse_run(run, folder, replace=True, say=notes.append))
    for text in (*notes, f"the trained model stands alone in {folder}; {readers(run, folder)}"):
        journal.log("info", text)
    if settings.lm_studio_name:
        published = publish_to_lm_studio(folder, settings.lm_studio_name)
        journal.log("info", f"LM Studio finds it in {published}")
    if settings.fuse_remove_adapters and settings.train_type != "full":
        for path in Path(run.path / ADAPTERS).glob("*"):
            path.unlink()
