"""What a screen looks like, as text that can be kept and compared: its letters and their styles."""

import string
from itertools import groupby
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.app import App


def picture(app: App[Any]) -> str:
    """The letters of the screen, then for each line its styles as runs, then what they are.

    A run is the letter of a style and a number of cells: `a12 b3`.
    """
    strips = [list(strip) for strip in app.screen._compositor.render_strips()]
    names: dict[str, str] = {}
    styles = []
    for strip in strips:
        runs = groupby(strip, key=lambda segment: described(segment.style))
        styles.append(" ".join(f"{_name(names, style)}{_cells(run)}" for style, run in runs))
    legend = [f"{name} {style}" for style, name in names.items()]
    letters = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
    return "\n".join([*letters, "---", *styles, "---", *legend, ""])


def letters(kept: str) -> str:
    """The part of a picture that holds the letters."""
    return kept.partition("\n---\n")[0]


def described(style: Style | None) -> str:
    """A style in words that mean the same in every version of the libraries."""
    if style is None:
        return "plain"
    colors = (
        f"{word} {color.get_truecolor().hex}"
        for word, color in (("in", style.color), ("on", style.bgcolor))
        if color
    )
    attributes = ("bold", "dim", "italic", "underline", "reverse", "strike")
    return " ".join([*colors, *(name for name in attributes if getattr(style, name))]) or "plain"


def _name(names: dict[str, str], style: str) -> str:
    """The letter of a style: a to z, then aa, ab ..."""
    if style not in names:
        first, second = divmod(len(names), 26)
        alphabet = string.ascii_lowercase
        names[style] = (alphabet[first - 1] if first else "") + alphabet[second]
    return names[style]


def _cells(run: Any) -> int:
    segments: list[Segment] = list(run)
    return sum(segment.cell_length for segment in segments)
