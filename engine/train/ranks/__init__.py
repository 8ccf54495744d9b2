"""Who computes a run: this process alone, or several ranks, of which this one is the first."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from engine.compute.sampling import Interrupted, Sample, sample
from engine.control import Control, LoadingStopped
from engine.distributed.links import RankLost
from engine.errors import CannotGoOn, NothingLearned, RunError, UserError
from engine.judges import PairJudge
from engine.machine.launch import place
from engine.secrets import hide
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.ranks.lead import STOPPED, Lead
from engine.train.ranks.refusal import refusals_told
from engine.train.reporting import StepMeasures
from engine.train.roles import Roles
from engine.train.update import MakeUpdate, Update


class Ranks(Protocol):
    """Who computes a run."""

    size: int

    @property
    def lost(self) -> str | None:
        """Which rank is gone, silent or at fault, a sentence."""
        ...

    @property
    def sample(self) -> Sample:
        """What samples for the loop and its measurements."""
        ...

    def serve(self, roles: Roles) -> None:
        """Learn which models are sampled from."""
        ...

    def judge(self, at: int, settings: Settings, judge: PairJudge) -> PairJudge:
        """A judge of the run (0), or the one that only evaluates (1), by its settings."""
        ...

    def update(self, make: MakeUpdate, updates: int) -> Update:
        """The update of a run that makes so many."""
        ...

    def spread(self, update: Update) -> None:
        """Give all ranks the weights, and what the optimizer keeps, of this one."""
        ...

    @property
    def step_measures(self) -> StepMeasures | None:
        """What is measured of ranks in each step."""
        ...


class Alone:
    """One rank."""

    size = 1
    lost: str | None = None
    step_measures: StepMeasures | None = None
    sample = staticmethod(sample)

    def serve(self, roles: Roles) -> None:
        pass

    def judge(self, at: int, settings: Settings, judge: PairJudge) -> PairJudge:
        return judge

    def update(self, make: MakeUpdate, updates: int) -> Update:
        return make(Update)

    def spread(self, update: Update) -> None:
        pass


@contextlib.contextmanager
def ranks_of(settings: Settings, journal: Journal, control: Control) -> Iterator[Ranks]:
    """All ranks of the run that this process trains, as rank 0; they end with the context.

    Raises:
        UserError: a rank has not come, or differs in its version, settings or models.
        RunError: a rank was lost while the run loaded.
        LoadingStopped: asked to stop.
    """
    here = place()
    if here is None:
        yield Alone()
        return
    if here.rank:
        raise UserError(
            "a run on several ranks is trained by `lora-studio train CONFIG.yaml`, which "
            "`mlx.launch` starts on each of them"
        )
    status, text = 1, "rank 0 has failed"
    with refusals_told():
        lead = Lead(here, journal, control)
    try:
        with _stop_obeyed(control):
            lead.start(settings)
            yield lead
        status, text = 0, ""
    except RankLost as lost:  # before there was a loop that could stop with a checkpoint
        text = str(lost)
        raise RunError(f"{lost}; the run had not begun") from lost
    except LoadingStopped:
        status, text = STOPPED, ""
        raise
    except UserError as error:
        status, text = 2, str(error)
        raise
    except (CannotGoOn, NothingLearned) as error:
        status, text = 3, lead.lost or str(error)
        raise
    except RunError as error:
        text = str(error)
        raise
    except Exception as error:
        text = f"rank 0 has failed: {type(error).__name__}: {error}"
        raise
    finally:
        lead.end(status, hide(text))


@contextlib.contextmanager
def _stop_obeyed(control: Control) -> Iterator[None]:
    """What is interrupted since the run is to stop, while it loads, was stopped.

    Raises:
        LoadingStopped: asked to stop.
    """
    try:
        yield
    except RankLost:
        raise
    except Interrupted:
        control.raise_if_stopping()
        raise
