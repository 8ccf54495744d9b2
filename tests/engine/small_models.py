"""Tiny random models and a byte tokenizer, made in code in a few milliseconds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.compute import choose
from engine.compute.mlx_backend import MlxBackend
from engine.compute.numpy.backend import NumpyBackend
from engine.data.pairs import Pair, Verdict
from engine.judges.llm import LLMJudge
from engine.model import arrays
from engine.model.adapters import trainable_and_frozen
from engine.model.language_model import LanguageModel
from engine.settings.files import from_mapping
from engine.settings.schema import Settings

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
EOS = SPECIAL.index("<|im_end|>")
VOCABULARY = 264
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "head_dim": 16,
    "tie_word_embeddings": True,
    "rope_theta": 1e4,
}
# Wide enough for groups of 128 to be quantised.
WIDE = QWEN3 | {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2}
# Linear layers with biases, and a head of its own.
QWEN2 = QWEN3 | {"model_type": "qwen2", "tie_word_embeddings": False}
# Rotary angles stretched for long texts.
LLAMA = QWEN3 | {
    "model_type": "llama",
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
# Logits with a soft cap, so the head cannot be called alone.
GEMMA2 = QWEN3 | {
    "model_type": "gemma2",
    "query_pre_attn_scalar": 16,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 2.0,
}
# A window of 8 tokens in two of three layers.
GEMMA3 = QWEN3 | {
    "model_type": "gemma3_text",
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,
    "sliding_window_pattern": 3,
}
# A recurrent state in place of keys and values.
MAMBA2: dict[str, Any] = {
    "model_type": "mamba2",
    "num_heads": 4,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "state_size": 8,
    "num_hidden_layers": 2,
    "layer_norm_epsilon": 1e-5,
    "conv_kernel": 3,
    "n_groups": 1,
    "use_bias": False,
    "use_conv_bias": True,
    "tie_word_embeddings": True,
    "time_step_limit": [0.0, float("inf")],
    "time_step_rank": "auto",
}


def byte_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are bytes and the five of `SPECIAL`, which come first."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(tokens, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = template
    return fast


@cache
def _pairs_tokenizer() -> PreTrainedTokenizerFast:
    """One for all pairs: a tokenizer's cache of words outlives it, in its thread's memory."""
    return byte_tokenizer()


def tokenizer(template: str | None = TEMPLATE) -> TokenizerWrapper:
    """The same as mlx-lm wraps it."""
    return TokenizerWrapper(byte_tokenizer(template))


def make_model(config: dict[str, Any] = QWEN3, seed: int = 0, scale: float = 3.0) -> nn.Module:
    """A random model in evaluation mode, float32. `scale` sharpens its predictions."""
    module = import_module(f"mlx_lm.models.{config['model_type']}")
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict(config))
    weights = arrays.flat(model.parameters())
    sharp = {name: array * scale for name, array in weights.items() if "embed" in name}
    model.update(arrays.tree(sharp))
    mx.eval(model.parameters())
    model.eval()
    model.freeze()
    return model


def language_model(
    config: dict[str, Any] = QWEN3, seed: int = 0, tokens: float = 512, scale: float = 3.0
) -> LanguageModel:
    """A random model with the byte tokenizer."""
    return choose.alone(make_model(config, seed, scale), tokenizer(), tokens)


def by_mlx(lm: LanguageModel) -> LanguageModel:
    """The same model, computed by MLX."""
    backend = lm.backend
    return replace(lm, backend=backend.mlx) if isinstance(backend, NumpyBackend) else lm


def mlx_of(lm: LanguageModel) -> MlxBackend:
    """What MLX computes of a model."""
    backend = by_mlx(lm).backend
    assert isinstance(backend, MlxBackend)
    return backend


def settings(**values: Any) -> Settings:
    """Settings for a run on small models."""
    small = {
        "quantization": "none",
        "num_layers": -1,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "max_seq_length": 512,
        "max_completion_length": 8,
        "fuse": False,
        "judge_margin": 0.0,  # a random judge is never sure,
        "judge_ties": "margin",  # and picks a place
        "judge_watch": "off",  # and is at chance
        "collapse_watch": "off",  # a random policy has no text that could break
        "guard": "off",  # and can do nothing
    }
    return from_mapping(small | values, "the test")


def policy_and_reference(
    settings: Settings, config: dict[str, Any] = QWEN3, seed: int = 0
) -> tuple[LanguageModel, LanguageModel]:
    """A policy with fresh adapters (or layers set free) and its frozen reference."""
    model = make_model(config, seed)
    mx.random.seed(seed + 1)
    reference, _ = trainable_and_frozen(model, settings)
    return choose.policy_and_reference(model, reference, tokenizer(), 512)


def number(array: mx.array) -> float:
    """The one number that an array holds."""
    return float(np.array(array).item())


def stir(model: nn.Module, seed: int = 5, scale: float = 0.05) -> None:
    """Move all trainable weights, so that the policy is no longer its reference."""
    trainable = arrays.flat(model.trainable_parameters())
    keys = mx.random.split(mx.random.key(seed), len(trainable))
    moved = {
        name: array + scale * mx.random.normal(array.shape, key=key)
        for (name, array), key in zip(trainable.items(), keys, strict=True)
    }
    model.update(arrays.tree(moved))
    mx.eval(model.parameters())


def pair(
    index: int = 0,
    *,
    step: int = 1,
    prompt: str = "What is it?",
    first: str = "It is so.",
    second: str = "No idea",
    first_finished: bool = True,
    second_finished: bool = False,
) -> Pair:
    """A pair of texts, with the ids of the byte tokenizer."""
    encode = _pairs_tokenizer().encode

    def ids(text: str, finished: bool) -> tuple[int, ...]:
        return (*encode(text, add_special_tokens=False), *([EOS] if finished else []))

    return Pair(
        pair_id=f"{step:07d}-{index:03d}",
        step=step,
        weights_step=step - 1,
        prompt=prompt,
        prompt_ids=ids(prompt, False),
        first=first,
        second=second,
        first_ids=ids(first, first_finished),
        second_ids=ids(second, second_finished),
        first_finished=first_finished,
        second_finished=second_finished,
    )


def write_model(
    folder: Path, config: dict[str, Any] = QWEN3, seed: int = 0, scale: float = 3.0
) -> Path:
    """A model folder as a hub has it."""
    folder.mkdir(parents=True)
    model = make_model(config, seed, scale)
    arrays.save(folder / "model.safetensors", arrays.flat(model.parameters()))
    facts = config | {"eos_token_id": EOS, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    byte_tokenizer().save_pretrained(folder)
    return folder


def write_prompts(path: Path, count: int = 24) -> Path:
    """A file of prompts of unequal length."""
    lines = [{"prompt": f"What is thing {i}?" + " Please." * (i % 3)} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_run_files(folder: Path) -> Path:
    """A policy, a judge and prompts, for `run_settings`."""
    write_model(folder / "policy", scale=1.0)
    write_model(folder / "judge", seed=4)
    write_prompts(folder / "prompts.jsonl", 30)
    return folder


def judge_by_alphabet(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLM judges prefer what comes later in the alphabet, so that there is something to learn."""

    def judge(self: LLMJudge, texts: Sequence[Any], names: Any = ()) -> list[Verdict]:
        return [Verdict("first" if text[-2] > text[-1] else "second") for text in texts]

    monkeypatch.setattr(LLMJudge, "judge", judge)


def run_settings(files: Path, **values: Any) -> Settings:
    """Settings of a short run on `write_run_files`."""
    small = {
        "model": str(files / "policy"),
        "judge": str(files / "judge"),
        "data": str(files / "prompts.jsonl"),
        "max_completion_length": 5,
        "run_name": "one",
    }
    return settings(**{**small, **values})
