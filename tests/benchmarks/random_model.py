"""Model folders with random weights, of any shape, that every contestant can load.

A token of their tokenizer is a word or a character, so text decodes and encodes again to the same
number of tokens. Its end-of-turn token lies beyond the vocabulary of the model: it is never
sampled, and every completion has the length that was asked for.
"""

import json
import math
import re
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engine.model import arrays

WORD = r" ?[A-Za-z']+|[\s\S]"
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|unknown|>")
NEVER = "<|never|>"  # the end of a turn that no model writes
# Characters that fill up the vocabulary: ideographs, the two private planes, further ideographs.
FILLERS = tuple(
    range(*ends)
    for ends in (
        (0x4E00, 0x9FF0),
        (0xF0000, 0xFFFFE),
        (0x100000, 0x10FFFE),
        (0x20000, 0x2FFFE),
        (0x30000, 0x3FFFE),
    )
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """A Qwen3 shape, or another model of mlx-lm by what `other` says; embeddings and head are
    tied."""

    hidden: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    other: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "intermediate_size": self.feed_forward,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": True,
            "max_position_embeddings": 4_096,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "eos_token_id": self.vocabulary,
            "pad_token_id": 0,
        } | self.other

    def make(self) -> nn.Module:
        """The model with mlx-lm's random weights, none of them computed yet."""
        config = self.config()
        module = import_module(f"mlx_lm.models.{config['model_type']}")
        return module.Model(module.ModelArgs.from_dict(config))

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all weights by name."""
        return {name: each.shape for name, each in arrays.flat(self.make().parameters()).items()}

    @property
    def parameters(self) -> int:
        """How many numbers the model holds."""
        return sum(map(math.prod, self.weights().values()))


SMALL = Shape(256, 8, 768, 4, 2, 64, 4_096)  # 7.3 M parameters
MEDIUM = Shape(768, 12, 2_048, 12, 4, 64, 8_192)  # 82 M, where matrices rule
STARTER = Shape(192, 4, 384, 3, 1, 64, 1_280)  # the bundled policy's
QWEN3_06B = Shape(1_024, 28, 3_072, 16, 8, 128, 151_936)
# Three of four layers have a recurrent state in place of keys and values.
QWEN3_5_08B = Shape(
    1_024,
    24,
    3_584,
    8,
    2,
    256,
    248_320,
    {
        "architectures": ["Qwen3_5ForCausalLM"],
        "model_type": "qwen3_5",
        "linear_num_value_heads": 16,
        "linear_num_key_heads": 16,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "full_attention_interval": 4,
        "partial_rotary_factor": 0.25,
    },
)


def write_model(folder: Path, shape: Shape, texts: str, dtype: str = "float32") -> Path:
    """A model folder in a dtype; the words of `texts` are tokens of its own."""
    folder.mkdir(parents=True)
    mx.random.seed(0)
    weights = {
        name: array.astype(getattr(mx, dtype))
        for name, array in arrays.flat(shape.make().parameters()).items()
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    config = shape.config() | {"torch_dtype": dtype}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _tokenizer(shape.vocabulary, texts).save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: int, texts: str) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = (chr(code) for code in (*range(32, 127), 10))
    words = dict.fromkeys([*re.findall(WORD, texts + " user assistant system"), *characters])
    words |= dict.fromkeys(("user", "assistant", "system"))
    tokens = [*SPECIAL, *words]
    tokens += map(chr, islice(chain(*FILLERS), vocabulary - len(tokens)))
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([*SPECIAL, NEVER])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=NEVER, pad_token=SPECIAL[0], unk_token=SPECIAL[-1]
    )
    fast.chat_template = TEMPLATE
    return fast


def prompts(count: int, tokens: int, vocabulary: int, seed: int = 0) -> list[str]:
    """Random texts of so many tokens; the chat template adds eight more."""
    fillers = min(vocabulary // 2, len(FILLERS[0]))
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, fillers, (count, tokens)) + FILLERS[0].start
    return ["".join(map(chr, row)) for row in codes]
