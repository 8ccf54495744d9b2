"""Tokens and passwords, which are neither kept in a run's folder nor told to anybody."""

import contextlib
import os
import re
from pathlib import Path

HIDDEN = "…"
LEAST = 8  # characters of a token; a shorter one would be taken out of ordinary text
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_TOKEN", "HUGGINGFACE_TOKEN")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s]+(?=@)")
_TOKEN = re.compile(r"\b(?:(?:hf|api_org)_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,})(?![A-Za-z0-9_-])")

_secrets: set[str] = set()


def keep_secret(value: str) -> None:
    """Have `hide` take out a key that this process was given."""
    if len(value) >= LEAST:
        _secrets.add(value)


def hide(text: str) -> str:
    """`text` without this person's hub tokens, keys that were given to `keep_secret`, what looks
    like a token, and what stands before the last @ of an address."""
    for token in (*_secrets, *_own_tokens()):
        text = text.replace(token, HIDDEN)
    return _TOKEN.sub(HIDDEN, _IN_ADDRESS.sub(HIDDEN, text))


def _own_tokens() -> list[str]:
    tokens = [os.environ.get(name, "").strip() for name in _VARIABLES]
    folder = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    with contextlib.suppress(OSError):
        tokens.append((folder / "token").read_text(encoding="utf-8", errors="replace").strip())
    return [token for token in tokens if len(token) >= LEAST]
