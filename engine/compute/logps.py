"""Log-probabilities of sampled completions under a model.

The completions are scored as the token ids that were sampled, never as text. Each prompt is
run once and its two completions continue from the shared cache; a model that cannot share is
scored over whole sequences, with the same result.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.nn.utils import checkpoint

from engine.compute import cpu_exp, limits
from engine.compute.caches import (
    LayerCache,
    completion_caches,
    prompt_caches,
    reads_whole,
    uneven,
)
from engine.compute.mlx_model import MlxModel
from engine.compute.recompute import checkpointed
from engine.machine.backend import backend
from engine.model.batch import AnyBatch, Batch, PaddedBatch, padded

# Blocks of a vocabulary, whose exponentials are added up one after the other: those that divide it
# need no copy, but smaller ones would be as many terms as the vocabulary has.
LARGEST_BLOCK, LEAST_BLOCK = 1024, 16


def completion_logps(
    model: MlxModel,
    batch: AnyBatch,
    *,
    shares_prompts: bool,
    recompute: bool = False,
    step_size: int | None = None,
    layers: AbstractContextManager[None] | None = None,
) -> mx.array:
    """As `Backend.logps`; `layers` is entered while the layers are run."""
    checkpoints = checkpointed(model.module) if recompute else nullcontext()
    if isinstance(batch, PaddedBatch):
        with checkpoints, layers or nullcontext():
            hidden = _hidden_padded(model, batch, step_size)
        return _padded_sums(model, batch, hidden, recompute)
    rows = batch.rows
    with checkpoints, layers or nullcontext():
        if shares_prompts:
            hidden, starts = _hidden_shared(model, batch, rows, step_size), [0] * len(rows)
        else:
            hidden, starts = _hidden_whole(model, batch, rows)
    width = hidden.shape[1]
    # Flat indices of the positions whose next token belongs to a completion.
    where = np.concatenate(
        [
            row * width + start + np.arange(len(ids))
            for row, (start, ids) in enumerate(zip(starts, rows, strict=True))
        ]
    )
    targets = mx.array(np.concatenate([np.asarray(ids, np.int32) for ids in rows]))
    flat = hidden.reshape(-1, hidden.shape[-1])[mx.array(where)]
    logps = _token_logps(model, flat, targets, recompute)
    # Laid out a row a completion, zeros at its end: each sum then has one order on any device.
    lengths = [len(ids) for ids in rows]
    table = np.full((len(rows), max(lengths)), len(where))
    table[np.arange(max(lengths)) < np.array(lengths)[:, None]] = np.arange(len(where))
    sums = mx.concatenate([logps, mx.zeros(1)])[mx.array(table)].sum(axis=-1)
    return sums.reshape(len(batch.prompts), batch.copies)


def _hidden_whole(
    model: MlxModel, batch: Batch, rows: list[Sequence[int]]
) -> tuple[mx.array, list[int]]:
    """Hidden states (rows, width, features), and for each row the position that predicts its
    completion's first token."""
    prompts = [prompt for prompt in batch.prompts for _ in range(batch.copies)]
    sequences = [[*prompt, *ids[:-1]] for prompt, ids in zip(prompts, rows, strict=True)]
    return model.hidden(padded(sequences)), [len(prompt) - 1 for prompt in prompts]


def _hidden_shared(
    model: MlxModel, batch: Batch, rows: list[Sequence[int]], step_size: int | None
) -> mx.array:
    """As `_continued`, of a batch as it is."""
    lengths = [len(prompt) for prompt in batch.prompts]
    inputs = [ids[:-1] for ids in rows]
    return _continued(
        model,
        padded(batch.prompts),
        mx.array(lengths),
        uneven(lengths),
        padded(inputs) if any(inputs) else None,
        batch.copies,
        step_size,
    )


def _hidden_padded(model: MlxModel, batch: PaddedBatch, step_size: int | None) -> mx.array:
    """As `_continued`, of a padded batch."""
    lengths = batch.prompt_tokens
    inputs = batch.completions[:, :-1] if batch.completions.shape[1] > 1 else None
    return _continued(model, batch.prompts, lengths, lengths, inputs, batch.copies, step_size)


def _continued(
    model: MlxModel,
    prompts: mx.array,
    lengths: mx.array,
    uneven_lengths: mx.array | None,
    inputs: mx.array | None,
    copies: int,
    step_size: int | None,
) -> mx.array:
    """Hidden states (rows, width, features) at the positions that predict completions: the
    prompt's last one, then one for each token of the completion but the last.

    Args:
        prompts: int32 (prompts, tokens), right-padded.
        lengths: real tokens of each prompt, (prompts,).
        uneven_lengths: the same, or None where no prompt has padding.
        inputs: the completions but for their last tokens, right-padded, (prompts x copies,
            tokens), or None where nothing is left.
    """
    caches = prompt_caches(model.module, () if uneven_lengths is None else uneven_lengths)
    prompt_hidden = _in_steps(model, prompts, caches, step_size)
    last = mx.take_along_axis(prompt_hidden, lengths[:, None, None] - 1, axis=1)
    owners = mx.repeat(mx.arange(prompts.shape[0]), copies)
    hidden = mx.take(last, owners, axis=0)
    if inputs is None:
        return hidden
    own = None if uneven_lengths is None else uneven_lengths[owners]
    continued = completion_caches(caches, owners, own, continues=step_size is not None)
    return mx.concatenate([hidden, _in_steps(model, inputs, continued, step_size)], axis=1)


def _padded_sums(
    model: MlxModel, batch: PaddedBatch, hidden: mx.array, recompute: bool
) -> mx.array:
    """The sum over each completion's own tokens, from hidden states at all positions."""
    rows, width = batch.completions.shape
    flat = hidden.reshape(rows * width, -1)
    logps = _token_logps(model, flat, batch.completions.reshape(-1), recompute)
    own = mx.arange(width) < batch.completion_tokens.reshape(rows, 1)
    sums = mx.where(own, logps.reshape(rows, width), 0).sum(axis=-1)
    return sums.reshape(batch.completion_tokens.shape)


def _in_steps(
    model: MlxModel, ids: mx.array, caches: Sequence[LayerCache], step_size: int | None
) -> mx.array:
    """Hidden states of `ids` (rows, tokens), computed `step_size` tokens at a time."""
    tokens = ids.shape[1]
    step = tokens if step_size is None or reads_whole(caches) else step_size
    parts = [model.hidden(ids[:, at : at + step], caches) for at in range(0, tokens, step)]
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=1)


def _token_logps(model: MlxModel, hidden: mx.array, targets: mx.array, recompute: bool) -> mx.array:
    """Log-probability of each target: float32 (tokens,) from hidden (tokens, features).

    Logits are made in chunks of rows, so that a large vocabulary never stands in memory for
    all tokens at once; the backward pass makes them again.
    """

    def logps(hidden: mx.array, wanted: mx.array) -> mx.array:
        return _picked_logps(model.logits(hidden), wanted)

    tokens = hidden.shape[0]
    size = max(1, limits.LOGIT_VALUES // model.vocabulary)
    if tokens <= size and not recompute:
        return logps(hidden, targets)

    def chunk(at: int) -> Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]:
        def in_turn(hidden: mx.array, turn: mx.array) -> tuple[mx.array, mx.array]:
            result = logps(hidden + turn, targets[at : at + size])
            return result, (0 * result[0]).astype(hidden.dtype)

        # Of the head alone: each parameter that it is told of costs a gradient and a sum a chunk.
        return checkpoint(model.head, in_turn)

    # `turn` is zero. It makes a chunk wait for the one before it, and in the backward pass for
    # the one after it; else the logits of all of them may stand in memory at once.
    parts, turn = [], mx.zeros((), hidden.dtype)
    for at in range(0, tokens, size):
        part, turn = chunk(at)(hidden[at : at + size], turn)
        parts.append(part)
    return parts[0] if len(parts) == 1 else mx.concatenate(parts)


def _picked_logps(logits: mx.array, targets: mx.array) -> mx.array:
    """Log-probability of each target: float32 (tokens,) from (tokens, vocabulary).

    A GPU has a kernel for it, which adds up in float32 whatever the logits are in. On a CPU MLX
    adds exponentials one after the other, which loses 1e-4 of a sum of 100,000; there their sum is
    found block by block.
    """
    if backend() != "cpu":
        return -mx.fast.cross_entropy(logits, targets)
    logits = logits.astype(mx.float32)
    picked = mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)
    by_blocks: Any = _logsumexp_by_blocks
    return picked - by_blocks(logits)


@mx.custom_function
def _logsumexp_by_blocks(logits: mx.array) -> mx.array:
    vocabulary = logits.shape[-1]
    size = max(size for size in range(1, LARGEST_BLOCK + 1) if vocabulary % size == 0)
    return cpu_exp.logsumexp(logits, size if size >= LEAST_BLOCK else LARGEST_BLOCK)


@_logsumexp_by_blocks.vjp
def _softmax(logits: mx.array, cotangent: mx.array, logsumexp: mx.array) -> mx.array:
    return cotangent[:, None] * cpu_exp.exp(logits - logsumexp[:, None])
