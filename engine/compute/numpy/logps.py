"""Log-probabilities of completions by numpy, and their gradient.

The counterpart of `engine.compute.logps` for models that `engine.compute.numpy.model` computes and
that train LoRA adapters; MLX sees it as one operation. Adapters are merged into the weights of a
small model, so that they cost no more than their own gradient.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.lora import LoRALinear

from engine.compute.frozen_layers import FrozenLayers
from engine.compute.numpy.layout import lay_out
from engine.compute.numpy.model import linears, numpy_model
from engine.compute.numpy.passes import ForwardBackward
from engine.compute.numpy.threads import side_by_side, split
from engine.model import arrays
from engine.model.batch import Batch


def completion_logps(
    model: nn.Module,
    batch: Batch,
    *,
    recompute: bool = False,
    frozen: FrozenLayers[np.ndarray] | None = None,
    keeps: bool = False,
) -> mx.array:
    """Sum of the log-probabilities of each completion's tokens.

    Args:
        recompute: keep only what each layer reads for the backward pass, which finds the rest
            anew.
        frozen: of a model that shares those layers; they are not run on what was kept.
        keeps: what they make of the batch is kept for the other model.

    Returns:
        float32 (prompts, completions of each). Differentiable in the adapters of the model.
    """
    read = numpy_model(model)
    layouts = [lay_out(read, part) for part in _parts_of(batch)]
    adapters = _adapters(model)
    lowest = min((number for number, _ in adapters), default=len(read.layers))
    below = frozen.count if frozen else 0

    def passes() -> list[ForwardBackward]:
        ready = (frozen.take(batch) if frozen else None) or [None] * len(layouts)
        done = side_by_side(
            [
                partial(ForwardBackward, read, layout, lowest, recompute, below, states)
                for layout, states in zip(layouts, ready, strict=True)
            ]
        )
        if frozen and keeps:
            frozen.keep(batch, [each.above_frozen for each in done])
        return done

    def logps(passes: list[ForwardBackward]) -> mx.array:
        return mx.array(np.concatenate([each.logps for each in passes]).reshape(-1, batch.copies))

    if not adapters:
        return logps(passes())
    done: list[ForwardBackward] = []

    @mx.custom_function
    def scores(*_: mx.array) -> mx.array:
        done[:] = passes()
        return logps(done)

    @scores.vjp
    def gradient(primals: object, cotangent: mx.array, output: object) -> tuple[mx.array, ...]:
        ends = np.cumsum([len(each.logps) for each in done])
        weights = np.split(np.array(cotangent).reshape(-1), ends[:-1])
        parts = side_by_side(
            [partial(each.backward, own) for each, own in zip(done, weights, strict=True)]
        )
        done.clear()
        return tuple(
            # In one order in memory: sums over saved gradients are then those over these.
            mx.array(np.ascontiguousarray(sum(arrays)))
            for key in adapters
            for arrays in zip(*(part[key] for part in parts), strict=True)
        )

    result: Any = scores(
        *(array for each in adapters.values() for array in (each.lora_a, each.lora_b))
    )
    return result


def _adapters(model: nn.Module) -> dict[tuple[int, str], LoRALinear]:
    """Those that are trained, by layer and product; a reference's are not."""
    return {
        (number, name): module
        for number, layer in enumerate(_layers(model))
        for name, module in linears(layer).items()
        if type(module) is LoRALinear and "lora_a" in module.trainable_parameters()
    }


def _parts_of(batch: Batch) -> list[Batch]:
    """The prompts with their completions, a part for each thread."""
    sizes = [
        len(prompt) + sum(map(len, completions))
        for prompt, completions in zip(batch.prompts, batch.completions, strict=True)
    ]
    return [Batch(batch.prompts[part], batch.completions[part]) for part in split(sizes)]


def trains_adapters_alone(model: nn.Module) -> bool:
    """Whether all that is trained are adapters without dropout, which have their gradient here."""
    adapters = [each for each in _adapters(model).values() if each.dropout._p_1 == 1]
    return 0 < 2 * len(adapters) == len(arrays.flat(model.trainable_parameters()))


def _layers(model: Any) -> Sequence[Any]:
    return model.model.layers
