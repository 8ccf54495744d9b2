"""The starter's models: their shape, and their folder as mlx-lm and transformers read it."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from engine.compute import choose
from engine.model.language_model import LanguageModel
from engine.model.load import load as load_for_run
from engine.starter.build.tokenizer import VOCABULARY

Weights = list[tuple[str, mx.array]]

HIDDEN = 192
HEADS = 3
HEAD_SIZE = 64
FEED_FORWARD = 384
CONTEXT = 512


def config(layers: int, tokenizer: Any) -> dict[str, Any]:
    """`config.json` of a small Qwen3 with tied embeddings."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "num_hidden_layers": layers,
        "intermediate_size": FEED_FORWARD,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "torch_dtype": "float16",
    }


def new_model(layers: int, tokenizer: Any) -> nn.Module:
    """A freshly initialised fp32 model; seed `mx.random` first."""
    from mlx_lm.models.qwen3 import Model, ModelArgs

    model = Model(ModelArgs.from_dict(config(layers, tokenizer)))
    mx.eval(model.parameters())
    return model


def save(folder: Path, model: nn.Module, tokenizer: Any, layers: int) -> None:
    """Write model (as fp16), tokenizer and configs into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters: Any = tree_flatten(model.parameters())
    weights = {name: value.astype(mx.float16) for name, value in parameters}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    write_json(folder / "config.json", config(layers, tokenizer))
    write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.8,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    tokenizer.save_pretrained(str(folder))


def load(folder: Path, tokenizer: Any) -> nn.Module:
    """The model of a built folder, in fp32."""
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    model = new_model(layers, tokenizer)
    weights: Any = mx.load(str(folder / "model.safetensors"))
    model.load_weights([(name, value.astype(mx.float32)) for name, value in weights.items()])
    mx.eval(model.parameters())
    return model


def language_model(folder: Path) -> LanguageModel:
    """The model of a built folder as a run loads it."""
    model, tokenizer, _ = load_for_run(
        folder, "model", quantization="none", trust_remote_code=False
    )
    return choose.alone(model, tokenizer, CONTEXT)


def with_weights(layers: int, tokenizer: Any, weights: Weights) -> LanguageModel:
    """A model with these weights by name, as a run would load it; `tokenizer` is that of another
    such model."""
    model = new_model(layers, tokenizer)
    model.load_weights(weights)
    mx.eval(model.parameters())
    return choose.alone(model, tokenizer, CONTEXT)


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
