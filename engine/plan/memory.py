"""What a run will take, told before anything is loaded: memory by part, and the download.

Weights, adapters and the optimizer's state are counted from the headers of the model's files and
are exact. What a step needs on top is an estimate from the model's shape, for prompts as long as
the settings allow or, where that is known, as the longest of the data; it is meant to be met or
stayed below, and to be of the right size.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.compute import limits
from engine.errors import UserError
from engine.machine.blas import numpy_multiplies_by_mkl
from engine.machine.device import device
from engine.model import adapter_files, files
from engine.model.files import Shape, Tensor
from engine.model.quantizations import GROUP_BYTES, QUANTIZATIONS
from engine.plan import step_memory
from engine.plan.preview import longest_prompt as longest_of_data
from engine.settings.schema import Settings
from engine.settings.sections.fine_tune import Quantization

PROGRAM = 250 << 20  # Python and the libraries, before any model
# Arrays as large as the trained weights that an optimizer keeps.
MOMENTS = {"adam": 2, "adamw": 2, "adamax": 2, "adadelta": 2, "adafactor": 0}
# Kinds of model that numpy computes on a CPU (`engine.compute.numpy`), by their config; a trial
# decides.
NUMPY_KINDS = {"llama", "qwen2", "qwen3"}
WIDTH = 128  # tokens; the longest prompt of a batch may be padded up to a multiple of it
_IN_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes by part; None where the files that would tell are not on this machine.

    `cache` and `activations` are never there at once, so `total` counts the larger. A role that
    shares another's weights counts 0. `download` is what is still to be fetched. `longest_prompt`
    is the prompt that a step was estimated for, in tokens; None: the longest that settings allow.
    """

    policy: int | None
    reference: int | None
    judge: int | None
    adapters: int | None
    optimizer: int | None
    cache: int | None
    activations: int | None
    program: int = PROGRAM
    download: int | None
    machine_total: int
    machine_available: int
    longest_prompt: int | None = None

    @property
    def known(self) -> int:
        """Bytes of all parts that are known: the run takes at least about this."""
        parts = (self.policy, self.reference, self.judge, self.adapters, self.optimizer)
        return self.program + sum(part or 0 for part in parts) + self.step

    @property
    def step(self) -> int:
        """Bytes that a step needs on top of what is always there."""
        return max(self.cache or 0, self.activations or 0)

    @property
    def total(self) -> int | None:
        """Bytes of the whole run; None unless every part is known."""
        parts = (self.policy, self.reference, self.judge, self.adapters, self.optimizer)
        return None if None in (*parts, self.cache, self.activations) else self.known


@dataclass(frozen=True, slots=True)
class _Weight:
    """One array of a model, or a quantised layer's arrays together as the values they hold."""

    name: str
    shape: tuple[int, ...]
    stored: int  # bytes as it is in the file
    floating: bool
    packed: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def bytes(self, quantization: Quantization, float32: bool) -> int:
        """Bytes once loaded; `float32`: every number in 32 bits, none quantised."""
        if float32:
            return 4 * self.size if self.floating else self.stored
        if quantization == "none" or self.packed or not self.is_matrix:
            return self.stored
        form = QUANTIZATIONS[quantization]
        group = form["group_size"]
        if self.shape[-1] % group:
            return self.stored
        groups = self.size // group
        return self.size * form["bits"] // 8 + groups * GROUP_BYTES[form["mode"]]

    @property
    def is_matrix(self) -> bool:
        return self.floating and self.name.endswith(".weight") and len(self.shape) >= 2


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as its files describe it."""

    folder: Path
    kind: str  # by its config
    weights: list[_Weight]
    shape: Shape | None


def plan(
    settings: Settings, *, ask_hub: bool = False, longest_prompt: int | None = None
) -> MemoryPlan:
    """The plan of a run. With `ask_hub`, the hub is asked for the size of what is not here; with
    `longest_prompt`, in tokens, a step is estimated for prompts no longer than that."""
    with contextlib.suppress(UserError):  # which the start of the run tells
        settings, _ = adapter_files.settled(settings)
    machine = device()
    float32 = machine.backend == "cpu"
    full = settings.train_type == "full"
    quantization = settings.quantization
    other = settings.reference_model_path
    policy = _model(settings.model, "model")
    judges = [_model(name, key) for name, key in settings.judge_names("model").items()]
    reference = _model(other, "reference_model_path") if other else None
    loaded: set[tuple[Path, Quantization]] = set()

    def weight_bytes(model: _Model | None, quantization: Quantization) -> int | None:
        if model is None or (model.folder, quantization) in loaded:
            return None if model is None else 0
        loaded.add((model.folder, quantization))
        return sum(weight.bytes(quantization, float32) for weight in model.weights)

    policy_bytes = weight_bytes(policy, quantization)
    trained = _trained_values(policy, settings) if policy else None
    if other:
        reference_bytes = weight_bytes(reference, quantization)
    elif settings.train_type == "lora" and not settings.resume_adapter_file:
        reference_bytes = 0  # a view of the policy, less its adapters
    else:  # what is trained parts from the reference at the first update
        reference_bytes = trained and 4 * trained
    lengths = _with_prompts_of(settings, longest_prompt)
    cache = scoring = None
    if policy and policy.shape:
        cache = step_memory.sampling(policy.shape, lengths, float32)
        by_numpy = _gradient_by_numpy(policy, settings)
        scoring = step_memory.scoring(policy.shape, lengths, float32, by_numpy)
    if policy and cache is not None and scoring is not None:
        merged, packed = _merged(policy, settings, float32), _packed(policy, settings)
        cache += merged + packed
        if _by_numpy(policy, settings):
            scoring += merged + packed
    judge_bytes: int | None = 0
    judging: int | None = 0
    for judge in judges:
        more = weight_bytes(judge, settings.judge_quantization or quantization)
        judge_bytes = None if judge_bytes is None or more is None else judge_bytes + more
        shape = judge.shape if judge else None
        reading = step_memory.judging(shape, lengths, float32) if shape else None
        judging = None if judging is None or reading is None else max(judging, reading)
    return MemoryPlan(
        policy=policy_bytes,
        reference=reference_bytes,
        judge=judge_bytes,
        adapters=0 if full else trained and 4 * trained,
        optimizer=None if trained is None else _optimizer(trained, settings),
        cache=cache,
        activations=None if scoring is None or judging is None else max(scoring, judging),
        download=_download(settings, ask_hub),
        machine_total=machine.memory_total,
        machine_available=machine.memory_available,
        longest_prompt=longest_prompt,
    )


def checkpoint_bytes(settings: Settings) -> int | None:
    """Bytes on the disk of a checkpoint and, beside it, the adapters or layers as they are left;
    None where the model's files are not here."""
    model = _model(settings.model, "model")
    if model is None:
        return None
    arrays = 2 + MOMENTS.get(settings.optimizer, 1) + (settings.gradient_accumulation_steps > 1)
    return 4 * _trained_values(model, settings) * arrays


def parameters(settings: Settings) -> int | None:
    """Numbers that the model of a run has, from its files; None where they are not here."""
    model = _model(settings.model, "model")
    return sum(weight.size for weight in model.weights) if model else None


def _with_prompts_of(settings: Settings, tokens: int | None) -> Settings:
    """The settings with no more room for a prompt than so many tokens, and some for padding."""
    if tokens is None:
        return settings
    room = -(-max(1, tokens) // WIDTH) * WIDTH
    most = min(settings.max_seq_length, room + settings.max_completion_length)
    return settings.model_copy(update={"max_seq_length": most})


def refusal(each: MemoryPlan, settings: Settings) -> str | None:
    """Why the run will not fit into this machine, with the numbers; None when it may.

    A plan for prompts as long as `max_seq_length` allows is no reason where those of the data are
    short: they are read then, if the plan is not of them already. A `memory_limit` of 1 overrides:
    then nothing is refused.
    """
    allowed = int(each.machine_total * settings.memory_limit)
    if not each.machine_total or each.known <= allowed or settings.memory_limit >= 1:
        return None
    if each.longest_prompt is None and all(map(files.has_dataset, settings.data_names)):
        longest = longest_of_data(settings)
        if longest is not None:
            return refusal(plan(settings, longest_prompt=longest), settings)
    parts = {
        "the model": (each.policy, "choose a smaller model"),
        "the reference": (each.reference, "choose a smaller reference"),
        "the judge": (each.judge, "choose the model itself or a smaller one as judge"),
        "the adapters": (each.adapters, "lower lora_parameters.rank"),
        "the optimizer": (each.optimizer, "choose lora as train_type or a plainer optimizer"),
        "a step": (each.step, "lower batch_size, max_seq_length or max_completion_length"),
    }
    largest = sorted(parts, key=lambda part: -(parts[part][0] or 0))
    listed = ", ".join(f"{part} {_gb(parts[part][0] or 0)}" for part in largest[:3])
    prompts = ""
    if each.longest_prompt is not None:
        prompts = f"; the data's longest prompt has about {each.longest_prompt:,} tokens"
    return (
        f"this run needs about {_gb(each.known)} of memory ({listed}{prompts}), and the share of "
        f"{settings.memory_limit:g} that memory_limit allows it of this machine's "
        f"{_gb(each.machine_total)} is {_gb(allowed)}: {parts[largest[0]][1]}, "
        "or set memory_limit to 1 to try all the same"
    )


# -- weights -------------------------------------------------------------------------------------


def _model(name: str, role: str) -> _Model | None:
    folder = files.find(name, role)
    config = files.read_config(folder) if folder else None
    tensors = files.read_tensors(folder) if folder else None
    if folder is None or config is None or tensors is None:
        return None
    kind, shape = str(config.get("model_type")), files.read_shape(config)
    return _Model(folder.resolve(), kind, _weights(tensors, config), shape)


def _weights(tensors: list[Tensor], config: Mapping[str, Any]) -> list[_Weight]:
    by_name = {tensor.name: tensor for tensor in tensors}
    if config.get("tie_word_embeddings"):
        by_name.pop("lm_head.weight", None)
    form = config.get("quantization")
    group = form.get("group_size", 64) if isinstance(form, Mapping) else 0
    group = group if isinstance(group, int) and 0 < group < 1 << 20 else 0
    weights = []
    for name, tensor in by_name.items():
        layer, _, part = name.rpartition(".")
        scales = by_name.get(f"{layer}.scales") if group else None
        if scales is None or part not in ("weight", "scales", "biases"):
            weights.append(_Weight(name, tensor.shape, tensor.bytes, tensor.is_float, False))
        elif part == "weight":
            biases = by_name.get(f"{layer}.biases")
            stored = tensor.bytes + scales.bytes + (biases.bytes if biases else 0)
            shape = (*tensor.shape[:-1], scales.shape[-1] * group)
            weights.append(_Weight(name, shape, stored, floating=True, packed=True))
    return weights


def _trained_values(model: _Model, settings: Settings) -> int:
    """Numbers that are trained: those of the adapters, or of the top layers."""
    count = 0
    for weight in _trained_weights(model, settings):
        if settings.train_type == "full":
            count += weight.size
            continue
        *experts, output, width = weight.shape
        magnitudes = output if settings.train_type == "dora" else 0
        count += math.prod(experts) * (
            settings.lora_parameters.rank * (output + width) + magnitudes
        )
    return count


def _by_numpy(model: _Model, settings: Settings) -> bool:
    """Whether numpy computes the model with its adapters, as far as the files tell."""
    kind, lora = model.kind in NUMPY_KINDS, settings.train_type == "lora"
    return limits.numpy_serves() and kind and lora


def _gradient_by_numpy(model: _Model, settings: Settings) -> bool:
    """Whether it finds the adapters' gradient too."""
    beyond_it = settings.lora_parameters.dropout or settings.efficient_long_context
    return _by_numpy(model, settings) and not beyond_it


def _merged(model: _Model, settings: Settings, float32: bool) -> int:
    """Bytes of the copies that sampling makes of weights, adapters merged; numpy scores with such
    copies, too."""
    if settings.train_type != "lora" or not float32:
        return 0
    size = sum(4 * weight.size for weight in _trained_weights(model, settings))
    return size if size <= limits.MERGED_BYTES else 0


def _packed(model: _Model, settings: Settings) -> int:
    """Bytes of the frozen weights that numpy lays out for decoding."""
    if not (_by_numpy(model, settings) and numpy_multiplies_by_mkl()):
        return 0
    merged = _merged(model, settings, float32=True) > 0
    left_out = {weight.name for weight in _trained_weights(model, settings) if merged}
    frozen = [each for each in model.weights if each.is_matrix and each.name not in left_out]
    tied = not any("lm_head" in each.name for each in frozen)
    size = sum(4 * each.size for each in frozen if tied or "embed" not in each.name)
    return size if size <= limits.PACKED_BYTES else 0


def _trained_weights(model: _Model, settings: Settings) -> Iterator[_Weight]:
    """The weights that are trained, or that have an adapter."""
    in_layers = [(weight, _IN_LAYER.search(weight.name)) for weight in model.weights]
    layers = 1 + max((int(match[1]) for _, match in in_layers if match), default=-1)
    lowest = 0 if settings.num_layers < 0 else layers - settings.num_layers
    keys = settings.lora_parameters.keys
    for weight, match in in_layers:
        trained_layer = match is not None and int(match[1]) >= lowest
        if settings.train_type == "full":
            if trained_layer:
                yield weight
            continue
        module = weight.name.removesuffix(".weight")
        within = match[2].removesuffix(".weight") if match else module
        chosen = trained_layer if keys is None else within in keys
        if weight.is_matrix and chosen and (trained_layer or match is None):
            yield weight


def _optimizer(trained: int, settings: Settings) -> int:
    """Its state, the gradients, those added up over steps, and the new values beside the old."""
    accumulated = settings.gradient_accumulation_steps > 1
    return 4 * trained * (MOMENTS.get(settings.optimizer, 1) + 2 + accumulated)


# -- what is not here, the download, and words ---------------------------------------------------


def missing(settings: Settings) -> list[tuple[str, str]]:
    """(key of the setting, name) of each model and of the data that is not on this machine."""
    roles = {settings.model: "model"}
    if settings.reference_model_path:
        roles[settings.reference_model_path] = "reference_model_path"
    for name, key in settings.judge_names("model").items():
        roles.setdefault(name, key)
    absent = [
        (role, name)
        for name, role in roles.items()
        if not files.find(name, role) and not files.packaged(name)
    ]
    if settings.data_streaming:
        return absent
    data = [name for name in settings.data_names if not files.has_dataset(name)]
    return [*absent, *(("data", name) for name in data)]


def _download(settings: Settings, ask_hub: bool) -> int | None:
    """Bytes still to be fetched; None when that is not known."""
    sizes = [
        files.hub_size(name, "dataset" if key == "data" else "model") if ask_hub else None
        for key, name in missing(settings)
    ]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
