"""A list of one-line rows with a cursor that draws only what is in sight, so 100,000 rows are fine.

Whoever makes one says how a row looks; the list knows nothing of what its rows are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from textual.binding import Binding
from textual.cache import LRUCache
from textual.content import Content
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual

from tui.widgets.key_line import KeyLine

Row = TypeVar("Row")
NO_ROWS = "there are no rows"
Draw = Callable[[Row, int], Content]  # a row and the width in cells


class RowList(ScrollView, Generic[Row], can_focus=True):
    """Rows under a cursor. `draw` makes the one line that stands for a row."""

    DEFAULT_CSS = """
    RowList {
        height: 1fr; overflow-x: hidden; overflow-y: auto;
        & > .row-list--cursor { background: $foreground 8%; text-style: bold; }
        &:focus > .row-list--cursor { background: $accent 20%; text-style: bold; }
    }
    """
    COMPONENT_CLASSES = {"row-list--cursor"}  # noqa: RUF012
    BINDINGS = [  # noqa: RUF012
        Binding("up,k", "move(-1)", "up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "a page up", show=False, id="list.page_up"),
        Binding("pagedown", "page(1)", "a page down", show=False, id="list.page_down"),
        Binding("ctrl+u", "page(-0.5)", "half a page up", show=False, id="list.half_up"),
        Binding("ctrl+d", "page(0.5)", "half a page down", show=False, id="list.half_down"),
        Binding("home,g", "first", "to the first", show=False, id="list.first"),
        Binding("end,G", "last", "to the last", show=False, id="list.last"),
        Binding("enter", "choose", "open", show=False, id="list.choose"),
        Binding("n", "match(1)", "next match", show=False, id="list.next_match"),
        Binding("N", "match(-1)", "match before", show=False, id="list.match_before"),
    ]

    cursor: reactive[int] = reactive(0)

    @dataclass
    class Moved(Message):
        """The cursor stands on another row, or on another content of the same."""

        list: "RowList"

        @property
        def control(self) -> "RowList":
            return self.list

    @dataclass
    class Chosen(Message):
        """A row was chosen with enter or a click."""

        list: "RowList"

        @property
        def control(self) -> "RowList":
            return self.list

    def __init__(
        self,
        draw: "Draw[Row]",
        rows: Sequence[Row] = (),
        *,
        empty: str = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._draw = draw
        self._rows: Sequence[Row] = rows
        self._empty = empty
        self.searched = False  # whether the rows are those that were looked for
        self._strips: LRUCache[tuple[int, int, Style], Strip] = LRUCache(512)

    # -- what it holds ---------------------------------------------------------------------------

    @property
    def rows(self) -> Sequence[Row]:
        """All rows."""
        return self._rows

    @property
    def current(self) -> Row | None:
        """The row under the cursor; None where there are no rows."""
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    def show(self, rows: Sequence[Row], cursor: int | None = None, *, empty: str = "") -> None:
        """Replace the rows; the cursor stays at its place unless `cursor` says where it goes."""
        self._rows = rows
        self._empty = empty or self._empty
        at = self.cursor if cursor is None else cursor
        self.redraw()
        self.virtual_size = Size(self.size.width, len(rows))
        before = self.cursor
        self.cursor = max(0, min(at, len(rows) - 1))
        if self.cursor == before:
            self.post_message(self.Moved(self))

    def redraw(self) -> None:
        """Draw again: what the rows stand for has changed."""
        self._strips.clear()
        self.refresh()

    def in_sight(self) -> Sequence[Row]:
        """The rows that are on the screen now."""
        top = self.scroll_offset.y
        return self._rows[top : top + max(1, self.size.height)]

    # -- drawing ---------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Take the height of the first rows."""
        self.virtual_size = Size(0, len(self._rows))

    def on_resize(self, event: Resize) -> None:
        """Draw for the new width."""
        self.virtual_size = Size(event.size.width, len(self._rows))
        self._strips.clear()
        self.call_after_refresh(self._show_cursor)

    def on_show(self) -> None:
        """The cursor may have gone elsewhere while the list was hidden."""
        self.call_after_refresh(self._show_cursor)

    def notify_style_update(self) -> None:
        """Forget what was drawn in other colours."""
        super().notify_style_update()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """One line of what is in sight."""
        at, width = self.scroll_offset.y + y, self.scrollable_content_region.width
        if not self._rows and y == 0 and self._empty:
            line = Content.styled(self._empty, "$muted")
            return Visual.to_strips(self, line, width, 1, self.visual_style, pad=True)[0]
        if at >= len(self._rows) or width <= 0:
            return Strip.blank(width, self.visual_style.rich_style)
        style = self.visual_style
        if at == self.cursor:
            style = self.get_visual_style("row-list--cursor")
        key = (at, width, style)
        strip = self._strips.get(key)
        if strip is None:
            line = self._draw(self._rows[at], width).truncate(width, ellipsis=True, pad=True)
            strip = Visual.to_strips(self, line, width, 1, style, pad=True)[0]
            self._strips[key] = strip
        return strip

    # -- moving ----------------------------------------------------------------------------------

    def validate_cursor(self, at: int) -> int:
        """Keep the cursor on a row."""
        return max(0, min(at, len(self._rows) - 1))

    def watch_cursor(self, before: int, now: int) -> None:
        """Bring the cursor's row into sight."""
        self._show_cursor()
        self.refresh()
        self.post_message(self.Moved(self))

    def _show_cursor(self) -> None:
        row = Region(0, self.cursor, 1, 1)
        self.scroll_to_region(row, animate=False, force=True, immediate=True, x_axis=False)

    def on_click(self, event: Click) -> None:
        """Choose the row that was clicked; the first click only moves to it."""
        at = self.scroll_offset.y + event.y
        if at >= len(self._rows):
            return
        if at == self.cursor:
            self.action_choose()
        self.cursor = at

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self._go(self.cursor + rows)

    def action_page(self, pages: float) -> None:
        """Move the cursor by what is in sight, or half of it."""
        rows = max(1, round(abs(pages) * (self.size.height - 1)))
        self._go(self.cursor + (rows if pages > 0 else -rows))

    def action_first(self) -> None:
        """To the first row."""
        self._go(0)

    def action_last(self) -> None:
        """To the last row."""
        self._go(len(self._rows) - 1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of a search are the screen's where there was none."""
        return self.searched if action == "match" else True

    def action_match(self, rows: int) -> None:
        """To the next of the rows that were looked for, and from the last to the first."""
        if self._rows:
            self.cursor = (self.cursor + rows) % len(self._rows)

    def _go(self, to: int) -> None:
        before, self.cursor = self.cursor, to
        if self.cursor == before:
            which = "only" if len(self._rows) == 1 else "last" if before else "first"
            self._say(f"this is the {which} row" if self._rows else NO_ROWS)

    def _say(self, words: str) -> None:
        for line in self.screen.query(KeyLine):
            line.say(words, 2)

    def action_choose(self) -> None:
        """Tell that the current row was chosen."""
        if self._rows:
            self.post_message(self.Chosen(self))
        else:
            self._say(NO_ROWS)


class OpeningList(RowList[Row]):
    """A list of things that can be opened; its first key in the key line is `open`."""

    BINDINGS = [Binding("enter", "choose", "open", id="list.choose")]  # noqa: RUF012
