"""The fields of the form that are shown now, in one column or in two side by side."""

from collections.abc import Sequence
from itertools import chain

from textual.containers import VerticalScroll
from textual.geometry import Offset, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.layouts.vertical import VerticalLayout
from textual.widget import Widget

from tui.setup.form import FIELDS, Form
from tui.setup.setting_field import SettingField
from tui.setup.suggestions import Suggestions
from tui.widgets.section_title import SectionTitle

GAP = 2  # cells between two columns


class Columns(Layout):
    """Widgets under one another, in columns of equal width, each in the order that it is given."""

    name = "columns"

    def __init__(self) -> None:
        self.columns: list[list[Widget]] = []
        self._column = VerticalLayout()

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        """The places of the widgets; of one that is in no column, none."""
        count = max(1, len(self.columns))
        width = (size.width - GAP * (count - 1)) // count
        there = set(children)
        placements: list[WidgetPlacement] = []
        for number, widgets in enumerate(self.columns):
            column = [each for each in widgets if each in there]
            part = self._column.arrange(parent, column, Size(width, size.height), greedy)
            placements += WidgetPlacement.translate(part, Offset(number * (width + GAP), 0))
        return placements


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields of sections or of a search. Each is made when it is first shown."""

    def __init__(self, suggestions: Suggestions, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._suggestions = suggestions
        self._columns = Columns()
        self._visible: list[SettingField] = []
        self._widgets: dict[str, SettingField | SectionTitle] = {}  # each that was made, by name

    @property
    def layout(self) -> Layout:
        """How the fields lie."""
        return self._columns

    def on_mount(self) -> None:
        """Learn of what takes room from the field with the focus, above it, in it or below."""
        self.watch(self, "virtual_size", self._keep_in_sight, init=False)

    def on_resize(self) -> None:
        """A line below may have taken its place, or left it."""
        self._keep_in_sight()

    def _keep_in_sight(self) -> None:
        if current := self.current:
            self.call_after_refresh(current.scroll_visible, animate=False)

    def show(self, columns: Sequence[Sequence[str]], form: Form) -> None:
        """Show these settings, and titles above some of them, and no others."""
        names = list(chain.from_iterable(columns))
        for name, widget in self._widgets.items():
            widget.display = name in names
            if isinstance(widget, SettingField) and name in names:
                widget.show(form)
        for name in names:
            if name not in self._widgets:
                self._make(name, form)
        widgets: list[list[Widget]] = [[self._widgets[name] for name in side] for side in columns]
        if widgets != self._columns.columns:
            self._columns.columns = widgets
            self.refresh(layout=True)
        before = self._visible
        visible = chain.from_iterable(widgets)
        self._visible = [each for each in visible if isinstance(each, SettingField)]
        if self._visible[:1] != before[:1]:
            self.scroll_home(animate=False)

    def _make(self, name: str, form: Form) -> None:
        if name in FIELDS:
            new = SettingField(FIELDS[name], form, self._suggestions)
        else:
            new = SectionTitle(name)
        self.mount(new)
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
            self.call_after_refresh(field.scroll_visible, animate=False)  # once it has its place
            return True
        return False
