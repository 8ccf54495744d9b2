"""The settings by section: the sections, beside them the fields of one or two, or of a search."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Resize

from tui.setup.form import Form
from tui.setup.section_list import CHANGED, SectionList, beside, keys_of
from tui.setup.setting_field import COMFORTABLE_WIDTH, SettingField
from tui.setup.setting_list import GAP, Fields


class SettingBrowser(Horizontal):
    """Shows the fields of the section under the cursor, or those that were looked for.

    Where two sections fit side by side, it shows a pair of them.
    """

    DEFAULT_CSS = """
    SettingBrowser {
        width: 1fr; height: 1fr;
        & #sections { width: 19; height: 1fr; }
        & #fields { width: 1fr; height: 1fr; padding: 0 1 0 0; }
        & SectionTitle { margin-left: 1; }
    }
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self._two = False  # whether there is room for two columns
        self._keys: list[str] | None = None  # that were looked for
        self.sections = SectionList(form, id="sections")
        self.fields = Fields(id="fields")

    def compose(self) -> ComposeResult:
        """Sections to the left."""
        yield self.sections
        yield self.fields

    def on_resize(self, event: Resize) -> None:
        """Two columns come and go with the room for them."""
        self.call_after_refresh(self._look_at_room)

    def _look_at_room(self) -> None:
        two = self.fields.outer_size.width >= 2 * COMFORTABLE_WIDTH + GAP
        if two != self._two:
            self._two = two
            current = self.fields.current
            self._show()
            if current:
                current.scroll_visible(animate=False)

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
        self._keys = None
        self._show()

    def show_settings(self, keys: list[str]) -> None:
        """Show the fields of these settings."""
        self._keys = keys
        self._show()

    def _show(self) -> None:
        section = self.sections.section
        if self._keys is None and section != CHANGED and self._two:
            columns: Sequence[list[str]] = [
                [name for each in column for name in (each, *keys_of(each))]
                for column in beside(section)
            ]
        else:
            keys = self.sections.keys(self._form) if self._keys is None else self._keys
            columns = [keys]
        self.fields.show(columns, self._form)

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
            self.focus_section()
        return True

    def focus_section(self) -> None:
        """Put the cursor on the first field of the section."""
        self.fields.focus_first(next(iter(self.sections.keys(self._form)), None))

    def follow(self, field: SettingField) -> None:
        """Have the list of sections tell which of two the cursor is in."""
        if self._two and self._keys is None and self.sections.section != CHANGED:
            self.sections.select(field.key)

    def neighbour(self, field: SettingField | None, by: int) -> SettingField | None:
        """The field `by` places from one, or the first or last for None; None beyond the ends."""
        fields = self.fields.visible_fields()
        at = fields.index(field) + by if field in fields else (0 if by > 0 else len(fields) - 1)
        return fields[at] if 0 <= at < len(fields) else None
