"""The update of a run of several ranks, as rank 0 makes it."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import mlx.optimizers as opt

from engine.data.pairs import JudgedPair
from engine.distributed.links import RankLost
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings
from engine.train.ranks.shares import zeros
from engine.train.update import PassProgress, SummedLoss, Sums, Update


class UpdatingRanks(Protocol):
    """What the update needs of rank 0."""

    def sums(
        self,
        compute: Callable[[Sequence[JudgedPair], int], Sums],
        none: Callable[[], Sums],
        decided: Sequence[JudgedPair],
        step: int,
    ) -> Sums:
        """The sums over all ranks' shares of pairs: `compute` has those of this one, of some pairs
        and the place of the first among all, and `none` those of an empty share.

        Raises:
            Interrupted: asked to stop, or a rank is lost; all is as it was before.
        """
        ...

    def tell(self, **message: Any) -> None:
        """Have the others do what needs no answer."""
        ...

    def watched(self, kind: str) -> contextlib.AbstractContextManager[None]:
        """Have it noticed where work of a kind, which rank 0 does within, does not go on."""
        ...

    def agree(self, update: Update) -> None:
        """See that all ranks have the weights of this one; where not, give them these.

        Raises:
            RankLost: one is, and so whatever is asked of ranks from now on raises.
        """
        ...


class SharedUpdate(Update):
    """An update whose pairs all ranks score, and which all ranks make. It may be given up until
    the gradients of all are there."""

    def __init__(
        self,
        ranks: UpdatingRanks,
        policy: LanguageModel,
        reference: LanguageModel,
        settings: Settings,
        optimizer: opt.Optimizer,
        progress: PassProgress,
        stop: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        super().__init__(policy, reference, settings, optimizer, progress, stop, warn)
        self._ranks = ranks
        self._step = self._checked = 0

    def sums(
        self, loss: SummedLoss, decided: Sequence[JudgedPair], step: int, first: int = 0
    ) -> Sums:
        own = super().sums
        self._step = step
        return self._ranks.sums(
            lambda pairs, at: own(loss, pairs, step, at), lambda: zeros(self), decided, step
        )

    def add(self, sums: Sums, pairs: int) -> str | None:
        self._ranks.tell(do="add", loss=sums.loss, pairs=pairs)
        with self._ranks.watched("add"):
            return super().add(sums, pairs)

    def apply(self) -> float:
        self._ranks.tell(do="apply")
        with self._ranks.watched("apply"):
            norm = super().apply()
        if (due := self._step // self.settings.save_every) > self._checked:
            self._checked = due
            # The step is taken: a rank that is lost here is noticed by the next that is asked.
            with contextlib.suppress(RankLost):
                self._ranks.agree(self)
        return norm
