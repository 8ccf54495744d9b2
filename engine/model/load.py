"""Models: how they are loaded and quantised."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.compute.kv_cache import supports_sharing
from engine.compute.numpy.kv_cache import is_plain
from engine.errors import UserError
from engine.machine.device import backend, compute_dtype
from engine.model import config as model_config
from engine.model import packing
from engine.model.adapters import trainable_and_frozen, view
from engine.model.language_model import LanguageModel
from engine.model.locate import locate
from engine.model.quantizations import QUANTIZATIONS
from engine.settings.schema import Quantization, Settings

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


def as_language_model(model: nn.Module, tokenizer: Any, tokens: float) -> LanguageModel:
    """Describe a loaded model; `tokens` is the longest sequence it is going to see, or infinity
    where nothing bounds it."""
    backbone, head = _split(model)
    return LanguageModel(
        model=model,
        tokenizer=tokenizer,
        eos_ids=frozenset(tokenizer.eos_token_ids),
        vocabulary=model(mx.array([[0]])).shape[-1],
        shares_prompts=supports_sharing(model, tokens),
        is_plain=is_plain(model),
        _backbone=backbone,
        _head=head,
    )


def _split(model: nn.Module) -> tuple[Callable[..., mx.array], Callable[[mx.array], mx.array]]:
    """The part below the logits and the part that makes them, so that logits are made only
    where they are read. Tried on a token: a model with a step of its own between the two, such
    as a soft cap, is not split."""
    whole = (lambda ids, cache=None: model(ids, cache=cache)), (lambda logits: logits)
    wrapper: Any = getattr(model, "language_model", model)
    try:
        backbone = wrapper.model
        if "lm_head" in wrapper:
            parts = (
                (lambda ids, cache=None: backbone(ids, cache=cache)),
                (lambda h: wrapper.lm_head(h)),
            )
        else:
            parts = (
                (lambda ids, cache=None: backbone(ids, cache=cache)),
                (lambda h: backbone.embed_tokens.as_linear(h)),
            )
        ids = mx.array([[1, 2, 3]])
        if mx.array_equal(parts[1](parts[0](ids)), model(ids)):
            return parts
    except Exception:  # an architecture laid out in another way
        pass
    return whole


@dataclass(frozen=True)
class Roles:
    """The models of a run. Roles that name the same weights share them."""

    policy: LanguageModel
    reference: LanguageModel
    judge: LanguageModel | None
    config: dict[str, Any]
    notes: list[str]  # what a person should know of how they were loaded


def load_roles(
    settings: Settings,
    on_download: Callable[[str], None] = lambda name: None,
    start: Path | None = None,
) -> Roles:
    """Load policy, reference and judge (None where a person judges), each set of weights once.

    The adapters' random start is drawn from MLX's global state: seed it before.

    Args:
        start: a file of adapters, or of trained layers, that the policy starts from.

    Raises:
        UserError: as `locate`, `load`, `add_adapters` and `load_adapter_file`.
    """
    loaded: dict[tuple[Path, Quantization], tuple[nn.Module, Any, dict[str, Any]]] = {}
    notes: list[str] = []

    def role(name: str, key: str, quantization: Quantization) -> tuple[nn.Module, Any, dict]:
        folder = locate(name, key, on_download).resolve()
        if (folder, quantization) not in loaded:
            if not settings.trust_remote_code and (code := sorted(folder.glob("*.py"))):
                notes.append(
                    f"{key}: {code[0].name} in {folder} is not run: trust_remote_code is off"
                )
            loaded[folder, quantization] = load(
                folder,
                key,
                quantization=quantization,
                trust_remote_code=settings.trust_remote_code,
            )
        model, tokenizer, config = loaded[folder, quantization]
        return view(model), tokenizer, config

    quantization = settings.quantization
    model, tokenizer, config = role(settings.model, "model", quantization)
    notes += [
        f"model: mlx-lm computes it unlike transformers: {difference}"
        for difference in model_config.differences(config, settings.max_seq_length)
    ]
    reference, left_out = trainable_and_frozen(model, settings, start)
    if left_out:
        notes.append(
            f"no adapters on {', '.join(left_out)}: the model does not run with them there"
        )
    if settings.reference_model_path:
        reference, reference_tokenizer, _ = role(
            settings.reference_model_path, "reference_model_path", quantization
        )
        if len(reference_tokenizer) != len(tokenizer):
            raise UserError(
                "reference_model_path: its vocabulary differs from the policy's, so it cannot "
                "score the same tokens."
            )
        reference.freeze()
    tokens = settings.max_seq_length
    judge = None
    if not settings.human_judge:
        judge_model, judge_tokenizer, _ = role(
            settings.judge, "judge", settings.judge_quantization or quantization
        )
        # A judge reads the rubric, the whole prompt and two answers, however long.
        judge = as_language_model(judge_model, judge_tokenizer, math.inf)
    mx.eval(model.parameters())
    return Roles(
        policy=as_language_model(model, tokenizer, tokens),
        reference=as_language_model(reference, tokenizer, tokens),
        judge=judge,
        config=config,
        notes=notes,
    )
