"""Where a form comes from: what it began as, and the ready-made settings behind that."""

from collections.abc import Iterable
from dataclasses import dataclass

from tui.setup import presets
from tui.setup.form import Form, form_of
from tui.text.safe_text import safe_line

NAME = 60  # characters of a name


@dataclass(frozen=True, slots=True)
class Origin:
    """What a form is compared with to tell what was changed.

    `start` is the form as it began, and `source` names where that came from. `base` are the
    ready-made settings nearest to it, and `preset` is their name: the settings of a run or a file
    were probably made from them, so what differs from them is shown as changed as well.
    """

    source: str
    start: Form
    preset: str
    base: Form

    def changed(self, form: Form, key: str) -> bool:
        """Whether a setting differs from `start` or from `base`."""
        return form.text(key) != self.start.text(key) or form.text(key) != self.base.text(key)

    def names(self, form: Form, keys: Iterable[str]) -> str:
        """The names of the one or two that some changed settings differ from."""
        keys = list(keys)
        both = {self.preset: self.base, self.source: self.start}
        differ = {name for name, each in both.items() if _differ(form, each, keys)}
        if len(differ) == 2 and all(form.text(key) != self.base.text(key) for key in keys):
            differ = {self.preset}  # they all differ from it, so it alone says enough
        return " or ".join(safe_line(name, NAME) for name in both if name in differ)

    def reset(self, form: Form, key: str) -> Form:
        """The form with a setting as in `start`; where it already is, as in `base`; where it is as
        in both, at its default."""
        return form.reset_to(key, self.start, self.base)

    def whose(self, form: Form, key: str) -> str:
        """The name of the one, `start` or else `base`, that has the form's value of a setting."""
        as_begun = form.text(key) == self.start.text(key)
        return safe_line(self.source if as_begun else self.preset, NAME)


def origin(form: Form, source: str) -> Origin:
    """The origin of a form that begins now."""
    preset, settings = presets.nearest(form.settings)
    return Origin(source, form, preset, form_of(settings))


def _differ(form: Form, other: Form, keys: Iterable[str]) -> bool:
    return any(form.text(key) != other.text(key) for key in keys)
