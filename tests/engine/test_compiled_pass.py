"""A padded, compiled pass gives the loss and the gradient of a plain one, in few traces."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import psutil
import pytest

from engine.compute import choose
from engine.compute.shapes import MOST
from engine.data.pairs import JudgedPair, Verdict
from engine.errors import UserError
from engine.model import load
from engine.model.adapters import trainable_and_frozen
from engine.settings import checks
from engine.train import compiled_pass
from engine.train.compiled_pass import CompiledPass
from engine.train.online_dpo import learn, summed_loss
from engine.train.optimizers import build_optimizer
from engine.train.update import Update
from tests.close import assert_close
from tests.engine.small_models import number, pair, settings, stir, tokenizer
from tests.engine.zoo import ARCHITECTURES, write_architecture

METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"train_type": "dora"},
    "full": {"train_type": "full"},
    "recomputed": {"grad_checkpoint": True},
    "one layer": {"num_layers": 1},
    "4-bit": {"quantization": "4-bit"},
    "in chunks": {"efficient_long_context": True, "seq_step_size": 16},
    "per token": {"length_normalize": True, "soft_labels": "mix"},
}
QUICK = ["lora", "dora", "full", "recomputed"]  # the others are slow
KINDS = ["qwen3_5"]  # recurrent states; the others are slow
WORDS = ["so", "it", "may", "well", "be", "that", "nobody", "knows", "the", "answer", "to", "it"]


def judged(lengths: Iterable[Sequence[int]]) -> list[JudgedPair]:
    """Decided pairs with so many words of a prompt and of the two completions."""
    pairs = [
        pair(
            index,
            prompt="Why? " * asked,
            first=" ".join(WORDS[:first]),
            second=" ".join(WORDS[-second:]),
            second_finished=bool(index % 2),
        )
        for index, (asked, first, second) in enumerate(lengths)
    ]
    return [
        JudgedPair(each, Verdict("first" if at % 2 else "second", q=0.8 if at % 2 else 0.3))
        for at, each in enumerate(pairs)
    ]


# With padded rows a BLAS adds in another order, and a plain pass may be numpy's: 1e-6 to 4e-6,
# by BLAS and kernels.
ROUNDING = 1e-5
RAGGED = judged([(1, 1, 3), (3, 2, 1), (2, 5, 4), (1, 8, 2), (6, 3, 3)])


def update_of(architecture: str, *, seed: int = 1, at_start: bool = False, **values: Any) -> Update:
    """Of a policy that was trained a little, unless it is at its start."""
    chosen = settings(
        **{
            "batch_size": 8,
            "max_completion_length": 96,
            "grad_checkpoint": False,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "lora_parameters": {"rank": 4, "scale": 8.0},
        }
        | values
    )
    with tempfile.TemporaryDirectory() as folder:
        model, *_ = load.load(
            write_architecture(Path(folder) / architecture, architecture),
            "model",
            quantization=chosen.quantization,
        )
    mx.random.seed(seed)
    reference, _ = trainable_and_frozen(model, chosen)
    policy, frozen = choose.policy_and_reference(model, reference, tokenizer(), 512)
    if not at_start:
        stir(policy.model)
    return Update(policy, frozen, chosen, build_optimizer(chosen, 100))


def assert_equal(architecture: str, **values: Any) -> None:
    """Loss, log-probabilities and gradient of a compiled pass are those of a plain one."""
    plain, padded = (update_of(architecture, compile=word, **values) for word in ("off", "on"))
    results = [each.add_gradients(summed_loss, RAGGED, 1) for each in (plain, padded)]
    assert isinstance(padded._compiled, CompiledPass)
    assert padded._compiled.traces >= 1
    size = abs(results[0].means["chosen_logp"])  # what all of them are made of
    for name, value in results[0].means.items():
        assert_close(results[1].means[name], value, ROUNDING, size=size, name=name)
    assert plain.gradients
    assert padded.gradients
    size = max(number(mx.abs(each).max()) for each in plain.gradients.values())
    for name, gradient in plain.gradients.items():
        assert_close(padded.gradients[name], gradient, ROUNDING, size=size, name=name)


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same function, padded and all, run as it is: no compiler takes its time."""
    monkeypatch.setattr(compiled_pass, "_compiling", nullcontext)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.mark.usefixtures("not_compiled")
@pytest.mark.parametrize(
    "method",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in METHODS],
)
def test_a_padded_pass_equals_a_plain_one(method: str) -> None:
    assert_equal("qwen3", **METHODS[method])


@pytest.mark.usefixtures("not_compiled")
@pytest.mark.parametrize("architecture", KINDS)
def test_models_of_other_kinds_do_too(architecture: str) -> None:
    assert_equal(architecture)


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler")
@pytest.mark.parametrize("train_type", ["dora", "full"])
def test_the_first_pass_of_a_policy_that_still_is_its_reference(train_type: str) -> None:
    update = update_of("qwen3", at_start=True, compile="on", train_type=train_type, num_layers=1)
    assert learn(update, RAGGED[:1], step=1).means["margin"] == 0
    assert isinstance(update._compiled, CompiledPass)


@pytest.mark.usefixtures("not_compiled")
def test_weights_are_those_of_the_newest_step() -> None:
    plain, padded = (update_of("qwen3", compile=word) for word in ("off", "on"))
    losses = [
        [learn(each, RAGGED, step=step).means["loss"] for step in range(1, 4)]
        for each in (plain, padded)
    ]
    assert_close(losses[1], losses[0], 1e-5)
    assert losses[0][2] < losses[0][1] < losses[0][0]


@pytest.mark.usefixtures("not_compiled")
def test_what_cannot_be_traced_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        compiled_pass.PaddedBatch, "of", lambda *args: (_ for _ in ()).throw(ValueError("no"))
    )
    warnings: list[str] = []
    plain, padded = update_of("qwen3", compile="off"), update_of("qwen3", compile="on")
    with pytest.raises(UserError, match="compile: the update of this model cannot be compiled"):
        padded.add_gradients(summed_loss, RAGGED, 1)
    padded.settings = padded.settings.model_copy(update={"compile": "auto"})
    padded._warn = warnings.append
    results = [each.add_gradients(summed_loss, RAGGED, 1).means for each in (plain, padded)]
    assert results[0] == results[1]
    assert warnings == ["the update is not compiled, which this model does not allow: no"]


def test_it_is_asked_for_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    if not mx.metal.is_available() and mx.default_device() == mx.Device(mx.cpu):
        with pytest.raises(UserError, match="on a CPU it takes g"):
            checks.check(settings(compile="on"))
    with pytest.raises(UserError, match="an update with dropout is never compiled"):
        checks.check(settings(compile="on", lora_parameters={"dropout": 0.1}))
    checks.check(settings(compile="auto", lora_parameters={"dropout": 0.1}))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiled_passes_of_every_architecture(architecture: str) -> None:
    probe = update_of(architecture, compile="on")
    if not probe._compiles:
        pytest.skip("its prompts cannot be shared")
    assert_equal(architecture)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler")
def test_two_thousand_steps_of_random_lengths_make_few_traces() -> None:
    update = update_of("qwen3", compile="on", batch_size=4)
    draw = np.random.default_rng(7)
    memory = []
    for step in range(1, 2001):
        count = int(draw.integers(1, 5))
        words = np.column_stack([draw.integers(1, 40, count), draw.integers(1, 12, (count, 2))])
        learn(update, judged(words.tolist()), step=step)
        if step % 100 == 0:
            memory.append((psutil.Process().memory_info().rss >> 20, mx.get_active_memory() >> 20))
    assert update._compiled
    print(f"{update._compiled.traces} traces; resident and active MiB: {memory}")
    assert update._compiled.traces <= MOST
    half = len(memory) // 2
    assert memory[-1][0] <= 1.05 * memory[half][0]
    assert memory[-1][1] <= memory[half][1] + 1
