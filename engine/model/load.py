"""Models: where they are found, how they are loaded and quantised, their adapters and views.

The frozen reference of a run is a view of its policy: a second module tree over the same
arrays, taken before adapters are added. It costs no memory, and stays what it was when the
policy's own arrays are replaced by trained ones.
"""

import copy
import inspect
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from engine.compute import cpu_math
from engine.compute.kv_cache import supports_sharing
from engine.compute.numpy.kv_cache import is_plain
from engine.errors import UserError
from engine.machine.backend import backend
from engine.machine.device import compute_dtype
from engine.machine.hub import hub_reachable
from engine.model import arrays, packing
from engine.model import config as model_config
from engine.settings.schema import Quantization, Settings
from engine.starter import JUDGE, POLICY

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")  # never read
QUANTIZATIONS: dict[Quantization, dict[str, Any]] = {
    "4-bit": {"group_size": 128, "bits": 4, "mode": "affine"},
    "6-bit": {"group_size": 128, "bits": 6, "mode": "affine"},
    "8-bit": {"group_size": 128, "bits": 8, "mode": "affine"},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
}


@dataclass(frozen=True)
class LanguageModel:
    """A model as one role of a run uses it: policy, reference or judge."""

    model: nn.Module
    tokenizer: Any
    eos_ids: frozenset[int]
    vocabulary: int
    shares_prompts: bool
    is_plain: bool  # `engine.compute.numpy` computes it
    _backbone: Callable[..., mx.array]
    _head: Callable[[mx.array], mx.array]

    def hidden(self, ids: mx.array, cache: Any = None) -> mx.array:
        """Hidden states (rows, tokens, features) of ids (rows, tokens).

        A model that cannot be split gives its logits here, and `logits` passes them on.
        """
        return self._backbone(ids, cache)

    def logits(self, hidden: mx.array) -> mx.array:
        """Logits (..., vocabulary) of hidden states (..., features)."""
        return self._head(hidden)


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


# -- finding -------------------------------------------------------------------------------------


def locate(name: str, role: str, on_download: Callable[[str], None] = lambda name: None) -> Path:
    """Folder of a model: the starter's, a local one, or the hub's copy in the local cache.

    Args:
        role: the setting that names it, for messages.
        on_download: told the hub id before anything is downloaded.

    Raises:
        UserError: there is no such folder, or the hub does not have or give it.
    """
    if name == "starter":
        return JUDGE if role == "judge" else POLICY
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{role}: {name} has no config.json; give the folder of a model.")
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise UserError(f"{role}: there is no folder {name}; give a local folder or a hub id.")
    return _from_hub(name, role, on_download)


def _from_hub(name: str, role: str, on_download: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    patterns = ["*.json", "model*.safetensors", "*.py", "*.txt", "*.model", "*.tiktoken", "*.jinja"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
    except Exception:  # not in the cache, whatever the reason
        on_download(name)
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except GatedRepoError:
        reason = "the hub gives it only to accounts that accepted its terms; log in first"
    except (RepositoryNotFoundError, HFValidationError):
        reason = "the hub has no such model; look at the spelling, or log in if it is private"
    except Exception as error:  # the network and the hub fail in many ways
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            reason = "the hub was not asked, because HF_HUB_OFFLINE is set"
        elif not hub_reachable():
            reason = "the hub could not be reached; check the connection"
        else:
            reason = f"the download failed ({type(error).__name__}); try again"
    raise UserError(
        f"{role}: {name} is neither a local folder nor in the local hub cache, and {reason}."
    )


# -- loading -------------------------------------------------------------------------------------


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
        cpu_math.install()
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


# -- views and adapters --------------------------------------------------------------------------


def view(model: nn.Module) -> nn.Module:
    """A second module tree over the same arrays.

    What is later added to or replaced in one tree is not seen in the other.
    """
    shared = {}
    for module in model.modules():
        values = [*arrays.flat(dict(module)).values(), *vars(module).values()]
        shared |= {id(value): value for value in values if isinstance(value, mx.array)}
    return copy.deepcopy(model, shared)


def add_adapters(model: nn.Module, settings: Settings) -> list[str]:
    """Make `model` trainable in place: LoRA or DoRA adapters, or the top layers themselves.

    Adapters start as no change at all. Trained weights are held in float32 whatever the model
    is in, since updates are far smaller than half precision resolves.

    Returns:
        The names, within a layer, of what was left without adapters, because the model does not
        run with them there: some read a part's weights from outside it.

    Raises:
        UserError: the keys or the kind of adapter do not fit this model.
    """
    model.freeze()
    layers: Any = model.layers
    if settings.train_type == "full":
        trained = layers if settings.num_layers < 0 else layers[len(layers) - settings.num_layers :]
        for layer in trained:
            layer.unfreeze()
            layer.apply(lambda array: array.astype(mx.float32))
        return []
    # mlx-lm's DoRA layer takes the width of packed weights to be a multiple of 32 // bits.
    packed: list[Any] = [each for each in model.modules() if isinstance(each, nn.QuantizedLinear)]
    if settings.train_type == "dora" and any(32 % each.bits for each in packed):
        raise UserError(
            "train_type: dora does not fit 6-bit weights; choose lora, or quantization 4-bit or "
            "8-bit."
        )
    before, parts = view(model), dict(model.named_modules())
    _put_adapters(model, settings, settings.lora_parameters.keys)
    adapters = [path for path, module in model.named_modules() if "lora_a" in module]
    left_out = []
    if not _runs_as(before, model):
        for name in sorted(set(map(adapter_key, adapters))):
            trial = view(before)
            _put_adapters(trial, settings, [name])
            if not _runs_as(before, trial):
                left_out.append(name)
        back = [(path, parts[path]) for path in adapters if adapter_key(path) in left_out]
        model.update_modules(tree_unflatten(back))
    if not arrays.flat(model.trainable_parameters()):
        reason = "does not run with adapters on" if left_out else "has no modules named"
        wanted = ", ".join(settings.lora_parameters.keys or left_out)
        raise UserError(f"lora_parameters.keys: {settings.model} {reason} {wanted}.")
    return left_out


def adapter_key(path: str) -> str:
    """How `lora_parameters.keys` names a module of the model: by its name within its layer; one
    outside all layers by its whole path."""
    return re.sub(r"^.*?\.\d+\.", "", path)


def _put_adapters(model: nn.Module, settings: Settings, keys: list[str] | None) -> None:
    """Put adapters on what these keys name, by default on all that can have them."""
    parameters = settings.lora_parameters.model_dump() | {"keys": keys}
    try:
        linear_to_lora_layers(
            model, settings.num_layers, parameters, use_dora=settings.train_type == "dora"
        )
    except ValueError as error:
        raise UserError(f"train_type: {str(error).rstrip('.')}; choose lora.") from error
    model.eval()  # new modules drop out until told otherwise


def _runs_as(model: nn.Module, adapted: nn.Module) -> bool:
    """Whether the model with adapters runs as it does without. Nothing is computed: one that
    does not fails while its graph is built."""
    ids = mx.array([[0, 0]])
    try:
        return adapted(ids).shape == model(ids).shape
    except Exception:  # whatever an unknown model raises
        return False


def trainable_and_frozen(
    model: nn.Module, settings: Settings, start: Path | None = None
) -> tuple[nn.Module, list[str]]:
    """Make `model` trainable in place, from a file of adapters where `start` names one.

    Returns:
        What it starts as, frozen and computed in the same way, so that both give the same
        numbers; and what was left without adapters, as `add_adapters` names it.

    Raises:
        UserError: as `add_adapters` and `load_adapter_file`.
    """
    bare = view(model)
    left_out = add_adapters(model, settings)
    if start:
        load_adapter_file(model, start)
    # What fresh LoRA adds is exactly nothing; fresh DoRA is no change, but rounds in its own way.
    frozen = bare if settings.train_type == "lora" and not start else view(model)
    frozen.freeze()
    return frozen, left_out


@contextmanager
def learning(model: nn.Module, *, drop_out: bool) -> Iterator[None]:
    """While open, the model is in training mode, in which some layers of mlx-lm are computed in
    another way, with a gradient. Of all dropout, only that of adapters is ever on, if `drop_out`.
    """
    model.train()
    modules: list[Any] = model.modules()
    kept = {id(each.dropout) for each in modules if drop_out and "lora_a" in each}
    for module in modules:
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            module.train(id(module) in kept)
    try:
        yield
    finally:
        model.eval()


def load_adapter_file(model: nn.Module, path: Path, key: str = "resume_adapter_file") -> None:
    """Set trainable weights of `model` from a safetensors file, in the precision that they are
    trained in whatever the file has.

    Raises:
        UserError: it is missing, unreadable, or of another shape of adapters.
    """
    if not path.is_file():
        raise UserError(f"{key}: there is no file {path}.")
    try:
        weights = arrays.load(path)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{key}: {path} is no safetensors file.") from error
    trainable = arrays.flat(model.trainable_parameters())
    for name, array in trainable.items():
        if name not in weights:
            raise UserError(
                f"{key}: {path} has no {name}; its layers, keys or train_type differ from this "
                "run's: set num_layers, lora_parameters.keys and train_type alike."
            )
        if weights[name].shape != array.shape:
            raise UserError(
                f"{key}: {name} in {path} has shape {tuple(weights[name].shape)}, but this run's "
                f"has {tuple(array.shape)}; set lora_parameters.rank alike."
            )
    if unknown := sorted(set(weights) - set(trainable)):
        raise UserError(f"{key}: {path} has {unknown[0]}, which this run does not train.")
    kept = [(name, weights[name].astype(array.dtype)) for name, array in trainable.items()]
    model.load_weights(kept, strict=False)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable and all parameters. Packed weights count as the numbers that they hold."""
    trainable = sum(array.size for array in arrays.flat(model.trainable_parameters()).values())
    total = sum(
        array.size * 32 // module.bits
        if name == "weight" and hasattr(module, "bits")
        else array.size
        for module in model.modules()
        for name, array in module.items()
        if isinstance(array, mx.array)
    )
    return trainable, total


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
