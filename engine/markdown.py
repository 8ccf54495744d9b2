"""Untrusted text in Markdown, where nothing of it may mark anything up."""

import html
import re
from collections.abc import Sequence

_MARKS = set("\\`*_[]|!#~$")
_BACKTICKS = re.compile("`+")


def inline(text: str, longest: int = 2000) -> str:
    """`text` in one line, without markup: of Markdown, of tables, and of HTML."""
    line = "".join(char if char.isprintable() else " " for char in text[:longest])
    escaped = html.escape(" ".join(line.split()), quote=False)
    return "".join(f"\\{char}" if char in _MARKS else char for char in escaped)


def fenced(text: str, language: str = "") -> str:
    """`text` as a block of code, which nothing in it can end."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    shown = "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
    return f"{fence}{language}\n{shown.rstrip()}\n{fence}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, of texts that are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
