"""Tokens and passwords, which are neither kept in a run's folder nor told to anybody."""

import contextlib
import os
import re
from pathlib import Path

HIDDEN = "…"
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_HUB_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}\b")


def hide(text: str) -> str:
    """`text` without this person's hub tokens, what looks like one, and what stands before the @
    of an address."""
    for token in _own_tokens():
        text = text.replace(token, HIDDEN)
    return _HUB_TOKEN.sub(HIDDEN, _IN_ADDRESS.sub(HIDDEN, text))


def _own_tokens() -> list[str]:
    tokens = [os.environ.get(name, "").strip() for name in _VARIABLES]
    folder = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    with contextlib.suppress(OSError):
        tokens.append((folder / "token").read_text(encoding="utf-8", errors="replace").strip())
    return [token for token in tokens if len(token) >= 8]
