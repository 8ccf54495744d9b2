"""The sections of the form, each with a mark where something in it has to be mended."""

from textual.content import Content

from engine.settings.schema import SECTIONS
from tui.setup.form import FIELDS, Form
from tui.widgets.row_list import RowList

CHANGED = "Changed"  # the section of what differs from the defaults


class SectionList(RowList[str]):
    """All sections; the one under the cursor is shown."""

    def __init__(self, form: Form, *, id: str | None = None) -> None:
        super().__init__(self._line, [*SECTIONS, CHANGED], id=id)
        self._form = form

    @property
    def section(self) -> str:
        """The section under the cursor."""
        return self.current or SECTIONS[0]

    def mark(self, form: Form) -> None:
        """Draw the marks for a form."""
        self._form = form
        self.redraw()

    def keys(self, form: Form) -> list[str]:
        """The settings of the section under the cursor."""
        return list(form.changed) if self.section == CHANGED else keys_of(self.section)

    def select(self, key: str) -> None:
        """Put the cursor on the section that a setting belongs to."""
        self.cursor = SECTIONS.index(FIELDS[key].section)

    def _line(self, section: str, width: int) -> Content:
        wrong = any(key in self._form.problems for key in keys_of(section))
        count = len(self._form.changed) if section == CHANGED else 0
        mark = Content.styled("!" if wrong else " ", "$bad")
        tail = f" {count}" if count else ""
        return Content.assemble(mark, section, (tail, "$muted"))


def beside(section: str) -> list[tuple[str, ...]]:
    """The sections that stand with one where two fit side by side, by column: the first and second,
    the third and fourth ..., and of an odd number the last under the one before it."""
    at = min(SECTIONS.index(section) // 2, len(SECTIONS) // 2 - 1) * 2
    last = at + 2 + len(SECTIONS) % 2 == len(SECTIONS)
    return [SECTIONS[at : at + 1], SECTIONS[at + 1 : None if last else at + 2]]


def keys_of(section: str) -> list[str]:
    """The settings of a section."""
    return [key for key, each in FIELDS.items() if each.section == section]
