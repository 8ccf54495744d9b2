"""The settings: the first page, or all by section, or those of a search."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Resize

from tui.setup import first_page
from tui.setup.form import Form
from tui.setup.origin import Origin
from tui.setup.section_list import CHANGED, SectionList, beside, keys_of
from tui.setup.setting_field import SettingField
from tui.setup.setting_line import COMFORTABLE_WIDTH
from tui.setup.setting_list import GAP, Fields
from tui.setup.suggestions import Suggestions


class SettingBrowser(Horizontal):
    """Shows the first page, or the fields of the section under the cursor beside the list of
    sections, or those that were looked for.

    Where two columns fit side by side, it shows a pair of sections.
    """

    DEFAULT_CSS = """
    SettingBrowser {
        width: 1fr; height: 1fr;
        & #sections { width: 19; height: 1fr; display: none; }
        &.-sections #sections { display: block; }
        & #fields { width: 1fr; height: 1fr; scrollbar-gutter: stable; }
        & SectionTitle { margin-left: 1; }
    }
    """

    def __init__(self, form: Form, origin: Origin, suggestions: Suggestions) -> None:
        super().__init__()
        self._form, self._origin = form, origin
        self._two = False  # whether there is room for two columns
        self._keys: list[str] | None = None  # that were looked for
        self.on_first_page = True
        self.sections = SectionList(form, id="sections")
        self.fields = Fields(suggestions, id="fields")

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
            self._show()

    def show(self, form: Form, origin: Origin, *, searching: bool) -> None:
        """Draw another form; what was changed may be other settings now."""
        self._form, self._origin = form, origin
        if not searching and (self.on_first_page or self.sections.section == CHANGED):
            self._keys = None
            self._show()
        else:
            for field in self.fields.visible_fields():
                field.show(form)
        self.sections.mark(form)

    @property
    def _current(self) -> str | None:
        """The setting of the first page that the cursor is on."""
        return self.fields.current.key if self.fields.current else None

    def show_page(self, *, first: bool) -> None:
        """Show the first page, or else the section under the cursor."""
        self.on_first_page = first
        self.set_class(not first, "-sections")
        self.show_section()

    def show_section(self) -> None:
        """Show the page, or the fields of the section under the cursor."""
        self._keys = None
        self._show()

    def show_settings(self, keys: list[str]) -> None:
        """Show the fields of these settings."""
        self._keys = keys
        self._show()

    def _show(self) -> None:
        section = self.sections.section
        if self._keys is not None:
            columns: Sequence[Sequence[str]] = [self._keys]
        elif self.on_first_page:
            columns = first_page.columns(self._form, self._origin, self._current, two=self._two)
        elif section != CHANGED and self._two:
            columns = [
                [name for each in column for name in (each, *keys_of(each))]
                for column in beside(section)
            ]
        else:
            columns = [self.sections.keys(self._form)]
        self.fields.show(columns, self._form)

    def open(self, key: str) -> None:
        """Put the cursor on a setting: on the first page where it is there, else in its section."""
        page = first_page.columns(self._form, self._origin)
        if not self.on_first_page or key not in page[0]:
            self.sections.select(key)
            self.show_page(first=False)
        else:
            self.show_section()
        self.fields.focus_first(key)

    def step(self, by: int) -> bool:
        """To the next or previous section, and there to its first field if the cursor was on one;
        the first page is before them. Whether there is such a one."""
        at = by - 1 if self.on_first_page else self.sections.cursor + by
        if not -1 <= at < len(self.sections.rows) or (self.on_first_page and by < 0):
            return False
        in_fields = self.fields.current is not None
        if at >= 0:
            self.sections.cursor = at
        self.show_page(first=at < 0)
        if in_fields:
            self.focus_section()
        elif at < 0:
            self.fields.focus_first()
        return True

    def focus_section(self) -> None:
        """Put the cursor on the first field of the section."""
        first = None if self.on_first_page else next(iter(self.sections.keys(self._form)), None)
        self.fields.focus_first(first)

    def follow(self, field: SettingField) -> None:
        """Have the list of sections tell which of two the cursor is in."""
        by_section = self._keys is None and not self.on_first_page
        if self._two and by_section and self.sections.section != CHANGED:
            self.sections.select(field.key)

    def neighbour(self, field: SettingField | None, by: int) -> SettingField | None:
        """The field `by` places from one, or the first or last for None; None beyond the ends."""
        fields = self.fields.visible_fields()
        at = fields.index(field) + by if field in fields else (0 if by > 0 else len(fields) - 1)
        return fields[at] if 0 <= at < len(fields) else None
