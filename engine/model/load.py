"""Model folders: how they are loaded and quantised."""

import inspect
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.errors import UserError
from engine.machine.backend import backend
from engine.machine.device import compute_dtype
from engine.model import config as model_config
from engine.model import packing
from engine.model.quantizations import QUANTIZATIONS
from engine.settings.sections.fine_tune import Quantization

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")  # never read


def load(
    folder: Path, role: str, *, quantization: Quantization, trust_remote_code: bool = False
) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Load a model folder, quantised as asked unless it already is.

    On the CPU backend the weights are then held as float32, a quantised layer as the numbers
    that its packed form stands for: half-precision and quantised kernels are slow there.

    Returns:
        The frozen model, its tokenizer and the contents of its config.json.

    Raises:
        UserError: the folder is no model that can be loaded, with the reason.
    """
    if not any(folder.glob("model*.safetensors")):
        pickles = sorted(name for kind in PICKLES for name in folder.glob(kind))
        brought = f", and {pickles[0].name} is a pickle: it can run code" if pickles else ""
        raise UserError(
            f"{role}: {folder} has no model*.safetensors{brought}; give a folder with safetensors."
        )
    if backend() == "cpu":
        mx.disable_compile()  # there it starts a C++ compiler, which a machine need not have
    try:
        model, tokenizer, config = model_config.load_folder(
            folder, trust_remote_code=trust_remote_code
        )
        if quantization != "none" and "quantization" not in config:
            quantize(model, quantization)
        if (dtype := compute_dtype()) is not None:
            packing.unpack(model, dtype)
        mx.eval(model.parameters())
        logits = model(mx.array([[0]]))
        if not mx.isfinite(logits).any().item():
            raise ValueError("it computes no finite number")
    except SystemExit as error:  # some of mlx-lm's modules end the program
        raise UserError(
            f"{role}: {folder} cannot be loaded: mlx-lm needs a further package for it."
        ) from error
    except Exception as error:  # a damaged config can fail anywhere in mlx-lm and the tokenizer
        message = " ".join(str(error).split()) or type(error).__name__
        hint = ""
        if "trust_remote_code" in message:
            hint = " Set trust_remote_code only if you trust its author."
        raise UserError(f"{role}: {folder} cannot be loaded: {message[:300]}{hint}") from error
    model.freeze()
    return model, tokenizer, config


def quantize(model: nn.Module, quantization: Quantization) -> None:
    """Quantise in place all layers whose width allows it and that mlx-lm can; the others stay as
    they are."""
    form = QUANTIZATIONS[quantization]

    def fits(path: str, module: Any) -> bool:
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % form["group_size"]:
            return False
        # A few architectures have layers of their own that know of no modes.
        return "mode" in inspect.signature(module.to_quantized).parameters

    nn.quantize(model, **form, class_predicate=fits)
