"""The log of a run: follows its end or stands still, by level, and searched."""

import re
import time
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from engine.events import Level
from tui.state.run_view import LOG_LINES, LogLine, RunView
from tui.text.safe_text import safe, safe_line, wrap
from tui.widgets.key_line import KeyLine
from tui.widgets.safe_editors import LineEditor
from tui.widgets.section_title import SectionTitle

LINE_LIMIT = 4_000  # characters of one line that are shown
BOUND = "\xa0"  # a space at which no line is broken
STAMP = 9  # cells: 18:41:07 and a space
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
SHOWN_FROM = {
    "debug": "all lines",
    "info": "info and above",
    "warning": "warnings and errors",
    "error": "errors only",
}
NAMED = re.compile(r"(?<=[^\W\d]) (?=[-+]?\d)")  # between a name and its number
MARKS = {"warning": "! ", "error": "✗ "}  # so that colour is not alone in saying it


@dataclass(frozen=True, slots=True)
class Row:
    """A row on the screen: a log line, or a part of one that is longer than the pane is wide."""

    stamp: str
    text: str
    level: Level


class LogRows(ScrollView, can_focus=True):
    """The rows of the log. Draws only those in sight."""

    DEFAULT_CSS = "LogRows { height: 1fr; overflow-x: hidden; scrollbar-gutter: stable; }"
    COMPONENT_CLASSES = {  # noqa: RUF012
        "log--stamp", "log--debug", "log--info", "log--warning", "log--error", "log--found",
    }  # fmt: skip

    class Moved(Message):
        """The rows were scrolled, and following may have begun or ended."""

    def __init__(self) -> None:
        super().__init__()
        self.following = True
        self.query_text = ""
        self.level: Level = "info"
        self._rows: list[Row] = []
        self._view: RunView | None = None
        self._read_count = 0  # of the view's log_count
        self._scrolled_layout = (0, 0)  # the height and the number of rows that were scrolled for

    def show(self, view: RunView | None) -> None:
        """Add what is new in a view's log."""
        if view is not self._view:
            self._view, self._read_count, self._rows = view, 0, []
            self._settle()
        new = view.log_count - self._read_count if view else 0
        if not view or not new:
            return
        if len(self._rows) > 3 * LOG_LINES:
            self._rows, new = [], len(view.log)
        lines = list(view.log)[-min(new, len(view.log)) :]
        self._read_count = view.log_count
        for line in lines:
            self._rows += self._rows_of(line)
        self._settle()

    def rebuild(self) -> None:
        """Lay all lines out anew: another width, level or search."""
        at = self.scroll_y
        self._rows, self._read_count = [], 0
        if self._view:
            self._read_count = self._view.log_count - len(self._view.log)
        self._settle()
        self.show(self._view)
        if not self.following:
            self.scroll_to(y=at, animate=False, force=True, immediate=True)

    def follow(self, following: bool) -> None:
        """Stay at the end from now on, or stand still."""
        self.following = following
        self._settle()

    def to_match(self, by: int) -> None:
        """Bring the line after or before the one at the top there, and go round at the ends."""
        top, last = self.scroll_offset.y, self.max_scroll_y
        starts = [at for at, row in enumerate(self._rows) if row.stamp and at < last] + [last]
        after, before = [at for at in starts if at > top], [at for at in starts if at < top]
        to = (after or starts)[0] if by > 0 else (before or starts)[-1]
        self.scroll_to(y=to, animate=False, force=True, immediate=True)

    def _settle(self) -> None:
        self._scrolled_layout = self._layout()
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows))
        if self.following:  # forced: the scroll bar may not be shown yet
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)
        self.refresh()

    def _layout(self) -> tuple[int, int]:
        return self.size.height, len(self._rows)

    def _rows_of(self, line: LogLine) -> list[Row]:
        if LEVELS.index(line.level) < LEVELS.index(self.level):
            return []
        text = safe(line.text, LINE_LIMIT).rstrip("\n")
        if self.query_text and self.query_text.casefold() not in text.casefold():
            return []
        width = max(20, self.scrollable_content_region.width - STAMP)
        rows = parts(MARKS.get(line.level, "") + text, width)
        stamp = time.strftime("%H:%M:%S", time.localtime(line.time)) if line.time else ""
        return [
            Row(stamp if not index else "", part, line.level) for index, part in enumerate(rows)
        ]

    def on_resize(self, event: Resize) -> None:
        """Another width breaks lines elsewhere, and another height has another end."""
        self.rebuild()
        self.call_after_refresh(self._settle)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scrolling up stops following; reaching the end begins it again.

        What a layout of another size moves does neither.
        """
        super().watch_scroll_y(old_value, new_value)
        moved = old_value != new_value and self._layout() == self._scrolled_layout
        if self.is_mounted and moved and self.max_scroll_y:
            self.following = new_value >= self.max_scroll_y
            self.post_message(self.Moved())

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[index]
        stamp = Segment(f"{row.stamp:<{STAMP}}", self.get_component_rich_style("log--stamp"))
        style = self.get_component_rich_style(f"log--{row.level}")
        segments = [stamp, Segment(row.text, style)]
        if self.query_text:
            match_style = self.get_component_rich_style("log--found")
            segments = [stamp, *_highlighted(row.text, self.query_text, style, match_style)]
        return Strip(segments).adjust_cell_length(width, self.rich_style)


def parts(text: str, width: int) -> list[str]:
    """The parts of a line in a column of `width` cells; `loss 0.29` stays together."""
    return [part.replace(BOUND, " ") for part in wrap(NAMED.sub(BOUND, text), width)]


def _highlighted(text: str, query: str, style: Style, match_style: Style) -> list[Segment]:
    start = text.casefold().find(query.casefold())
    if start < 0 or len(text.casefold()) != len(text):
        return [Segment(text, style)]
    end = start + len(query)
    parts = ((text[:start], style), (text[start:end], match_style), (text[end:], style))
    return [Segment(part, each) for part, each in parts]


class LogPane(Vertical):
    """The log under a line that says whether it follows and what it leaves out."""

    DEFAULT_CSS = """
    LogPane { height: 1fr; min-height: 2; }
    LogPane .log--stamp { color: $faint; }
    LogPane .log--debug { color: $muted; }
    LogPane .log--info { color: $foreground; }
    LogPane .log--warning { color: $warning; }
    LogPane .log--error { color: $bad; }
    LogPane .log--found { color: $background; background: $accent; }
    LogPane Input { height: 1; border: none; padding: 0; background: $surface; display: none; }
    LogPane Input.-open { display: block; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("F", "follow", "follow or hold", id="log.follow"),
        Binding("v", "level", "level", id="log.level"),
        Binding("slash", "search", "search", key_display="/", id="log.search"),
        Binding("k", "scroll(-1)", "up", show=False, id="log.up"),
        Binding("j", "scroll(1)", "down", show=False, id="log.down"),
        Binding("ctrl+u", "half_page(-1)", "half a page up", show=False, id="log.half_up"),
        Binding("ctrl+d", "half_page(1)", "half a page down", show=False, id="log.half_down"),
        Binding("g", "scroll_to_start", "to the start", show=False, id="log.start"),
        Binding("G", "scroll_to_end", "to the end", show=False, id="log.end"),
        Binding("n", "match(1)", "next match", show=False, id="log.next_match"),
        Binding("N", "match(-1)", "match before", show=False, id="log.match_before"),
        Binding("escape", "close_search", "all lines again", show=False, id="log.close"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows = LogRows()
        self._title = SectionTitle("log", "following")

    def compose(self) -> ComposeResult:
        """Title, rows, and the line for a search."""
        yield self._title
        yield self.rows
        yield LineEditor(placeholder="show only lines with …", compact=True, id="log-search")

    def show(self, view: RunView | None) -> None:
        """Add what is new in a view's log."""
        self.rows.show(view)

    @on(LogRows.Moved)
    def _moved(self) -> None:
        self._draw_title()

    def on_descendant_focus(self) -> None:
        """The title of the part in focus is lit."""
        self._draw_title()

    def on_descendant_blur(self) -> None:
        """And goes out again."""
        self._draw_title()

    def _draw_title(self) -> None:
        parts = []
        if self.rows.query_text:
            parts.append(f"with {safe_line(self.rows.query_text, 24)!r}")
        if self.rows.level != "info":
            parts.append(SHOWN_FROM[self.rows.level])
        parts.append("following" if self.rows.following else "held · F follows")
        self._title.show("log", " · ".join(parts), accented=self.rows.has_focus)

    # -- keys ------------------------------------------------------------------------------------

    def action_follow(self) -> None:
        """Follow the end of the log, or hold it still."""
        self.rows.follow(not self.rows.following)
        self._draw_title()

    def action_level(self) -> None:
        """Show less and less, then everything again."""
        order = ("info", "warning", "error", "debug")
        self.rows.level = order[(order.index(self.rows.level) + 1) % len(order)]
        self.rows.rebuild()
        self._draw_title()

    def action_search(self) -> None:
        """Type what the shown lines have to contain."""
        search = self.query_one(Input)
        search.add_class("-open")
        search.focus()

    def action_close_search(self) -> None:
        """Show all lines again."""
        search = self.query_one(Input)
        if not search.has_class("-open"):
            raise SkipAction
        search.value = ""
        search.remove_class("-open")
        self.rows.focus()

    @on(Input.Changed)
    def _search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.rows.query_text = event.value
        self.rows.rebuild()
        self._draw_title()

    @on(Input.Submitted)
    def _back_to_rows(self, event: Input.Submitted) -> None:
        event.stop()
        self.rows.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of a search are the screen's where there was none."""
        return bool(self.rows.query_text) if action == "match" else True

    def action_match(self, by: int) -> None:
        """Bring the next of the lines that were looked for to the top, and go round at the end."""
        self.rows.to_match(by)
        if not self.rows.max_scroll_y:
            self.screen.query_one(KeyLine).say("all of these lines are in sight", 2)

    def action_scroll(self, by: int) -> None:
        """Move by lines."""
        self.rows.scroll_relative(y=by, animate=False)

    def action_half_page(self, by: int) -> None:
        """Move by half of what is in sight."""
        self.rows.scroll_relative(y=by * max(1, self.rows.size.height // 2), animate=False)

    def action_scroll_to_start(self) -> None:
        """To the oldest line."""
        self.rows.scroll_home(animate=False)

    def action_scroll_to_end(self) -> None:
        """To the newest line, and follow."""
        self.rows.follow(True)
        self._draw_title()
