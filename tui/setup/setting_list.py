"""The fields of the form that are shown now, in one column or in two side by side."""

from collections.abc import Iterable, Sequence
from itertools import chain

from textual.containers import VerticalScroll
from textual.geometry import Offset, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.layouts.vertical import VerticalLayout
from textual.widget import Widget

from engine.settings.schema import SECTIONS
from tui.setup import completions
from tui.setup.form import FIELDS, Form
from tui.setup.setting_field import SettingField
from tui.widgets.section_title import SectionTitle

GAP = 2  # cells between two columns
# The order of all that may be shown: the title of each section, then its settings.
ORDER = [
    name
    for section in SECTIONS
    for name in (section, *(key for key, each in FIELDS.items() if each.section == section))
]


class Columns(Layout):
    """Widgets under one another; those in `right` beside the others."""

    name = "columns"

    def __init__(self) -> None:
        self.right: set[Widget] = set()
        self._column = VerticalLayout()

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        """The places of two columns of equal width, or of one where nothing is on the right."""
        if not self.right:
            return self._column.arrange(parent, children, size, greedy)
        width = (size.width - GAP) // 2
        placements: list[WidgetPlacement] = []
        for x, on_right in ((0, False), (width + GAP, True)):
            column = [each for each in children if (each in self.right) == on_right]
            half = self._column.arrange(parent, column, Size(width, size.height), greedy)
            placements += WidgetPlacement.translate(half, Offset(x, 0))
        return placements


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields of sections or of a search. Each is made when it is first shown."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = Columns()
        self._visible: list[SettingField] = []
        self._widgets: dict[str, SettingField | SectionTitle] = {}  # each that was made, by name

    @property
    def layout(self) -> Layout:
        """How the fields lie."""
        return self._columns

    def show(self, columns: Sequence[Iterable[str]], form: Form) -> None:
        """Show these settings, and titles of sections, and no others."""
        sides = [sorted(column, key=ORDER.index) for column in columns]
        names = list(chain.from_iterable(sides))
        for name, widget in self._widgets.items():
            widget.display = name in names
            if isinstance(widget, SettingField) and name in names:
                widget.show(form)
        for name in names:
            if name not in self._widgets:
                self._make(name, form)
        right: set[Widget] = {self._widgets[name] for name in chain.from_iterable(sides[1:])}
        if right != self._columns.right:
            self._columns.right = right
            self.refresh(layout=True)
        before = self._visible
        widgets = [self._widgets[name] for name in names]
        self._visible = [each for each in widgets if isinstance(each, SettingField)]
        if self._visible != before:
            self.scroll_home(animate=False)

    def _make(self, name: str, form: Form) -> None:
        if name in FIELDS:
            new = SettingField(FIELDS[name], form, completions.for_setting(name))
        else:
            new = SectionTitle(name)
        later = (self._widgets.get(each) for each in ORDER[ORDER.index(name) + 1 :])
        self.mount(new, before=next(filter(None, later), None))
        self._widgets[name] = new

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
