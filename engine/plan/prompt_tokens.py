"""About how many tokens a prompt takes, told by the tokenizer's file, without loading a model."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.model import files

BYTES_PER_TOKEN = 3  # of text by a tokenizer that is not here: English has more, Chinese about so
TEMPLATE = 64  # tokens of a chat template, a system message of its own included
MOST_TEXT = 400_000  # characters that are counted; of a longer text, the rest at the same rate
MOST_FILE = 100 << 20  # bytes of a tokenizer's file


def longest_of(texts: Sequence[str], model: str) -> int:
    """About the tokens of the longest of some prompts, those of its chat template included."""
    folder = files.find(model, "model")
    tokenizer = _tokenizer(folder / "tokenizer.json") if folder else None
    return TEMPLATE + max((_count(tokenizer, text) for text in texts), default=0)


def _count(tokenizer: Any, text: str) -> int:
    part = text[:MOST_TEXT]
    try:
        count = len(tokenizer.encode(part, add_special_tokens=False).ids) if tokenizer else None
    except Exception:  # the library raises whatever lies below it
        count = None
    if count is None:
        return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
    return -(-count * len(text) // max(1, len(part)))


@lru_cache(maxsize=1)
def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file)) if file.stat().st_size <= MOST_FILE else None
    except Exception:  # as above, and a file that is not there
        return None
