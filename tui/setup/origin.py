"""Where a form comes from: what it began as, and the ready-made settings behind that."""

from collections.abc import Iterable
from dataclasses import dataclass

from tui.setup import presets
from tui.setup.form import Form, form_of
from tui.text.safe_text import safe_line

NAME = 60  # characters of a name


@dataclass(frozen=True, slots=True)
class Origin:
    """A form began as `start`, which `source` names. Behind it are the ready-made settings that
    come nearest to it, `base`, named `preset`: a run or a file was made of such ones once, and
    what it has of its own is shown as what is changed now."""

    source: str
    start: Form
    preset: str
    base: Form

    def changed(self, form: Form, key: str) -> bool:
        """Whether a setting is not as in both."""
        return form.text(key) != self.start.text(key) or form.text(key) != self.base.text(key)

    def names(self, form: Form, keys: Iterable[str]) -> str:
        """In words, of which of the two some changed settings differ."""
        keys = list(keys)
        both = {self.preset: self.base, self.source: self.start}
        differ = {name for name, each in both.items() if _differ(form, each, keys)}
        if len(differ) == 2 and all(form.text(key) != self.base.text(key) for key in keys):
            differ = {self.preset}  # which is behind the other
        return " or ".join(safe_line(name, NAME) for name in both if name in differ)

    def reset(self, form: Form, key: str) -> Form:
        """The form with a setting as it began; where it is so already, as it was ready-made, and
        then at its default."""
        return form.reset_to(key, self.start, self.base)

    def whose(self, form: Form, key: str) -> str:
        """The name of the one that has a setting as the form has it."""
        as_begun = form.text(key) == self.start.text(key)
        return safe_line(self.source if as_begun else self.preset, NAME)


def origin(form: Form, source: str) -> Origin:
    """The origin of a form that begins now."""
    preset, settings = presets.nearest(form.settings)
    return Origin(source, form, preset, form_of(settings))


def _differ(form: Form, other: Form, keys: Iterable[str]) -> bool:
    return any(form.text(key) != other.text(key) for key in keys)
