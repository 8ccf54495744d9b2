"""Every key of the program can be changed in `keys.yaml` of its folder.

The file maps the id of a binding, as the list of keys (`?`) shows it, to a key or a list of keys:

    run.stop: x
    app.setup: [f2, ctrl+t]

A line that cannot be used is named and left out; the others count.
"""

import difflib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from textual.binding import Binding
from textual.keys import Keys, format_key

from engine.errors import UserError
from engine.file_kinds import exists
from engine.settings.yaml_text import parse_yaml
from tui import textual_private
from tui.shell.base import StudioScreen

FILE = "keys.yaml"
SIZE_LIMIT = 64_000  # bytes
MODIFIERS = {"ctrl", "shift", "alt", "super", "meta", "hyper"}
Bindings = Mapping[str, tuple[type, Binding]]  # by id, with the class that has it
_NAMED = {key.value for key in Keys}


@dataclass(frozen=True, slots=True)
class Keymap:
    """Keys by binding id, as `App.set_keymap` takes them, and what was wrong with the file."""

    keys: Mapping[str, str]
    problems: tuple[str, ...] = ()


def load(folder: Path, known: Callable[[], Bindings]) -> Keymap:
    """The user's keys; empty where there is no file. Never raises.

    `known` gives every binding of the program by its id; it is called only where there are keys.
    """
    file = folder / FILE
    try:
        if not exists(file):
            return Keymap({})
        if file.stat().st_size > SIZE_LIMIT:
            return Keymap({}, (f"{file} is too large for a list of keys; it was skipped.",))
        data = parse_yaml(file.read_bytes().decode("utf-8-sig"), str(file))
    except UnicodeDecodeError:
        return Keymap({}, (f"{file} is not UTF-8 text; it was skipped.",))
    except (OSError, UserError) as error:
        return Keymap({}, (f"{error}; it was skipped.",))
    if data is None:
        return Keymap({})
    if not isinstance(data, dict):
        return Keymap({}, (f"{file}: write `id: key` lines, such as `run.stop: x`.",))
    return check(data, str(file), known())


def check(data: Mapping[object, object], source: str, known: Bindings) -> Keymap:
    """The usable lines of a mapping of ids to keys, and a sentence for each other one."""
    keys: dict[str, str] = {}
    problems: list[str] = []
    for name, entry in data.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{source}: no key is called {str(name)[:60]!r}{hint}")
            continue
        entries = entry if isinstance(entry, list) else [entry]
        names = [_key_name(key) for key in entries]
        if not names or None in names:
            problems.append(
                f"{source}: {name} is {str(entry)[:40]!r}, which is no key: write one like x, f7, "
                "ctrl+t, or a list of them"
            )
            continue
        keys[str(name)] = ",".join(filter(None, names))
    problems += [f"{source}: {clash}" for clash in clashes(keys, known)]
    return Keymap(keys, tuple(problems))


def _key_name(key: object) -> str | None:
    """The name that Textual has for a key, or None if there is no such key."""
    text = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else ""
    *modifiers, last = text.split("+") if text != "+" else ["+"]
    if not set(modifiers) <= MODIFIERS or not last:
        return None
    if len(last) == 1:
        if not last.isprintable():
            return None
        if not last.isalnum():
            last = unicodedata.name(last, "").lower().replace("-", "_").replace(" ", "_")
            last = {"plus_sign": "plus", "hyphen_minus": "minus", "solidus": "slash"}.get(
                last, last
            )
    elif last not in _NAMED and f"{'+'.join(modifiers)}+{last}" not in _NAMED:
        try:
            unicodedata.lookup(last.replace("_", " "))
        except KeyError:
            return None
    return "+".join([*modifiers, last]) if last else None


def clashes(keys: Mapping[str, str], known: Bindings) -> Iterator[str]:
    """A sentence for each key that would now do two things in the same place."""
    for name, text in keys.items():
        owner = known[name][0]
        for other, (part, binding) in known.items():
            if other == name or part is not owner:
                continue
            shared = set(keys.get(other, binding.key).split(",")) & set(text.split(","))
            if shared and (other not in keys or other > name):
                yield f"{name} and {other} are both on {', '.join(sorted(shared))}"


def reason(screen: StudioScreen, key: str) -> str | None:
    """Why a key of a screen can do nothing now; None where the screen has no such key."""
    for bindings in textual_private.bindings_in_front(screen):
        for binding in bindings.key_to_bindings.get(key, ()):
            if why := screen.why_not(binding.action.partition("(")[0]):
                return why
    return None


def display(key: str) -> str:
    """A key as people write it: `ctrl+p`, `?`, `esc`, `↑`."""
    *modifiers, last = key.split("+")
    return "+".join([*modifiers, _SHORT.get(last) or format_key(last)])


_SHORT = {"escape": "esc", "pageup": "page up", "pagedown": "page down", "space": "space"}
