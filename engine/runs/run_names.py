"""Names of runs: safe as one component of a path on any system."""

import re
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.settings.schema import Settings

NAME_LIMIT = 120  # bytes; leaves room for suffixes under the 255 of file systems
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(text: str) -> str:
    """`text` as one component of a path on any system: no separators, controls or hidden start.

    Letters and digits of every script, `.`, `_`, `+`, `=`, `@` and `-` stay; all else is `-`.
    """
    text = unicodedata.normalize("NFC", text)
    characters = (c if unicodedata.category(c)[0] in "LNM" or c in "._+=@-" else "-" for c in text)
    name = re.sub("-{2,}", "-", re.sub(r"\.{2,}", ".", "".join(characters)))
    name = name.encode()[:NAME_LIMIT].decode(errors="ignore").strip("-.")
    if not name or unicodedata.category(name[0]) in ("Mn", "Mc", "Me"):
        name = f"run{name}"
    return f"{name}-run" if _RESERVED.fullmatch(name) else name


def automatic_name(settings: "Settings", now: datetime | None) -> str:
    """<model>-<train_type>-online-dpo-<date>-<time>"""
    now = now or datetime.now().astimezone()
    model = Path(settings.model).name or "model"
    ending = f"-{settings.train_type}-online-dpo-{now:%Y%m%d-%H%M%S}"
    start = safe_name(model).encode()[: NAME_LIMIT - len(ending)].decode(errors="ignore")
    return safe_name(start + ending)
