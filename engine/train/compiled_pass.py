"""The pass of an update as one compiled function: reference, policy, loss and gradient.

MLX then fuses what it can and builds the graph once a shape in place of once a pass. A trace is
kept for as long as the function is, so batches are padded to a few shapes (`compute.shapes`), and
all that differs from one to the next comes in as arrays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import mlx.core as mx

from engine.compute.shapes import Shape, grouped, joint_shapes
from engine.machine.backend import backend
from engine.model.adapters import learning
from engine.model.arrays import Arrays, flat, tree
from engine.model.batch import AnyBatch, Batch, PaddedBatch
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings

if TYPE_CHECKING:
    from engine.data.pairs import JudgedPair

# Log-probabilities of the completions of a batch, float32 (pairs, 2), under a model.
Score = Callable[[LanguageModel, AnyBatch], mx.array]
# The sum of losses and log pi, of a batch, log ref, and the judge's confidence.
Loss = Callable[[AnyBatch, mx.array, mx.array], tuple[mx.array, mx.array]]


def can_compile(settings: Settings, policy: LanguageModel, reference: LanguageModel) -> bool:
    """Whether a run compiles its passes: where a GPU computes, or where it is asked to.

    Never with dropout, whose draws a trace would keep, nor for a model whose prompts cannot be
    shared.
    """
    if settings.compile == "off" or settings.lora_parameters.dropout:
        return False
    if backend() == "cpu" and (settings.compile == "auto" or not shutil.which("g++")):
        return False
    return policy.backend.traced is not None and reference.backend.traced is not None


class CompiledPass:
    """Losses and gradients of pairs, for as long as a run takes."""

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel,
        settings: Settings,
        score: Score,
        loss: Loss,
        step_size: int | None,
    ) -> None:
        traced = policy.backend.traced
        assert traced
        self.traces = 0
        self._policy = policy
        self._reference = reference
        self._score = score
        self._loss = loss
        self._shapes = joint_shapes(
            settings.batch_size,
            settings.prompt_tokens,
            settings.max_completion_length,
            traced.tokens_per_pass(recompute=settings.grad_checkpoint, step_size=step_size),
        )
        self._call = mx.compile(self._trace)
        # MLX refuses a function that reads one of its inputs from elsewhere too, as the reference
        # does where it is what the policy starts from. These are arrays apart, on the same memory.
        weights = flat(policy.model.trainable_parameters())
        own = {name: mx.stop_gradient(array) for name, array in weights.items()}
        policy.model.update(tree(own))
        mx.eval(policy.model.trainable_parameters())

    def groups(
        self, pairs: Sequence[JudgedPair]
    ) -> Iterator[tuple[list[JudgedPair], Shape | None]]:
        """Pairs, in their order, as many as are computed at once, and what they are padded to;
        None with a pair that is longer than any that this run samples."""
        sizes = [
            (len(each.pair.prompt_ids), max(len(each.chosen_ids), len(each.rejected_ids)))
            for each in pairs
        ]
        start = 0
        for count, shape in grouped(self._shapes, sizes):
            yield list(pairs[start : start + count]), shape
            start += count

    def __call__(
        self, batch: Batch, shape: Shape, confidence: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, Arrays]:
        """The sum of losses, log-probabilities of the policy and of the reference, each float32
        (pairs, 2), and the gradient of the sum."""
        pairs = len(batch.prompts)
        padded = PaddedBatch.of(batch, shape.pairs, shape.prompt, shape.completion)
        confidence = mx.pad(confidence, (0, shape.pairs - pairs), constant_values=1.0)
        weights = flat(self._policy.model.trainable_parameters())
        try:
            with _compiling():
                result = self._call(weights, padded.arrays, confidence)
                mx.eval(result)
        finally:  # a trace leaves its own in their place
            self._policy.model.update(tree(weights))
        value, policy, reference, gradients = result
        return value, policy[:pairs], reference[:pairs], gradients

    def _trace(
        self, weights: Arrays, arrays: tuple[mx.array, ...], confidence: mx.array
    ) -> tuple[mx.array, mx.array, mx.array, Arrays]:
        self.traces += 1
        # One batch for both: layers below the lowest adapter are run once for the same one.
        batch = PaddedBatch(*arrays)
        with learning(self._reference.model, drop_out=False):
            reference = mx.stop_gradient(self._score(self._reference, batch))

        def loss_of(weights: Arrays) -> tuple[mx.array, mx.array]:
            self._policy.model.update(tree(weights))
            return self._loss(batch, reference, confidence)

        with learning(self._policy.model, drop_out=False):
            (value, policy), gradients = mx.value_and_grad(loss_of)(weights)
        return value, policy, reference, gradients


@contextmanager
def _compiling() -> Iterator[None]:
    """While open, MLX compiles on a CPU too, where it does not otherwise."""
    if backend() != "cpu":
        yield
        return
    mx.enable_compile()
    try:
        yield
    finally:
        mx.disable_compile()
