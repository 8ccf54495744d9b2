"""Themes: a YAML file each, from the program's own folder and the user's."""

from pathlib import Path
from typing import Any

import yaml
from textual.theme import Theme

BUNDLED = Path(__file__).resolve().parent.parent / "themes"
DEFAULT = "dark"


def read(file: Path) -> Theme:
    """The theme in a file."""
    return to_theme(yaml.safe_load(file.read_text(encoding="utf-8")))


def to_theme(data: dict[str, Any]) -> Theme:
    """A Textual theme, with `$muted`, `$faint`, `$good`, `$bad` and `$series-1` to `-6` for CSS."""
    series = {f"series-{number}": color for number, color in enumerate(data["series"], 1)}
    names = ("muted", "faint", "good", "bad")
    return Theme(
        name=data["name"],
        dark=data["dark"],
        primary=data["accent"],
        accent=data["accent"],
        secondary=data["muted"],
        foreground=data["foreground"],
        background=data["background"],
        surface=data["surface"],
        panel=data["surface"],
        success=data["good"],
        warning=data["warning"],
        error=data["bad"],
        variables={**{name: data[name] for name in names}, **series},
    )
