"""Reward models: a decoder's body with a head of one output, as transformers saves them.

A folder whose config names a `...ForSequenceClassification`, in the layouts of Llama, Qwen2 and
Qwen3: the tensors of the body under `model.`, and `score.weight`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.utils import load_model, load_tokenizer

from engine.errors import UserError
from engine.machine.backend import backend
from engine.machine.device import compute_dtype
from engine.model import arrays, files, packing
from engine.model.config import for_mlx_lm
from engine.model.load import quantize
from engine.settings.sections.fine_tune import Quantization

LAYOUTS = ("llama", "qwen2", "qwen3")
HEAD, BIAS = "score.weight", "score.bias"


@dataclass(frozen=True)
class RewardModel:
    """A body and its head, with the tokenizer that goes with them."""

    body: nn.Module
    head: mx.array  # (1, features), float32
    bias: mx.array  # (1,), float32
    tokenizer: Any

    def scores(self, rows: Sequence[Sequence[int]]) -> mx.array:
        """The score of each row of token ids, at its last token: float32 (rows,)."""
        lengths = mx.array([len(row) for row in rows])
        width = max(map(len, rows))
        # What is filled up on the right comes after all that a row's last token looks at.
        padded = mx.array([[*row, *[0] * (width - len(row))] for row in rows])
        last = self.body(padded)[mx.arange(len(rows)), lengths - 1].astype(mx.float32)
        return (last @ self.head.T + self.bias).squeeze(-1)


def check_reward_model(folder: Path, role: str) -> None:
    """Look at a folder without loading it.

    Raises:
        UserError: its model has another number of outputs, a layout that is not known, or lacks
            its head.
    """
    config, tensors = files.read_config(folder) or {}, files.read_tensors(folder) or []
    kind = config.get("model_type")
    if kind not in LAYOUTS:
        raise UserError(
            f"{role}: {folder} is a reward model of type {kind}; the layouts that can be read are "
            f"{', '.join(LAYOUTS)}."
        )
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    if HEAD not in shapes:
        raise UserError(f"{role}: {folder} has no {HEAD}, the head of a reward model.")
    if len(shapes[HEAD]) != 2 or shapes[HEAD][0] != 1:
        raise UserError(
            f"{role}: {folder} has {shapes[HEAD][0]} outputs, and a reward model has one; choose "
            "another model."
        )
    layers = config.get("num_hidden_layers")
    if not isinstance(layers, int) or layers > len(tensors):
        raise UserError(f"{role}: {folder} says num_hidden_layers: {layers}, which it cannot have.")


def load_reward_model(folder: Path, role: str, *, quantization: Quantization) -> RewardModel:
    """Load a reward model, its body quantised as asked unless it already is.

    Raises:
        UserError: as `check_reward_model`, or the folder is damaged.
    """
    check_reward_model(folder, role)
    if backend() == "cpu":
        mx.disable_compile()  # there it starts a C++ compiler, which a machine need not have
    config = files.read_config(folder) or {}
    try:
        # Tied, so that no head for text is made, which the folder does not have.
        changes = for_mlx_lm(config) | {"tie_word_embeddings": True}
        loaded: Any = load_model(folder, lazy=True, strict=False, model_config=changes)
        whole = loaded[0]
        _check_weights(whole, folder)
        if quantization != "none" and "quantization" not in config:
            quantize(whole, quantization)
        if (dtype := compute_dtype()) is not None:
            packing.unpack(whole, dtype)
        head, bias = _head(folder)
        tokenizer = load_tokenizer(folder)
        model = RewardModel(whole.model, head, bias, tokenizer)
        whole.freeze()
        whole.eval()
        mx.eval(whole.parameters(), head, bias)
        if not mx.isfinite(model.scores([[0]])).all().item():
            raise ValueError("it computes no finite number")
    except Exception as error:  # a damaged folder can fail anywhere in mlx-lm and the tokenizer
        message = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{role}: {folder} cannot be loaded: {message[:300]}") from error
    return model


def _check_weights(model: nn.Module, folder: Path) -> None:
    """Raise `ValueError` where the folder lacks a weight of the body: mlx-lm does not look, since
    it has to pass over the head, which has no place in its model."""
    names = {tensor.name for tensor in files.read_tensors(folder) or []}
    for name in arrays.flat(model.parameters()):
        if name not in names:
            raise ValueError(f"it lacks {name}")


def _head(folder: Path) -> tuple[mx.array, mx.array]:
    """Weight and bias of the head, float32; where it has no bias, that is 0."""
    head: dict[str, mx.array] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        head |= {name: each for name, each in arrays.load(file).items() if name in (HEAD, BIAS)}
    bias = head.get(BIAS, mx.zeros(1))
    return head[HEAD].astype(mx.float32), bias.astype(mx.float32)
