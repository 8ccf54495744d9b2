"""The value of a setting as people read and write it in a form."""

from decimal import Decimal
from typing import Any

from engine.settings.fields import Setting
from engine.settings.yaml_text import yaml_line
from tui.text.safe_text import safe_line

DEFAULT = 60  # characters of a default


def show(entry: Any) -> str:
    """A value as a form shows it and `parse` reads it; empty for None."""
    match entry:
        case None:
            return ""
        case bool():
            return "on" if entry else "off"
        case float():
            return number(entry)
        case list():
            return ", ".join(show(each) for each in entry)
        case dict():
            return yaml_line("", entry)[0].removeprefix(": ") if entry else ""
        case _:
            return str(entry)


def facts(setting: Setting) -> str:
    """Unit, bounds and default of a setting on one line."""
    facts = setting.facts
    if setting.kind != "multiline":
        facts.append(f"default {safe_line(show(setting.default), DEFAULT) or 'empty'}")
    return " · ".join(facts)


def number(entry: float) -> str:
    """A float in the shortest form that reads back equal: 20, 0.8, 1e-5."""
    exact = Decimal(repr(entry)).normalize()
    return f"{exact:e}" if 0 < abs(exact) < Decimal("0.001") else f"{exact:f}"
