"""The layers below the lowest trained one: of a policy and its reference the same, run once.

The reference reads a batch first, and what these layers make of it is kept for the policy. That
needs no gradient, and is a constant of the policy's.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import mlx.core as mx
import mlx.nn as nn

from engine.compute.caches import LAYER_CACHES
from engine.compute.layer_calls import Call, replaced_calls
from engine.model import arrays
from engine.model.batch import AnyBatch

State = TypeVar("State")


@dataclass(slots=True)
class FrozenLayers(Generic[State]):
    """So many layers from below, and what they made of the batch that the reference read last,
    until the policy reads it too."""

    count: int
    _batch: AnyBatch | None = None
    _states: list[State] = field(default_factory=list)

    def keep(self, batch: AnyBatch, states: list[State]) -> None:
        self._batch, self._states = batch, states

    def take(self, batch: AnyBatch) -> list[State] | None:
        """What was kept of this very batch, once."""
        states = self._states if self._batch is batch else None
        self._batch, self._states = None, []
        return states


def shared_layers(policy: nn.Module, reference: nn.Module) -> int:
    """How many layers from below have the same weights in both, none of which is trained; none
    where something is trained outside the layers."""
    theirs = _arrays_of(reference)
    layers: Any = policy.layers
    within = set().union(*(_arrays_of(layer) for layer in layers))
    trained = {id(each) for each in arrays.flat(policy.trainable_parameters()).values()}
    if trained - within or (_arrays_of(policy) - within) - theirs:
        return 0
    count = 0
    for layer in layers:
        own = _arrays_of(layer)
        if own & trained or own - theirs:
            break
        count += 1
    return count


def _arrays_of(module: nn.Module) -> set[int]:
    return {id(each) for each in arrays.flat(module.parameters()).values()}


@contextmanager
def run_once(
    module: nn.Module, batch: AnyBatch, frozen: FrozenLayers[mx.array], *, keeps: bool
) -> Iterator[None]:
    """While open, the module reads a batch, and the frozen layers are not run where the batch was
    read before. `keeps`: what they make of it is kept for the other model."""
    states = frozen.take(batch)
    if states is None and not keeps:
        yield
        return
    if states is not None:
        with _layers_called(module, _skipping(frozen.count, iter(states))):
            yield
        return
    outputs: list[mx.array] = []

    def recording(number: int, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        if number == frozen.count - 1:
            outputs.append(output)
        return output

    with _layers_called(module, recording):
        yield
    frozen.keep(batch, outputs)


def _skipping(count: int, states: Iterator[mx.array]) -> Callable[..., Any]:
    def layer_call(
        number: int, call: Callable[..., Any], hidden: mx.array, *args: Any, **kwargs: Any
    ) -> Any:
        if number >= count:
            return call(hidden, *args, **kwargs)
        for value in (*args, *kwargs.values()):
            if isinstance(value, LAYER_CACHES):
                value.skip(hidden.shape[1])
        return next(states) if number == count - 1 else hidden

    return layer_call


def in_order(module: nn.Module, count: int) -> bool:
    """Whether the module runs its frozen layers first, each once, on what the one below it made,
    and the next layer on what the last of them made."""
    last, number, ordered = None, 0, True

    def watching(
        at: int, call: Callable[..., Any], hidden: mx.array, *args: Any, **more: Any
    ) -> Any:
        nonlocal last, number, ordered
        if number <= count or at <= count:
            ordered &= at == number and (at == 0 or hidden is last)
        last, number = call(hidden, *args, **more), number + 1
        ordered &= isinstance(last, mx.array)
        return last

    with _layers_called(module, watching):
        module(mx.array([[1, 2, 3]]))
    return ordered and number > count


def _layers_called(
    module: nn.Module, instead: Callable[..., Any]
) -> contextlib.AbstractContextManager[None]:
    """While open, a layer's call is `instead(number, call, *args, **kwargs)`, with its number from
    below and the call itself."""
    layers: Sequence[Any] = module.layers  # pyright: ignore[reportAssignmentType]
    numbers = {id(layer): number for number, layer in enumerate(layers)}

    def wrap(original: Call) -> Call:
        def layer_call(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return instead(numbers[id(layer)], partial(original, layer), *args, **kwargs)

        return layer_call

    return replaced_calls(module, wrap)
