"""Trains in the calling thread, for a notebook or a program of one's own.

Importing this is light: MLX is imported by `train`.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.control import Control
from engine.data.template_renderer import RENDERER
from engine.errors import CannotGoOn, NothingLearned, RunError, UserError
from engine.events import Evaluated, Event, Log, Report, RunEnded, RunStatus
from engine.follow import Followers, check_followers, followed
from engine.machine.blas import import_mlx
from engine.machine.launch import place
from engine.model import adapter_files
from engine.runs import archive
from engine.runs.folder import Run
from engine.secrets import hide
from engine.settings.checks import problems
from engine.settings.schema import Settings

if TYPE_CHECKING:
    from engine.model.language_model import LanguageModel


@dataclass(frozen=True)
class TrainingResult:
    """What `train` gives back."""

    policy: "LanguageModel"
    settings: Settings
    reports: list[dict[str, float]]  # metrics of each report, as in metrics.jsonl, oldest first
    win_rates: list[Evaluated]
    run: Run | None  # None where it had no folder

    def write_adapters(self, folder: str | os.PathLike[str]) -> None:
        """Write what was trained into a folder, as mlx-lm's `--adapter-path` takes it.

        Raises:
            StorageError: the folder cannot be written.
        """
        from engine.train.results import write_adapters

        write_adapters(self.policy.model, self.settings, Path(folder))


def train(
    settings: Settings,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    run_folder: bool = False,
) -> TrainingResult:
    """Train in the calling thread from the start to the last step.

    Args:
        on_event: told all that happens, as a screen is; what it raises ends the training.
        run_folder: keep the run in the archive, to look at, resume and export. Without, it works
            in a temporary folder that is removed at the end, and nothing is fused.

    Raises:
        UserError: settings, models or data do not serve, or a person is to judge.
        NothingLearned: there was no pair to learn from.
        CannotGoOn, StorageError: it had to stop before its last step.
    """
    if place():
        raise UserError(
            "mlx.launch: several processes train one run by `lora-studio train CONFIG.yaml` alone"
        )
    settings, notes = adapter_files.settled(settings)
    if settings.human_judge:
        raise UserError("judge: nobody can answer here; name a model, or use a Session")
    if faults := problems(settings):
        raise UserError("; ".join(f"{each.key}: {each.message}" for each in faults))
    if "tensorboard" in settings.report_to and not run_folder:
        raise UserError("report_to: tensorboard writes into the run's folder; say run_folder=True")
    check_followers(settings)
    RENDERER.begin()
    import_mlx()
    from engine.train import assemble

    reports: list[dict[str, float]] = []
    win_rates: list[Evaluated] = []

    def emit(event: Event) -> None:
        if isinstance(event, Report):
            reports.append(event.metrics)
        elif isinstance(event, Evaluated):
            win_rates.append(event)
        followers.put(event)
        on_event(event)

    with _run_to_train(settings, in_archive=run_folder) as (run, followers):
        for note in notes:
            run.log("info", note)
            on_event(Log(level="info", text=note))
        # A run in a folder that is removed has no use for a fused model.
        chosen = settings if run_folder else settings.model_copy(update={"fuse": False})
        policy = assemble.train(chosen, run, Control(), emit).policy
    return TrainingResult(policy, settings, reports, win_rates, run if run_folder else None)


@contextlib.contextmanager
def _run_to_train(settings: Settings, *, in_archive: bool) -> Iterator[tuple[Run, Followers]]:
    """A new run, locked, in the archive or in a temporary folder, and who follows it; at the end
    it says how it ended."""
    with contextlib.ExitStack() as stack:
        if not in_archive:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lora-studio-"))
            settings = settings.model_copy(update={"output_root": folder})
        run = archive.create(settings)
        stack.enter_context(run.lock())
        followers = stack.enter_context(followed(settings, run, run.log))
        status: RunStatus = "finished"
        why: str | None = None
        try:
            yield run, followers
        except KeyboardInterrupt:
            status = "stopped"
            raise
        except BaseException as error:
            status = _status_after(error)
            known = isinstance(error, UserError | RunError)
            why = hide(str(error) if known else f"{type(error).__name__}: {error}")
            with contextlib.suppress(RunError):
                run.log("error", why)
            raise
        finally:
            with contextlib.suppress(RunError, UserError):
                step = int(run.update(status=status, error=why).get("step") or 0)
                followers.put(RunEnded(status=status, step=step, error=why))


def _status_after(error: BaseException) -> RunStatus:
    if isinstance(error, NothingLearned):
        return "untrained"
    return "stopped" if isinstance(error, CannotGoOn) else "failed"
