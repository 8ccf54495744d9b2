"""Plain batched sampling for building and checking the starter (training has the engine's)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from engine.starter.build.pretrain import prompt_ids

BATCH = 96
MAX_TOKENS = 48


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    temperature: float,
    seed: int,
    system: str = "",
) -> list[str]:
    """One completion a prompt, as text without the end of turn."""
    generator = np.random.default_rng(seed)
    encoded = [prompt_ids(tokenizer, prompt, system) for prompt in prompts]
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, ids in enumerate(encoded):
        by_length[len(ids)].append(index)
    texts = [""] * len(prompts)
    for rows in by_length.values():
        for start in range(0, len(rows), BATCH):
            chosen = rows[start : start + BATCH]
            drawn = decode(model, tokenizer, [encoded[i] for i in chosen], temperature, generator)
            for index, ids in zip(chosen, drawn, strict=True):
                texts[index] = tokenizer.decode(ids)
    return texts


def decode(
    model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    temperature: float,
    generator: np.random.Generator,
) -> list[list[int]]:
    """Continue prompts of one length until each has ended."""
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    ids = mx.array(prompts)
    drawn: list[list[int]] = [[] for _ in prompts]
    alive = np.ones(len(prompts), bool)
    for _ in range(MAX_TOKENS):
        logits = model.model.embed_tokens.as_linear(model.model(ids, cache)[:, -1])
        tokens = draw_tokens(np.array(logits), temperature, generator)
        for row in np.flatnonzero(alive):
            if tokens[row] == tokenizer.eos_token_id:
                alive[row] = False
            else:
                drawn[row].append(int(tokens[row]))
        if not alive.any():
            break
        ids = mx.array(tokens)[:, None]
    return drawn


def draw_tokens(
    logits: np.ndarray, temperature: float, generator: np.random.Generator
) -> np.ndarray:
    """One token a row of logits (B, V), by inverting the cumulative distribution."""
    scaled = (logits - logits.max(-1, keepdims=True)) / temperature
    cumulative = np.exp(scaled).cumsum(-1)
    threshold = generator.random((len(logits), 1)) * cumulative[:, -1:]
    return (cumulative < threshold).sum(-1).astype(np.int32)
