"""Gradient checkpointing of layers whose caches are shared between passes."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.compute.caches import LAYER_CACHES
from engine.compute.layer_calls import replaced_calls

MLX_CACHES = "mlx_lm.models.cache"


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """While open, gradients through `model.layers` recompute activations.

    A layer's cache is passed in and out of the recomputed function as arrays, so that it may be
    shared between the passes over prompts and completions. Each layer's draws start from a seed
    of their own, so that the second computation drops out what the first one did.
    """
    seeds = itertools.count(int(mx.random.randint(0, 1 << 30).item()))  # pyright: ignore[reportArgumentType]
    with replaced_calls(model, lambda call: _recomputed(call, seeds)):
        yield


def _recomputed(call: Any, seeds: Iterator[int]) -> Any:
    def layer_call(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        inputs = [*args, *kwargs.values()]
        if any(type(value).__module__ == MLX_CACHES for value in inputs):
            # One of the model's own: what it keeps is read elsewhere, out of sight.
            return call(layer, *args, **kwargs)
        cache: Any = next((value for value in inputs if isinstance(value, LAYER_CACHES)), None)
        arrays = list(_arrays(inputs))
        seed = next(seeds)
        read = 0 if cache is None else cache.read
        outputs: list[Any] = []

        def inner(parameters: Any, arrays: list[mx.array], state: list[mx.array]) -> Any:
            mx.random.seed(seed)
            layer.update(parameters)
            if cache is not None:
                cache.state, cache.read = state, read
            values = _with_arrays(inputs, iter(arrays))
            positional, named = values[: len(args)], values[len(args) :]
            output = call(layer, *positional, **dict(zip(kwargs, named, strict=True)))
            outputs.append(output)
            # Arrays of their own: MLX takes one gradient for an array that is returned twice, as
            # keys are that a layer hands on and that its cache keeps.
            copies = [mx.contiguous(array) for array in _arrays(output)]
            return copies, cache.state if cache is not None and cache.continues else []

        again: Any = mx.checkpoint(inner)
        copies, state = again(
            layer.trainable_parameters(), arrays, [] if cache is None else cache.state
        )
        if cache is not None:
            cache.state = state
        # What is no number, such as a position, has no gradient to pass through.
        return _with_arrays(outputs.pop(), iter(copies))

    return layer_call


def _arrays(value: Any) -> Iterator[mx.array]:
    """What of a value a gradient may flow through, in its order: some layers are given keys and
    values of another as a pair."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _arrays(each)
    elif isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating):
        yield value


def _with_arrays(value: Any, arrays: Iterator[mx.array]) -> Any:
    """The same value with other arrays in their places."""
    if isinstance(value, list | tuple):
        return type(value)([_with_arrays(each, arrays) for each in value])
    return next(arrays) if isinstance(value, mx.array) and list(_arrays(value)) else value
