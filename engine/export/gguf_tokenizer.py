"""A tokenizer as GGUF has it: tokens and their kinds, merges, and how text is cut before them.

llama.cpp knows cuts by name alone, so a tokenizer that cuts in a way that is not in `CUTS` is
refused: guessing would tokenise numbers or contractions otherwise than in training.
"""

import json
from dataclasses import dataclass
from typing import Any

from engine.errors import UserError

Json = dict[str, Any]

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # GGUF's kinds of tokens
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(numbers: str) -> list[Json]:
    pattern = {"Regex": f"{_WORDS}|{numbers}|{_REST}"}
    return [
        {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
    ]


_GPT2: Json = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
# How text is cut, by llama.cpp's name: the steps as the `tokenizers` library has them, and whether
# a word that is a token is taken whole, whatever its merges.
CUTS: dict[str, tuple[list[Json], bool]] = {
    "gpt-2": ([_GPT2], False),
    "smollm": ([{"type": "Digits", "individual_digits": True}, _GPT2], False),
    "qwen2": (_split(r"\p{N}"), False),
    "llama-bpe": (_split(r"\p{N}{1,3}"), True),
}


@dataclass(frozen=True)
class GgufTokenizer:
    """What a GGUF file says of its tokenizer; ids are None where there is no such token."""

    cut: str
    tokens: list[str]  # as many as the model has rows of embeddings
    kinds: list[int]
    merges: list[str]
    bos: int | None
    eos: int | None
    pad: int | None
    unknown: int | None
    adds_bos: bool
    adds_eos: bool
    chat_template: str | None


def read(tokenizer: Any, rows: int) -> GgufTokenizer:
    """The tokenizer of a model with so many rows of embeddings.

    Args:
        tokenizer: a fast tokenizer of transformers.

    Raises:
        UserError: it is of a kind that is not written as GGUF here.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    facts: Json = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    model = facts["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback") or not model.get("merges"):
        raise _refusal("it is no byte-level BPE")
    normalizer = facts.get("normalizer")
    if normalizer not in (None, {"type": "NFC"}):  # llama.cpp takes texts as they come
        raise _refusal(f"it changes texts before they are cut ({normalizer['type']})")
    by_id = {number: token for token, number in model["vocab"].items()}
    kinds = dict.fromkeys(by_id, NORMAL)
    for added in facts["added_tokens"]:
        token = by_id[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] or _looks_special(token) else USER_DEFINED
    if (most := max(by_id)) >= rows:
        raise _refusal(f"it has the token {most}, and the model {rows:,} tokens")
    bos, eos, ids = tokenizer.bos_token_id, tokenizer.eos_token_id, list(tokenizer.encode("a"))
    template = tokenizer.chat_template
    return GgufTokenizer(
        cut=_cut(facts["pre_tokenizer"], bool(model.get("ignore_merges"))),
        tokens=[by_id.get(number, f"[PAD{number}]") for number in range(rows)],
        kinds=[kinds.get(number, UNUSED) for number in range(rows)],
        merges=[_merge(each) for each in model["merges"]],
        bos=bos,
        eos=eos,
        pad=tokenizer.pad_token_id,
        unknown=tokenizer.unk_token_id,
        adds_bos=bos is not None and ids[0] == bos,
        adds_eos=eos is not None and ids[-1] == eos,
        chat_template=template if isinstance(template, str) else None,
    )


def _cut(steps: Json | None, takes_words_whole: bool) -> str:
    """llama.cpp's name of how text is cut."""
    steps = steps or {}
    listed = steps["pretokenizers"] if steps.get("type") == "Sequence" else [steps]
    own = [{key: value for key, value in each.items() if key != "trim_offsets"} for each in listed]
    for name, cut in CUTS.items():
        if cut == (own, takes_words_whole):
            return name
    raise _refusal("llama.cpp knows no such way to cut text as it has")


def _looks_special(token: str) -> bool:
    """Turn markers and the like, which some models do not mark as special."""
    return token.startswith("<|") and token.endswith("|>")


def _merge(merge: str | list[str]) -> str:
    """A merge as the two parts with a blank between; older files have them so."""
    return merge if isinstance(merge, str) else " ".join(merge)


def _refusal(reason: str) -> UserError:
    return UserError(
        f"--gguf: the tokenizer of this model is not written as GGUF: {reason}; "
        "--fuse writes the model for mlx-lm and transformers"
    )
