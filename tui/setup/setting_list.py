"""The fields of the form that are shown now, one under the other."""

from collections.abc import Iterable

from textual.containers import VerticalScroll

from tui.setup import completions
from tui.setup.form import FIELDS, Form
from tui.setup.setting_field import SettingField


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields of a section or of a search. Each is made when it is first shown."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: list[SettingField] = []
        self._made: dict[str, SettingField] = {}

    def show(self, keys: Iterable[str], form: Form) -> None:
        """Show these settings and no others."""
        wanted, there = set(keys), self._made
        for field in self._shown:
            field.display = field.key in wanted
        for key in wanted & there.keys():
            there[key].display = True
            there[key].show(form)
        order = list(FIELDS)
        for key in (key for key in order if key in wanted and key not in there):
            new = SettingField(FIELDS[key], form, completions.for_setting(key))
            later = [there[each] for each in order[order.index(key) :] if each in there]
            self.mount(new, before=later[0] if later else None)
            there[key] = new
        before, self._shown = self._shown, [there[key] for key in order if key in wanted]
        if self._shown != before:
            self.scroll_home(animate=False)

    def shown(self) -> list[SettingField]:
        """The fields that are there to move among."""
        return self._shown

    @property
    def current(self) -> SettingField | None:
        """The field with the focus."""
        return next((field for field in self._shown if field.has_focus_within), None)

    def focus_first(self, key: str | None = None) -> bool:
        """Put the cursor on a setting, or else the first; whether there is one."""
        fields = self.shown()
        for field in [each for each in fields if each.key == key] or fields[:1]:
            field.focus()
            return True
        return False
