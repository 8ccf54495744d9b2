"""The settings by section: the sections, beside them the fields of one or of a search."""

from textual.app import ComposeResult
from textual.containers import Horizontal

from tui.setup.form import Form
from tui.setup.section_list import CHANGED, SectionList
from tui.setup.setting_field import SettingField
from tui.setup.setting_list import Fields


class SettingBrowser(Horizontal):
    """Shows the fields of the section under the cursor, or those that were looked for."""

    DEFAULT_CSS = """
    SettingBrowser {
        width: 1fr; height: 1fr;
        & #sections { width: 19; height: 1fr; }
        & #fields { width: 1fr; height: 1fr; padding: 0 1 0 0; }
    }
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self.sections = SectionList(form, id="sections")
        self.fields = Fields(id="fields")

    def compose(self) -> ComposeResult:
        """Sections to the left."""
        yield self.sections
        yield self.fields

    def show(self, form: Form, *, searching: bool) -> None:
        """Draw another form; what differs from the defaults may be other settings now."""
        self._form = form
        if self.sections.section == CHANGED and not searching:
            self.show_section()
        else:
            for field in self.fields.visible_fields():
                field.show(form)
        self.sections.mark(form)

    def show_section(self) -> None:
        """Show the fields of the section under the cursor."""
        self.show_settings(self.sections.keys(self._form))

    def show_settings(self, keys: list[str]) -> None:
        """Show the fields of these settings."""
        self.fields.show(keys, self._form)

    def open(self, key: str) -> None:
        """Put the cursor on a setting, in its section."""
        self.sections.select(key)
        self.show_section()
        self.fields.focus_first(key)

    def step(self, by: int) -> bool:
        """To the next or previous section, and there to its first field if the cursor was on one;
        whether there is such a section."""
        if not 0 <= self.sections.cursor + by < len(self.sections.rows):
            return False
        in_fields = self.fields.current is not None
        self.sections.cursor += by
        self.show_section()
        if in_fields:
            self.fields.focus_first()
        return True

    def neighbour(self, field: SettingField | None, by: int) -> SettingField | None:
        """The field `by` places from one, or the first or last for None; None beyond the ends."""
        fields = self.fields.visible_fields()
        at = fields.index(field) + by if field in fields else (0 if by > 0 else len(fields) - 1)
        return fields[at] if 0 <= at < len(fields) else None
