"""Model folders with random weights, of any shape, that every contestant can load.

A token of their tokenizer is a word or a character, so text decodes and encodes again to the same
number of tokens. Its end-of-turn token lies beyond the vocabulary of the model: it is never
sampled, and every completion has the length that was asked for.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

WORD = r" ?[A-Za-z']+|[\s\S]"
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|unknown|>")
NEVER = "<|never|>"  # the end of a turn that no model writes
# Characters that fill up the vocabulary: ideographs, then those of the two private planes.
FILLERS = (range(0x4E00, 0x9FF0), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """A Qwen3 shape; embeddings and head are tied."""

    hidden: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int

    def weights(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all weights, as a hub has them."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden)
        yield "model.norm.weight", (self.hidden,)
        for index in range(self.layers):
            layer = f"model.layers.{index}"
            yield f"{layer}.input_layernorm.weight", (self.hidden,)
            yield f"{layer}.post_attention_layernorm.weight", (self.hidden,)
            yield f"{layer}.self_attn.q_norm.weight", (self.head_width,)
            yield f"{layer}.self_attn.k_norm.weight", (self.head_width,)
            yield f"{layer}.self_attn.q_proj.weight", (queries, self.hidden)
            yield f"{layer}.self_attn.k_proj.weight", (keys, self.hidden)
            yield f"{layer}.self_attn.v_proj.weight", (keys, self.hidden)
            yield f"{layer}.self_attn.o_proj.weight", (self.hidden, queries)
            yield f"{layer}.mlp.gate_proj.weight", (self.feed_forward, self.hidden)
            yield f"{layer}.mlp.up_proj.weight", (self.feed_forward, self.hidden)
            yield f"{layer}.mlp.down_proj.weight", (self.hidden, self.feed_forward)

    @property
    def parameters(self) -> int:
        """How many numbers the model holds."""
        return sum(int(np.prod(shape)) for _, shape in self.weights())


SMALL = Shape(256, 8, 768, 4, 2, 64, 4_096)  # 7.3 M parameters
MEDIUM = Shape(768, 12, 2_048, 12, 4, 64, 8_192)  # where matrices rule
STARTER = Shape(192, 4, 512, 3, 1, 64, 1_280)  # the bundled policy's
QWEN3_06B = Shape(1_024, 28, 3_072, 16, 8, 128, 151_936)


def write_model(folder: Path, shape: Shape, texts: str) -> Path:
    """A model folder in float32; the words of `texts` are tokens of its own."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    weights = {
        name: np.ones(size, np.float32)
        if len(size) == 1
        else generator.standard_normal(size, np.float32) * np.float32(0.02)
        for name, size in shape.weights()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.feed_forward,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": True,
        "max_position_embeddings": 4_096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "torch_dtype": "float32",
        "eos_token_id": shape.vocabulary,
        "pad_token_id": 0,
    }
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
