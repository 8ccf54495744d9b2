"""What computes a model: chosen once, by trials on a few tokens.

Each architecture treats positions, masks and layers in its own way, and an unknown one may do
more. So nothing is taken for granted: what gives the numbers of the plain way is used.

`LORA_STUDIO_NUMPY=0` in the environment leaves everything to MLX.
"""

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import KVCache as MlxKVCache
from mlx_lm.models.cache import make_prompt_cache

from engine.compute import limits
from engine.compute.caches import completion_caches, prompt_caches, states, windows
from engine.compute.frozen_layers import FrozenLayers, in_order, shared_layers
from engine.compute.mlx_backend import MlxBackend
from engine.compute.mlx_model import MlxModel
from engine.compute.numpy.backend import NumpyBackend
from engine.compute.numpy.kv_cache import KVCache
from engine.compute.numpy.logps import trains_adapters_alone
from engine.compute.numpy.model import NumpyModel, numpy_model
from engine.model import arrays
from engine.model.backend import Backend
from engine.model.batch import Batch, padded
from engine.model.language_model import LanguageModel

# Most that logits by numpy may differ from MLX's, as a share of the largest of them.
TOLERANCE = 1e-4
TRIAL = Batch(prompts=[[1, 2, 3, 4], [5, 6]], completions=[[[7, 8], [9]], [[10], [3, 4, 5]]])


def alone(model: nn.Module, tokenizer: Any, tokens: float = math.inf) -> LanguageModel:
    """A model that is compared with no other, such as a judge.

    Args:
        tokens: the longest sequence that it is going to see, or infinity where nothing bounds it.
    """
    parts = MlxModel.of(model)
    mlx = MlxBackend(parts, shares_prompts=supports_sharing(parts, tokens))
    if not is_numpy(model):
        return _language_model(mlx, tokenizer, mlx)
    trains = arrays.flat(model.trainable_parameters())
    scores = not trains or trains_adapters_alone(model)
    return _language_model(mlx, tokenizer, NumpyBackend(model, mlx, scores=scores))


def policy_and_reference(
    policy: nn.Module, reference: nn.Module, tokenizer: Any, tokens: float
) -> tuple[LanguageModel, LanguageModel]:
    """A policy and its reference, which are scored in the same way, so that equal weights give
    equal numbers. The layers that both share are run once for both."""
    modules = policy, reference
    models = [MlxModel.of(each) for each in modules]
    shares = [supports_sharing(each, tokens) for each in models]
    by_numpy = [is_numpy(each) for each in modules]
    scores = all(by_numpy) and trains_adapters_alone(policy)
    count = shared_layers(policy, reference)
    once = count > 0 and shares[0] == shares[1] and _runs_once(models, shares[0], count)
    in_mlx = FrozenLayers[mx.array](count) if once else None
    in_numpy = FrozenLayers[np.ndarray](count)
    sides = []
    for at, (module, model) in enumerate(zip(modules, models, strict=True)):
        keeps = module is reference
        mlx = MlxBackend(model, shares_prompts=shares[at], frozen=in_mlx, keeps=keeps)
        by = mlx
        if by_numpy[at]:
            by = NumpyBackend(module, mlx, scores=scores, frozen=in_numpy, keeps=keeps)
        sides.append(_language_model(mlx, tokenizer, by))
    return sides[0], sides[1]


def _language_model(mlx: MlxBackend, tokenizer: Any, backend: Backend) -> LanguageModel:
    return LanguageModel(mlx.model.module, tokenizer, frozenset(tokenizer.eos_token_ids), backend)


# -- trials --------------------------------------------------------------------------------------


def supports_sharing(model: MlxModel, tokens: float) -> bool:
    """Whether prompts of this model can be shared over `tokens` positions by MLX.

    True where every layer keeps keys and values, a window of them or recurrent states, and where
    small trials give the same numbers as a plain pass: for each window that `tokens` overflow
    one whose prompts do so too.
    """
    sizes = windows(model.module)
    if sizes is None:
        return False
    prompts = [[*range(1, 13)], [5, 6]]
    over = [size for size in set(sizes) if size < tokens]
    try:
        return all(
            _continues(model, [_longer(ids, size) for ids in prompts]) for size in [0, *over]
        )
    except Exception:  # whatever an unknown model raises, the plain pass serves it
        return False


def _longer(ids: list[int], tokens: int) -> list[int]:
    """The same ids over and over, and `tokens` more of them."""
    count = len(ids) + tokens
    return (ids * (count // len(ids) + 1))[:count]


def _continues(model: MlxModel, prompts: list[list[int]]) -> bool:
    """Prompts of unequal length, continued by two tokens: equal to a plain pass, and states to
    those of each prompt alone? Logits are made of the two tokens alone: there may be a large
    vocabulary, and a window is long."""
    tail = [[7, 8], [9, 10]]
    lengths = [len(prompt) for prompt in prompts]
    caches = prompt_caches(model.module, lengths)
    model.hidden(padded(prompts), caches)
    rows = mx.arange(len(prompts))
    continued = completion_caches(caches, rows, mx.array(lengths))
    shared = model.logits(model.hidden(padded(tail), continued))
    for row, (prompt, completion) in enumerate(zip(prompts, tail, strict=True)):
        plain = model.hidden(mx.array([prompt + completion]))[:, len(prompt) :]
        if not _close(shared[row], model.logits(plain)[0]):
            return False
        alone = prompt_caches(model.module)
        model.hidden(mx.array([prompt]), alone)
        for mine, theirs in zip(states(caches), states(alone), strict=True):
            if not _close(mine[row], theirs[0]):
                return False
    return True


def _close(array: mx.array, wanted: mx.array) -> bool:
    """Equal, but for what half precision rounds?"""
    return bool(mx.abs(array - wanted).max() < 2e-2 * (mx.abs(wanted).max() + 1e-6))


def is_numpy(model: nn.Module) -> bool:
    """Whether numpy can compute a model, with MLX's own numbers, and may."""
    if not limits.numpy_serves() or mx.default_device() != mx.Device(mx.cpu):
        return False
    if any(type(cache) is not MlxKVCache for cache in make_prompt_cache(model)):
        return False
    try:
        return _agrees(model, numpy_model(model))
    except Exception:  # whatever an unknown model raises, MLX computes it
        return False


def _agrees(model: nn.Module, ours: NumpyModel) -> bool:
    """Two rows of unequal length, read in two parts: do the logits equal MLX's?"""
    first, then = [[1, 2, 3], [4, 5]], [[6, 7], [8]]
    rows = KVCache(ours, 2, 5)
    rows.feed(first)
    logits = ours.logits(rows.feed(then))
    for row, (start, end) in enumerate(zip(first, then, strict=True)):
        wanted = np.array(model(mx.array([start + end]))[0, -1])
        if not np.abs(logits[row] - wanted).max() <= TOLERANCE * np.abs(wanted).max():
            return False
    return True


def _runs_once(models: list[MlxModel], shares_prompts: bool, count: int) -> bool:
    """Whether MLX scores a policy to the same numbers where its frozen layers are not run."""
    policy, reference = models
    frozen = FrozenLayers[mx.array](count)
    try:
        if not in_order(policy.module, count):
            return False
        whole = MlxBackend(policy, shares_prompts=shares_prompts)
        first = MlxBackend(reference, shares_prompts=shares_prompts, frozen=frozen, keeps=True)
        then = MlxBackend(policy, shares_prompts=shares_prompts, frozen=frozen)
        mx.eval(first.logps(TRIAL))
        return bool(mx.array_equal(then.logps(TRIAL), whole.logps(TRIAL)))
    except Exception:  # whatever an unknown model raises, its layers are run each time
        return False
