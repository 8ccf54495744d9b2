"""Every architecture in one batch: what prompts of unequal length give together, they give alone.

Windows are shorter than prompts, states are continued after padding, and gradients flow through
both.
"""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.compute.choose import supports_sharing
from engine.compute.mlx_backend import MlxBackend
from engine.compute.mlx_model import MlxModel
from engine.compute.sampling import Sampler, sample
from engine.model import arrays
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel
from engine.model.load import load
from tests.engine.zoo import ARCHITECTURES, write_architecture

# A window, chunks of experts, keys handed on, a state of each kind, a state beside attention.
FAST = (
    "gemma3_text",
    "gpt_oss",
    "gemma4_text",
    "mamba2",
    "lfm2",
    "granitemoehybrid",
    "falcon_h1",
    "qwen3_5",
    "qwen3_next",
)
# Masks of one shape only, keys of layers that have no cache, padding that reaches a state.
APART = ("afm7", "gemma2", "gemma3n", "nemotron_h")
# All gradients of a model as a share of their length.
TOLERANCE = 1e-5

each = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in (*FAST, *APART) else pytest.mark.slow)
        for name in ARCHITECTURES
    ],
)


def ids(generator: np.random.Generator, count: int) -> tuple[int, ...]:
    return tuple(int(token) for token in generator.integers(10, 250, count))


def models(name: str, folder: Path) -> tuple[LanguageModel, LanguageModel]:
    """The same model twice: with prompts shared, and each sequence alone. No token ends a turn."""
    module, tokenizer, _ = load(folder, "model", quantization="none")
    model = MlxModel.of(module)
    shares = supports_sharing(model, 512)
    assert shares == (name not in APART)
    shared, alone = (
        LanguageModel(module, tokenizer, frozenset([-1]), MlxBackend(model, shares_prompts=way))
        for way in (shares, False)
    )
    return shared, alone


@each
def test_a_ragged_batch_decodes_to_what_each_prompt_gives_alone(name: str, tmp_path: Path) -> None:
    shared, alone = models(name, write_architecture(tmp_path / "model", name))
    generator = np.random.default_rng(0)
    prompts = [ids(generator, count) for count in (5, 23, 40, 11)]
    together, one_by_one = (
        sample(lm, prompts, copies=2, max_tokens=12, sampler=Sampler(temperature=0), seed=0)
        for lm in (shared, alone)
    )
    assert together == one_by_one


@each
def test_scores_and_gradients_are_those_of_whole_sequences(name: str, tmp_path: Path) -> None:
    shared, alone = models(name, write_architecture(tmp_path / "model", name))
    generator = np.random.default_rng(1)
    batch = Batch(
        [ids(generator, count) for count in (5, 23, 40, 11)],
        [
            (ids(generator, first), ids(generator, second))
            for first, second in ((3, 9), (25, 1), (4, 30), (8, 8))
        ],
    )
    module = shared.model
    module.unfreeze()
    wanted, slopes = gradient(module, alone, batch, recompute=False)
    for lm, recompute in ((shared, False), (shared, True), (alone, True)):
        found, gradients = gradient(module, lm, batch, recompute=recompute)
        assert abs(found - wanted) <= TOLERANCE * abs(wanted)
        difference = {key: gradients[key] - slope for key, slope in slopes.items()}
        assert length(difference) <= TOLERANCE * length(slopes)


def gradient(
    module: nn.Module, lm: LanguageModel, batch: Batch, *, recompute: bool
) -> tuple[float, arrays.Arrays]:
    """A loss that tells completions apart, and its gradient."""

    def loss() -> mx.array:
        return (lm.backend.logps(batch, recompute=recompute) * mx.array([[1.0, -1.0]])).sum()

    value, gradients = nn.value_and_grad(module, loss)()
    return float(np.array(value)), arrays.flat(gradients)


def length(gradients: arrays.Arrays) -> float:
    """Euclidean, over all arrays."""
    return float(np.sqrt(sum(np.square(np.array(array)).sum() for array in gradients.values())))
