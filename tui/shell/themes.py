"""Themes: a YAML file each, from the program's own folder and from the user's.

A file names eight colours and six for the lines of a chart; all else is derived from them:

    name: dark               shown in the picker; letters, digits and dashes
    dark: true               whether the background is dark
    background: "#111316"
    surface: "#1e2226"       fields, panels and what the cursor is on
    foreground: "#d7dbdf"
    muted: "#8d959d"         labels and keys
    faint: "#4c545c"         rules, axes, what has no effect
    accent: "#7cc4ff"        what is live or focused, and nothing else
    good, warning, bad       states
    series: [six colours]    the lines of a chart, the first for a single one

Instead of a colour, `ansi_blue` and the like take the terminal's own palette; a theme that does
so has to say `ansi: true` and use nothing else.
"""

import contextlib
import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.errors import UserError
from engine.settings.yaml_text import parse_yaml

BUNDLED = Path(__file__).resolve().parents[2] / "themes"
DEFAULT = "dark"
MONOCHROME = "monochrome"
SIZE_LIMIT = 64_000  # bytes of a theme file
COLORS = (
    "background", "surface", "foreground", "muted", "faint", "accent", "good", "warning", "bad",
)  # fmt: skip
SERIES = 6
OPTIONAL = {"dark": True, "ansi": False}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass(frozen=True, slots=True)
class ThemeFiles:
    """What the folders hold: themes by name, and a sentence for each file that was skipped."""

    themes: dict[str, Theme]
    problems: tuple[str, ...]


def first(name: str, folders: Iterable[Path]) -> Theme:
    """The theme of that name if a file of it can be read, else the default."""
    if _NAME.fullmatch(name):
        for folder in reversed(list(folders)):
            with contextlib.suppress(UserError):
                theme = read(folder / f"{name}.yaml")
                if theme.name == name:
                    return theme
    return read(BUNDLED / f"{DEFAULT}.yaml")


def find(folders: Iterable[Path]) -> ThemeFiles:
    """All themes in the folders; a later folder's theme takes the place of one of its name."""
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for file in (file for folder in folders for file in _files(folder)):
        try:
            theme = read(file)
            themes[theme.name] = theme
        except UserError as error:
            problems.append(str(error))
    return ThemeFiles(themes, tuple(problems))


def stamps(folders: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """When each theme file was changed, and its size: what tells that it has to be read again."""
    by_file: dict[Path, tuple[int, int]] = {}
    for file in (file for folder in folders for file in _files(folder)):
        try:
            status = file.stat()
        except OSError:
            continue
        by_file[file] = (status.st_mtime_ns, status.st_size)
    return by_file


def read(file: Path) -> Theme:
    """The theme in a file.

    Raises:
        UserError: it is no theme; says which file and key, and what it has to be.
    """
    try:
        if file.stat().st_size > SIZE_LIMIT or not file.is_file():
            raise UserError(f"{file}: this is no theme file; it was skipped.")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; it was skipped.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: it is not UTF-8 text; it was skipped.") from error
    data = parse_yaml(text, str(file))
    if not isinstance(data, dict):
        raise UserError(f"{file}: a theme is a list of `key: value` lines; it was skipped.")
    return _to_theme(data, file)


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if name.endswith((".yaml", ".yml"))]


def _to_theme(data: dict[Any, Any], file: Path) -> Theme:
    known = ("name", "series", *COLORS, *OPTIONAL)
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise UserError(f"{file}: {key!r} is no key of a theme; {hint}")
    for key in ("name", "series", *COLORS):
        if key not in data:
            raise UserError(f"{file}: {key} is missing; it was skipped.")
    name = data["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(f"{file}: name has to be of small letters, digits and dashes.")
    switches = {key: data.get(key, default) for key, default in OPTIONAL.items()}
    for key, switch in switches.items():
        if not isinstance(switch, bool):
            raise UserError(f"{file}: {key} has to be true or false.")
    series = data["series"]
    if not isinstance(series, list) or len(series) != SERIES:
        raise UserError(f"{file}: series has to be a list of {SERIES} colours.")
    colors = {key: data[key] for key in COLORS}
    colors |= {f"series-{number}": color for number, color in enumerate(series, 1)}
    for key, color in colors.items():
        _check_color(color, switches["ansi"], f"{file}: {key}")
    return _theme(name, colors, **switches)


def _check_color(color: object, ansi: bool, where: str) -> None:
    form = "one of the terminal's, such as ansi_blue" if ansi else '"#rrggbb"'
    try:
        fits = isinstance(color, str) and (Color.parse(color).ansi is not None) == ansi
    except ColorParseError:
        fits = False
    if not fits:
        raise UserError(f"{where} is {str(color)[:40]!r}; a colour has to be {form}.")


def _theme(name: str, colors: dict[str, str], *, dark: bool, ansi: bool) -> Theme:
    """A Textual theme, with `$muted`, `$faint`, `$good`, `$bad` and `$series-1` to `-6` for CSS."""
    background, surface, accent = colors["background"], colors["surface"], colors["accent"]
    return Theme(
        name=name,
        dark=dark,
        ansi=ansi,
        primary=accent,
        accent=accent,
        secondary=colors["muted"],
        foreground=colors["foreground"],
        background=background,
        surface=surface,
        panel=surface,
        boost=surface,
        success=colors["good"],
        warning=colors["warning"],
        error=colors["bad"],
        variables={
            **{key: color for key, color in colors.items() if key not in _TEXTUAL_OWN},
            "block-cursor-background": surface,
            "block-cursor-foreground": accent,
            "block-cursor-text-style": "reverse" if ansi else "bold",
            "block-cursor-blurred-background": surface,
            "block-cursor-blurred-foreground": colors["foreground"],
            "block-cursor-blurred-text-style": "none",
            "block-hover-background": surface,
            "border": accent,
            "border-blurred": colors["faint"],
            "input-cursor-background": accent,
            "input-cursor-foreground": background,
            "input-selection-background": colors["faint"],
            "input-selection-foreground": colors["foreground"],
            "screen-selection-background": colors["faint"],
            "screen-selection-foreground": colors["foreground"],
            "scrollbar": colors["faint"],
            "scrollbar-hover": colors["muted"],
            "scrollbar-active": accent,
            "scrollbar-background": background,
            "scrollbar-background-hover": background,
            "scrollbar-background-active": background,
            "scrollbar-corner-color": background,
            "text-muted": colors["muted"],
            "text-disabled": colors["faint"],
            "ansi-background": "ansi_black" if dark else "ansi_white",
            "ansi-foreground": "ansi_white" if dark else "ansi_black",
        },
    )


_TEXTUAL_OWN = {"background", "surface", "foreground", "accent", "warning"}
