"""What MLX computes: any model, its prompts shared where it allows that."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from engine.compute import last_logits, limits
from engine.compute.caches import LayerCache
from engine.compute.decode import SharedDecoder, UnsharedDecoder
from engine.compute.frozen_layers import FrozenLayers, run_once
from engine.compute.logps import completion_logps
from engine.compute.merged import merged
from engine.compute.mlx_model import MlxModel
from engine.machine.backend import backend
from engine.model import arrays
from engine.model.backend import Decoder
from engine.model.batch import AnyBatch


class MlxBackend:
    """A `Backend`."""

    def __init__(
        self,
        model: MlxModel,
        *,
        shares_prompts: bool,
        frozen: FrozenLayers[mx.array] | None = None,
        keeps: bool = False,
    ) -> None:
        """
        Args:
            shares_prompts: whether completions can continue from prompts that are run once.
            frozen: the layers that this model shares with its policy or reference.
            keeps: whether this one reads a batch first, and keeps what those make of it.
        """
        self.model = model
        self.decodes_batches = self.shares_prompts = shares_prompts
        self._frozen = frozen
        self._keeps = keeps
        self._prefix: tuple[tuple[int, ...], list[LayerCache]] = (), []

    def decoder(self, prompts: Sequence[Sequence[int]], copies: int, room: int) -> Decoder:
        model = merged(self.model)
        if self.shares_prompts:
            return SharedDecoder(model, prompts, copies, room)
        return UnsharedDecoder(model, prompts[0], copies)

    def last_logits(self, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> mx.array:
        if not (self.shares_prompts and prefix):
            return last_logits.whole(self.model, [[*prefix, *row] for row in rows])
        return last_logits.continued(self.model, self._prefix_caches(tuple(prefix)), rows)

    def _prefix_caches(self, prefix: tuple[int, ...]) -> list[LayerCache]:
        if prefix != self._prefix[0] or arrays.flat(self.model.module.trainable_parameters()):
            self._prefix = prefix, last_logits.prefix_caches(self.model, prefix)
        return self._prefix[1]

    def logps(
        self, batch: AnyBatch, *, recompute: bool = False, step_size: int | None = None
    ) -> mx.array:
        frozen = self._frozen
        return completion_logps(
            self.model,
            batch,
            shares_prompts=self.shares_prompts,
            recompute=recompute,
            step_size=step_size,
            layers=frozen and run_once(self.model.module, batch, frozen, keeps=self._keeps),
        )

    @property
    def traced(self) -> "MlxBackend | None":
        return self if self.shares_prompts else None

    def tokens_per_pass(self, *, recompute: bool, step_size: int | None = None) -> int:
        return limits.scored_tokens(
            *sizes(self.model.module), recompute=recompute, cpu=backend() == "cpu"
        )


def sizes(module: Any) -> tuple[int, int]:
    """Layers of a model, and the width of its hidden states, 0 where it does not say."""
    return len(module.layers), getattr(getattr(module, "args", None), "hidden_size", 0)
