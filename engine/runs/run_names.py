"""Names of runs: safe as one component of a path on any system."""

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.settings.schema import Settings

NAME_LIMIT = 120  # bytes; leaves room for suffixes under the 255 of file systems
AUTOMATIC_LIMIT = 24  # bytes of a name that nobody chose
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


def automatic_name(settings: "Settings") -> str:
    """The name of the model, short and in small letters; `archive.create` numbers what is taken."""
    model = safe_name(Path(settings.model).name or "model").lower()
    return safe_name(model.encode()[:AUTOMATIC_LIMIT].decode(errors="ignore"))
