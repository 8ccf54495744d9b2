"""A GGUF file of a Llama-like model as a model folder that mlx-lm loads.

MLX reads such files itself: weights of four and eight bits stay packed, with a scale and a bias
for each group of 32. What is left to do is to name the tensors as mlx-lm does, to put the rows of
queries and keys back (GGUF's rotary embedding pairs neighbours where mlx-lm's pairs halves), and to
write vocabulary, merges and chat template as the tokenizer that they are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.runs.durable import new_folder

GROUP_SIZE = 32  # of GGUF's packed formats that MLX keeps packed
CONTROL, USER_DEFINED = 3, 4  # kinds of tokens that stand for themselves
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
# How the vocabulary's text is cut before merges apply, by GGUF's name for it.
PATTERNS = {
    "smollm": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}

Metadata = Mapping[str, Any]


def convert(file: Path, folder: Path) -> Path:
    """Write the model of a GGUF file as a folder, whole or not at all; returns the folder.

    Raises:
        ValueError: it is no GGUF file, or of another kind than is served here.
    """
    tensors, metadata = _read(file)
    if metadata.get("general.architecture") != "llama":
        raise ValueError("only models of the architecture llama are converted")
    if metadata.get("tokenizer.ggml.pre") not in PATTERNS:
        raise ValueError("its tokenizer is of another kind")
    weights = _weights(tensors, metadata)
    with new_folder(folder) as new:
        mx.save_safetensors(str(new / "model.safetensors"), weights, {"format": "mlx"})
        for name, content in {
            "config.json": _config(weights, metadata),
            "tokenizer.json": _tokenizer(metadata),
            "tokenizer_config.json": _tokenizer_config(metadata),
        }.items():
            text = json.dumps(content, ensure_ascii=False, indent=1)
            (new / name).write_text(text, encoding="utf-8")
        (new / "chat_template.jinja").write_text(
            metadata["tokenizer.chat_template"], encoding="utf-8"
        )
    return folder


def _read(file: Path) -> tuple[dict[str, mx.array], Metadata]:
    try:
        loaded: Any = mx.load(str(file), return_metadata=True)
    except (RuntimeError, ValueError) as error:
        raise ValueError("it cannot be read as GGUF") from error
    tensors, metadata = loaded
    return tensors, {name: _plain(value) for name, value in metadata.items()}


def _plain(value: Any) -> Any:
    """Metadata as Python's own values: MLX has numbers and lists of numbers as arrays."""
    return value.tolist() if isinstance(value, mx.array) else value


def _weights(tensors: Mapping[str, mx.array], metadata: Metadata) -> dict[str, mx.array]:
    """The tensors under mlx-lm's names, as they are."""
    heads = {
        "attn_q": metadata["llama.attention.head_count"],
        "attn_k": metadata["llama.attention.head_count_kv"],
    }
    weights = {}
    for name, array in tensors.items():
        *block, tensor, part = name.split(".")
        if tensor in heads:
            array = _halves(array, heads[tensor])
        layer = f"model.layers.{block[1]}." if block else ""
        weights[f"{layer}{TENSORS[tensor]}.{part}"] = array
    return weights


def _halves(array: mx.array, heads: int) -> mx.array:
    """Rows (heads x width, ...) in which the two features of a rotation follow each other, as rows
    in which the first of all stand before the second of all."""
    rows, *rest = array.shape
    pairs = array.reshape(heads, rows // heads // 2, 2, *rest)
    return mx.contiguous(pairs.swapaxes(1, 2).reshape(rows, *rest))


def _config(weights: Mapping[str, mx.array], metadata: Metadata) -> dict[str, Any]:
    llama = {
        name.removeprefix("llama."): value
        for name, value in metadata.items()
        if name.startswith("llama.")
    }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": llama["embedding_length"],
        "num_hidden_layers": llama["block_count"],
        "intermediate_size": llama["feed_forward_length"],
        "num_attention_heads": llama["attention.head_count"],
        "num_key_value_heads": llama["attention.head_count_kv"],
        "rms_norm_eps": llama["attention.layer_norm_rms_epsilon"],
        "rope_theta": llama["rope.freq_base"],
        "max_position_embeddings": llama["context_length"],
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": not any(name.startswith("lm_head") for name in weights),
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "quantization": {
            "group_size": GROUP_SIZE,
            "bits": 4,
            **{
                path: {"group_size": GROUP_SIZE, "bits": bits}
                for path, bits in _bits(weights).items()
                if bits != 4
            },
        },
    }


def _bits(weights: Mapping[str, mx.array]) -> dict[str, int]:
    """Bits of each packed layer, by its path: 32 in a word, for one group of values a scale."""
    return {
        path: 32 * weights[f"{path}.weight"].shape[1] // (GROUP_SIZE * scales.shape[1])
        for name, scales in weights.items()
        if (path := name.removesuffix(".scales")) != name
    }


def _tokenizer(metadata: Metadata) -> dict[str, Any]:
    """A byte-level BPE tokenizer as the `tokenizers` library writes it."""
    tokens: Sequence[str] = metadata["tokenizer.ggml.tokens"]
    kinds: Sequence[int] = metadata["tokenizer.ggml.token_type"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind == CONTROL,
            }
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in (CONTROL, USER_DEFINED)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": PATTERNS[metadata["tokenizer.ggml.pre"]],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }


def _tokenizer_config(metadata: Metadata) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    named = {
        f"{name}_token": tokens[metadata[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
        if f"tokenizer.ggml.{key}_token_id" in metadata
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": metadata["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **named,
    }
