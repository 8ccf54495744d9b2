"""A trained model, or its adapters alone, as a GGUF file for llama.cpp and what is built on it.

The library `gguf` writes the format and names the tensors. What is added here is what the model
is: its sizes, its tokenizer, and the order of the rows of queries and keys. llama.cpp turns
neighbouring features of Llama's heads by position where mlx-lm turns those of two halves
(`engine.model.gguf` reads the same the other way round); Qwen's are left as they are.
"""

import importlib
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engine.errors import UserError
from engine.export import gguf_tokenizer
from engine.export.gguf_tokenizer import GgufTokenizer
from engine.model import arrays
from engine.model.arrays import Arrays
from engine.settings.schema import Settings

Kind = Literal["q8_0", "f16", "q4_k_m"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LAYOUTS = {"llama": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3"}  # model_type: the library's name
QUANTIZER = "llama-quantize"  # a program of llama.cpp
GROUP = 32  # numbers that share a scale in q8_0


def library(option: str = "--gguf") -> Any:
    """The library that writes GGUF, for an option of the command line.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise UserError(
            f"{option} needs the library gguf: install it with `pip install 'lora-studio[gguf]'`"
        ) from error


def check(kind: str) -> Kind:
    """A kind of file that can be written here.

    Raises:
        UserError: there is no such kind, or a library or program that it takes is missing.
    """
    for known in KINDS:
        if known == kind:
            library()
            if known == "q4_k_m" and not shutil.which(QUANTIZER):
                raise UserError(
                    f"--gguf q4_k_m takes {QUANTIZER} of llama.cpp, which is not on the PATH: "
                    "install llama.cpp, or choose q8_0"
                )
            return known
    raise UserError(f"--gguf: there is no kind {kind!r}; choose one of {', '.join(KINDS)}")


def check_layout(config: dict[str, Any]) -> None:
    """Refuse a model that is not written as GGUF here, by what its config.json says.

    Raises:
        UserError: it is of another kind.
    """
    _architecture(config.get("model_type"))


def write_model(file: Path, model: nn.Module, tokenizer: Any, kind: Kind, name: str) -> None:
    """Write a model of full precision.

    Args:
        model: one of mlx-lm's; it may be in any type of float.
        tokenizer: a fast tokenizer of transformers.
        name: what llama.cpp shows as the model's name.

    Raises:
        UserError: its layout or tokenizer is not written as GGUF here, or a weight is too large
            for half precision.
    """
    args: Any = getattr(model, "args", None)
    architecture = _architecture(getattr(args, "model_type", None))
    weights = arrays.flat(model.parameters())
    rows = weights["model.embed_tokens.weight"].shape[0]
    text = gguf_tokenizer.read(tokenizer, rows)
    plain = file.with_name(f"{file.name}.f16") if kind == "q4_k_m" else file
    gguf = library()
    writer = gguf.GGUFWriter(plain, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        writer.add_name(name)
        _add_sizes(writer, args, rows)
        factors = _add_scaling(writer, args)
        _add_tokenizer(writer, text)
        wanted = "MOSTLY_Q8_0" if kind == "q8_0" else "MOSTLY_F16"
        writer.add_file_type(gguf.LlamaFileType[wanted])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        renamed = _renamed(weights, architecture, args)
        if factors is not None:
            renamed["rope_freqs.weight"] = factors
        _write(writer, renamed, eight_bits=kind == "q8_0")
    finally:
        writer.close()
    if kind == "q4_k_m":
        _quantize(plain, file)


def write_adapters(
    file: Path, adapters: Arrays, settings: Settings, config: dict[str, Any]
) -> None:
    """Write LoRA adapters, which llama.cpp adds to a GGUF file of the model that was trained.

    Args:
        adapters: by mlx-lm's names, float32.
        config: config.json of the model.

    Raises:
        UserError: they are not LoRA on the layers of a model that is written as GGUF here.
    """
    if settings.train_type != "lora":
        raise UserError(
            f"--gguf-adapter: llama.cpp has no adapters of the kind {settings.train_type}; "
            "--gguf writes the whole model"
        )
    architecture = _architecture(config.get("model_type"))
    gguf = library()
    names = gguf.get_tensor_name_map(architecture, int(config["num_hidden_layers"]))
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        scale = settings.lora_parameters.scale * settings.lora_parameters.rank
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, scale)
        renamed: Arrays = {}
        for name, array in adapters.items():
            path, _, part = name.rpartition(".")
            own = names.get_name(f"{path}.weight", try_suffixes=(".weight",))
            if own is None or part not in ("lora_a", "lora_b") or "embed" in path:
                raise UserError(
                    f"--gguf-adapter: {name} has no place in an adapter of llama.cpp; "
                    "--gguf writes the whole model"
                )
            array = array.T
            if part == "lora_b" and _turned(path, architecture):
                array = _neighbours(array, _heads(path, config))
            renamed[f"{own}.{part}"] = array
        _write(writer, renamed, eight_bits=False, half=False)
    finally:
        writer.close()


# -- what the model is ---------------------------------------------------------------------------


def _architecture(model_type: Any) -> Any:
    """The library's number of a kind of model."""
    if model_type not in LAYOUTS:
        raise UserError(
            f"--gguf: a model of the kind {model_type} is not written as GGUF here, only "
            f"{', '.join(LAYOUTS)}; --fuse writes it for mlx-lm"
        )
    return library().MODEL_ARCH[LAYOUTS[model_type]]


def _add_sizes(writer: Any, args: Any, rows: int) -> None:
    """The sizes of the model. `args` are what mlx-lm computes it by."""
    if getattr(args, "rope_traditional", False) or "sliding_attention" in (
        getattr(args, "layer_types", None) or ()
    ):
        raise UserError(
            "--gguf: this model's attention has a window or turns neighbours, which is not written "
            "as GGUF here; --fuse writes it for mlx-lm"
        )
    heads = args.num_attention_heads
    width = getattr(args, "head_dim", None) or args.hidden_size // heads
    writer.add_vocab_size(rows)
    writer.add_context_length(getattr(args, "max_position_embeddings", None) or 2048)
    writer.add_embedding_length(args.hidden_size)
    writer.add_block_count(args.num_hidden_layers)
    writer.add_feed_forward_length(args.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(getattr(args, "num_key_value_heads", None) or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_layer_norm_rms_eps(args.rms_norm_eps)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(args.rope_theta)


def _add_scaling(writer: Any, args: Any) -> mx.array | None:
    """How rotary positions are stretched; for Llama 3 the divisors of its frequencies, which are a
    tensor of the file."""
    scaling = getattr(args, "rope_scaling", None) or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "linear":
        writer.add_rope_scaling_type(library().RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "llama3":
        return mx.array(_llama3_divisors(scaling, args), mx.float32)
    elif kind != "default":
        raise UserError(
            f"--gguf: rotary positions that are scaled ({kind}) are not written as GGUF here; "
            "--fuse writes the model for mlx-lm"
        )
    return None


def _llama3_divisors(scaling: dict[str, Any], args: Any) -> list[float]:
    """By how much each frequency is divided, as transformers' `rope_type: llama3` has it: short
    waves by 1, long ones by `factor`, and those between by something between."""
    width = args.head_dim or args.hidden_size // args.num_attention_heads
    factor, before = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    divisors = []
    for index in range(0, width, 2):
        turns = before / (2 * math.pi * args.rope_theta ** (index / width))  # within the old length
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        divisors.append(1 / ((1 - share) / factor + share))
    return divisors


def _add_tokenizer(writer: Any, text: GgufTokenizer) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(text.cut)
    writer.add_token_list(text.tokens)
    writer.add_token_types(text.kinds)
    writer.add_token_merges(text.merges)
    for number, add in (
        (text.bos, writer.add_bos_token_id),
        (text.eos, writer.add_eos_token_id),
        (text.pad, writer.add_pad_token_id),
        (text.unknown, writer.add_unk_token_id),
    ):
        if number is not None:
            add(number)
    writer.add_add_bos_token(text.adds_bos)
    writer.add_add_eos_token(text.adds_eos)
    if text.chat_template:
        writer.add_chat_template(text.chat_template)


# -- tensors -------------------------------------------------------------------------------------


def _renamed(weights: Arrays, architecture: Any, args: Any) -> Arrays:
    """The weights under GGUF's names, with the rows of queries and keys in its order."""
    names = library().get_tensor_name_map(architecture, args.num_hidden_layers)
    config = vars(args)
    renamed: Arrays = {}
    for name, array in weights.items():
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is None:
            raise UserError(
                f"--gguf: this model has {name}, which has no place in GGUF; --fuse writes it"
            )
        path = name.rpartition(".")[0]
        if _turned(path, architecture):
            array = _neighbours(array, _heads(path, config))
        renamed[own] = array
    return renamed


def _turned(path: str, architecture: Any) -> bool:
    """Whether llama.cpp has the rows of this layer in another order."""
    gguf = library()
    return architecture == gguf.MODEL_ARCH.LLAMA and path.endswith((".q_proj", ".k_proj"))


def _heads(path: str, config: dict[str, Any]) -> int:
    """Into how many heads the rows of queries or keys fall."""
    heads = int(config["num_attention_heads"])
    return heads if path.endswith(".q_proj") else int(config.get("num_key_value_heads") or heads)


def _neighbours(array: mx.array, heads: int) -> mx.array:
    """Rows (heads x width, ...) in which the first features of all rotations stand before the
    second, as rows in which the two of each follow each other."""
    rows, *rest = array.shape
    return array.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(rows, *rest)


def _write(writer: Any, tensors: Arrays, *, eight_bits: bool, half: bool = True) -> None:
    """Write tensors one by one, so that they never stand in memory a second time. Vectors are in
    float32, as llama.cpp wants them; `half`: matrices in half precision, or in eight bits."""
    gguf = library()
    packed_type = gguf.GGMLQuantizationType.Q8_0
    packed = {
        name
        for name, array in tensors.items()
        if eight_bits and array.ndim == 2 and array.shape[-1] % GROUP == 0
    }
    for name, array in tensors.items():
        if name in packed:
            shape = gguf.quant_shape_to_byte_shape(array.shape, packed_type)
            size = math.prod(shape)
            writer.add_tensor_info(name, shape, np.dtype(np.uint8), size, raw_dtype=packed_type)
        else:
            dtype = np.dtype(np.float16 if half and array.ndim > 1 else np.float32)
            writer.add_tensor_info(name, array.shape, dtype, array.size * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, values in _values(tensors):
        if name in packed:
            writer.write_tensor_data(gguf.quantize(values, packed_type))
        elif half and values.ndim > 1:
            writer.write_tensor_data(_as_half(name, values))
        else:
            writer.write_tensor_data(values)


def _values(tensors: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """The numbers of each tensor, float32, of which one at a time is in memory."""
    for name, array in tensors.items():
        yield name, np.ascontiguousarray(np.array(array.astype(mx.float32)))


def _as_half(name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise UserError(f"--gguf: {name} has numbers that half precision cannot hold; choose q8_0")
    return narrow


def _quantize(plain: Path, file: Path) -> None:
    """Have llama.cpp's own program write the file in 4 bits, and remove the one it read."""
    command = [QUANTIZER, str(plain), str(file), "Q4_K_M"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    plain.unlink()
    if done.returncode or not file.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise UserError(f"--gguf q4_k_m: {QUANTIZER} failed: {lines[-1][:200]}; choose q8_0")
