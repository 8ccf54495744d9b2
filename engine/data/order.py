"""The order in which a run draws its prompts: epoch by epoch, restored from two numbers."""

import math
import random
from collections.abc import Mapping

from engine.errors import UserError
from engine.settings.schema import Settings


def drawn_in(epochs: float, size: int) -> int:
    """How many of `size` are drawn in so many epochs; what is begun of one is drawn."""
    return max(1, math.ceil(round(epochs * size, 6)))  # 1.1 x 10 is no more than 11


def total_steps(settings: Settings, prompts: int) -> int:
    """Steps of a run over so many prompts, those of a warm start apart."""
    if settings.epochs > 0:
        return math.ceil(drawn_in(settings.epochs, prompts) / settings.batch_size)
    return settings.iters


class PromptOrder:
    """Indices of prompts, epoch by epoch: each epoch is a new shuffle, without replacement.

    The order depends on `size` and `seed` alone, so a state of two numbers restores it exactly.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError("there is nothing to draw from")
        self._size, self._seed = size, seed
        self._position = 0
        self._start(0)

    def next(self, count: int) -> list[int]:
        """The next `count` indices; a batch larger than what is left reaches into new epochs."""
        drawn: list[int] = []
        while len(drawn) < count:
            if self._position == self._size:
                self._start(self._epoch + 1)
            batch = self._order[self._position : self._position + count - len(drawn)]
            self._position += len(batch)
            drawn += batch
        return drawn

    def state(self) -> dict[str, int]:
        """What `restore` needs."""
        return {"size": self._size, "epoch": self._epoch, "position": self._position}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on where `state` was taken.

        Raises:
            UserError: the state is of another number of prompts.
        """
        if state["size"] != self._size:
            raise UserError(
                f"data: this run began with {state['size']} prompts to train on and there are "
                f"{self._size} now; give it the data it began with, or start a new run if it was "
                "begun by an older version, which told prompts apart in another way"
            )
        self._start(state["epoch"])
        self._position = state["position"]

    def _start(self, epoch: int) -> None:
        self._epoch, self._position = epoch, 0
        self._order = list(range(self._size))
        random.Random(f"{self._seed}/{epoch}").shuffle(self._order)
