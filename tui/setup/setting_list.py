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
        self._visible: list[SettingField] = []
        self._by_key: dict[str, SettingField] = {}  # each that was made

    def show(self, keys: Iterable[str], form: Form) -> None:
        """Show these settings and no others."""
        visible, by_key, order = set(keys), self._by_key, list(FIELDS)
        for field in self._visible:
            field.display = field.key in visible
        for key in visible & by_key.keys():
            by_key[key].display = True
            by_key[key].show(form)
        for key in (key for key in order if key in visible and key not in by_key):
            new = SettingField(FIELDS[key], form, completions.for_setting(key))
            later = [by_key[each] for each in order[order.index(key) :] if each in by_key]
            self.mount(new, before=later[0] if later else None)
            by_key[key] = new
        before, self._visible = self._visible, [by_key[key] for key in order if key in visible]
        if self._visible != before:
            self.scroll_home(animate=False)

    def visible_fields(self) -> list[SettingField]:
        """The fields that are there to move among."""
        return self._visible

    @property
    def current(self) -> SettingField | None:
        """The field with the focus."""
        return next((field for field in self._visible if field.has_focus_within), None)

    def focus_first(self, key: str | None = None) -> bool:
        """Put the cursor on a setting, or else the first; whether there is one."""
        fields = self.visible_fields()
        for field in [each for each in fields if each.key == key] or fields[:1]:
            field.focus()
            return True
        return False
