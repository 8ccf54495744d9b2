"""Log-probabilities of sampled completions under a model.

The completions are scored as the token ids that were sampled, never as text. Each prompt is
run once and its two completions continue from the shared cache; a model that cannot share is
scored over whole sequences, with the same result.
"""

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
from mlx.nn.utils import checkpoint

from engine.compute import limits
from engine.compute.kv_cache import CompletionCache, checkpointed, padded, prompt_caches
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel


def completion_logps(
    lm: LanguageModel,
    batch: Batch,
    *,
    recompute: bool = False,
    step_size: int | None = None,
) -> mx.array:
    """Sum of the log-probabilities of each completion's tokens.

    Args:
        recompute: trade time for memory in the backward pass (gradient checkpointing).
        step_size: at most this many tokens of a row in one pass, or None for all at once.

    Returns:
        float32 (prompts, completions of each). Differentiable in the model's parameters.
    """
    rows = batch.rows
    if recompute:
        with checkpointed(lm.model):
            hidden, starts = _hidden(lm, batch, rows, step_size)
    else:
        hidden, starts = _hidden(lm, batch, rows, step_size)
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
    logps = _token_logps(lm, flat, targets, recompute)
    # Laid out a row a completion, zeros at its end: each sum then has one order on any device.
    lengths = [len(ids) for ids in rows]
    table = np.full((len(rows), max(lengths)), len(where))
    table[np.arange(max(lengths)) < np.array(lengths)[:, None]] = np.arange(len(where))
    sums = mx.concatenate([logps, mx.zeros(1)])[mx.array(table)].sum(axis=-1)
    return sums.reshape(len(batch.prompts), batch.copies)


def _hidden(
    lm: LanguageModel, batch: Batch, rows: list[Sequence[int]], step_size: int | None
) -> tuple[mx.array, list[int]]:
    """Hidden states (rows, width, features), and for each row the position that predicts its
    completion's first token."""
    if lm.shares_prompts:
        return _hidden_shared(lm, batch, rows, step_size), [0] * len(rows)
    prompts = [prompt for prompt in batch.prompts for _ in range(batch.copies)]
    sequences = [[*prompt, *ids[:-1]] for prompt, ids in zip(prompts, rows, strict=True)]
    return lm.hidden(padded(sequences)), [len(prompt) - 1 for prompt in prompts]


def _hidden_shared(
    lm: LanguageModel, batch: Batch, rows: list[Sequence[int]], step_size: int | None
) -> mx.array:
    """As `_hidden`, but only at the positions that predict completions: the prompt's last one,
    then one for each token of the completion but the last."""
    lengths = [len(prompt) for prompt in batch.prompts]
    caches = prompt_caches(lm.model)
    prompt_hidden = _in_steps(lm, padded(batch.prompts), caches, step_size)
    last = mx.take_along_axis(prompt_hidden, mx.array(lengths)[:, None, None] - 1, axis=1)
    owners = mx.repeat(mx.arange(len(lengths)), batch.copies)
    hidden = mx.take(last, owners, axis=0)
    inputs = [ids[:-1] for ids in rows]
    if not any(inputs):
        return hidden
    uneven = mx.array(lengths)[owners] if len(set(lengths)) > 1 else None
    kept = step_size is not None
    continued = [CompletionCache(cache, owners, uneven, kept) for cache in caches]
    return mx.concatenate([hidden, _in_steps(lm, padded(inputs), continued, step_size)], axis=1)


def _in_steps(
    lm: LanguageModel, ids: mx.array, caches: Sequence[object], step_size: int | None
) -> mx.array:
    """Hidden states of `ids` (rows, tokens), computed `step_size` tokens at a time."""
    tokens = ids.shape[1]
    step = step_size or tokens
    parts = [lm.hidden(ids[:, at : at + step], caches) for at in range(0, tokens, step)]
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=1)


def _token_logps(
    lm: LanguageModel, hidden: mx.array, targets: mx.array, recompute: bool
) -> mx.array:
    """Log-probability of each target: float32 (tokens,) from hidden (tokens, features).

    Logits are made in chunks of rows, so that a large vocabulary never stands in memory for
    all tokens at once; the backward pass makes them again.
    """

    def logps(hidden: mx.array, wanted: mx.array) -> mx.array:
        logits = lm.logits(hidden).astype(mx.float32)
        picked = mx.take_along_axis(logits, wanted[:, None], axis=-1).squeeze(-1)
        return picked - mx.logsumexp(logits, axis=-1)

    tokens = hidden.shape[0]
    size = max(1, limits.LOGIT_VALUES // lm.vocabulary)
    if tokens <= size and not recompute:
        return logps(hidden, targets)

    def chunk(at: int) -> Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]:
        def found(hidden: mx.array, turn: mx.array) -> tuple[mx.array, mx.array]:
            result = logps(hidden + turn, targets[at : at + size])
            return result, (0 * result[0]).astype(hidden.dtype)

        return checkpoint(lm.model, found)

    # `turn` is zero. It makes a chunk wait for the one before it, and in the backward pass for
    # the one after it; else the logits of all of them may stand in memory at once.
    parts, turn = [], mx.zeros((), hidden.dtype)
    for at in range(0, tokens, size):
        part, turn = chunk(at)(hidden[at : at + size], turn)
        parts.append(part)
    return parts[0] if len(parts) == 1 else mx.concatenate(parts)
