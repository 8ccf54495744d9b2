"""Settings while a form edits them: the values chosen so far, and the texts that are no values yet.

A form never changes; each edit gives a new one. Its `settings` are always valid, because a text
that cannot be a value is kept apart, with the reason, until it is mended.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.errors import UserError
from engine.settings import checks, files
from engine.settings.fields import Setting
from engine.settings.schema import Settings, changed, fields, no_effect, value
from engine.settings.yaml_text import parse_yaml
from tui.text.setting_value import show

THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(?![\d,])")  # 1,000 and 12,500.5
FIELDS: dict[str, Setting] = {each.key: each for each in fields()}


@dataclass(frozen=True)
class Refused:
    """A text that is no value for its setting, and why."""

    text: str
    reason: str


@dataclass(frozen=True)
class Form:
    """`values` are the settings that somebody chose, by dotted key; the rest is at its default.

    `findings` are reasons against settings that a look at files gave; an edit leaves them out.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, Refused] = field(default_factory=dict)
    findings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        """The settings without what is refused."""
        return files.from_mapping(self.values, "the form")

    @cached_property
    def problems(self) -> dict[str, str]:
        """Why a run cannot start: a reason for each setting to mend; empty where it can."""
        reasons = {each.key: each.message for each in checks.problems(self.settings)}
        refused = {key: each.reason for key, each in self.refused.items()}
        return {**self.findings, **reasons, **refused}

    @cached_property
    def no_effect(self) -> dict[str, str]:
        """Settings that change nothing now, each with the reason."""
        return no_effect(self.settings)

    @cached_property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Settings that are not at their default: key -> (value, default)."""
        return changed(self.settings)

    def text(self, key: str) -> str:
        """What an editor shows for a setting: its value, or the refused text."""
        if refused := self.refused.get(key):
            return refused.text
        return show(value(self.settings, key))

    def with_text(self, key: str, text: str) -> "Form":
        """The form after `text` was typed for a setting."""
        try:
            entry = parse(FIELDS[key], text)
        except UserError as error:
            return Form(self.values, {**self.refused, key: Refused(text, str(error))})
        return self.with_value(key, entry)

    def with_value(self, key: str, entry: Any) -> "Form":
        """The form with a valid value for a setting; None is its default."""
        rest = self.reset(key)
        return rest if entry is None else Form({**rest.values, key: entry}, rest.refused)

    def with_findings(self, findings: Mapping[str, str]) -> "Form":
        """The form with reasons against settings that a look at files gave."""
        return Form(self.values, self.refused, findings) if findings else self

    def reset(self, key: str) -> "Form":
        """The form with a setting back at its default."""
        return Form(_without(self.values, key), _without(self.refused, key))

    def reset_to(self, key: str, *earlier: "Form") -> "Form":
        """The form with a setting as in the first of the earlier forms; where it is so already, as
        in the next one that has it otherwise, and after the last at its default."""
        default, text = self.reset(key), self.text(key)
        if key not in self.values and key not in self.refused:
            return default
        texts = [each.text(key) for each in earlier]
        after = texts.index(text) + 1 if text in texts else 0
        for each in earlier[after:]:
            if each.text(key) != text:
                values = {key: each.values[key]} if key in each.values else {}
                return Form({**default.values, **values}, default.refused)
        return default


def form_from_text(settings: Settings, before: Form) -> Form:
    """The form of settings that a text of them says, in place of the form `before`, whose refused
    texts have no place in it: those stay whose settings the text has left alone."""
    same = {key for key in before.refused if value(settings, key) == value(before.settings, key)}
    refused = {key: each for key, each in before.refused.items() if key in same}
    return Form(form_of(settings).values, refused)


def form_of(settings: Settings) -> Form:
    """A form that holds only what differs from the defaults; or every setting, where leaving out
    those at their default would let others change them."""
    form = Form({key: now for key, (now, _) in changed(settings).items()})
    if form.settings == settings:
        return form
    return Form({key: value(settings, key) for key in FIELDS})


def parse(setting: Setting, text: str) -> Any:
    """The value that a text stands for; None for the default.

    Raises:
        UserError: it cannot be a value; the message says what it has to be.
    """
    text = text if setting.kind == "multiline" else text.strip()
    if not text.strip():
        if setting.optional or setting.kind == "mapping":
            return None
        raise UserError(f"is empty; it has to be {files.expected(setting)}")
    entry = _entry(setting, text)
    try:
        checked = files.from_mapping({setting.key: entry}, setting.key)
    except UserError as error:
        raise UserError(f"has to be {files.expected(setting)}") from error
    return value(checked, setting.key)


def _entry(setting: Setting, text: str) -> Any:
    if setting.kind in ("text", "multiline", "choice"):
        return text
    if setting.kind == "switch":
        return {"on": True, "off": False}.get(text.lower(), text)
    if setting.kind == "list" and text.startswith("{"):
        return parse_yaml(f"[{text}]", setting.key)
    if setting.kind == "list" and not text.startswith("["):
        return [_number_or_text(word.strip()) for word in text.split(",") if word.strip()]
    if setting.kind in ("integer", "number"):
        if "," in text and not THOUSANDS.match(text):  # 0,5 would be 5
            only = "a comma only parts thousands, and decimals follow a point"
            raise UserError(f"has to be {files.expected(setting)}; {only}")
        return _number_or_text(text.replace(",", ""))
    return parse_yaml(text, setting.key)


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _without(entries: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: entry for name, entry in entries.items() if name != key}
