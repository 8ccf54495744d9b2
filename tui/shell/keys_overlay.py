"""The list of all keys of the screen in front, those that can do nothing now with the reason."""

from collections.abc import Iterator
from typing import Any

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import textual_private
from tui.shell import keys
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line, wrap

KEY, TEXT, ID = 16, 27, 18  # cells of the columns
WIDTH = 71  # cells of a line, beside the scrollbar
Line = list[tuple[str, str]]  # parts of a line, each with the component class of its colour


class KeyLines(ScrollView, can_focus=True):
    """A line a key; draws only those in sight, since every key waits until the list is there."""

    DEFAULT_CSS = """
    KeyLines {
        width: 76; max-width: 100%; max-height: 100%; overflow-x: hidden; padding: 1 2;
        background: $surface;
        & > .keys--title { color: $foreground; text-style: bold; }
        & > .keys--key { color: $accent; }
        & > .keys--text { color: $foreground; }
        & > .keys--note { color: $muted; }
        & > .keys--faint { color: $faint; }
    }
    """
    COMPONENT_CLASSES = {  # noqa: RUF012
        "keys--title", "keys--key", "keys--text", "keys--note", "keys--faint",
    }  # fmt: skip

    def __init__(self, lines: list[Line]) -> None:
        super().__init__()
        self._lines = lines

    def on_mount(self) -> None:
        """Be as high as the lines are, where there is room for them."""
        self.styles.height = len(self._lines) + 2
        self.virtual_size = Size(0, len(self._lines))

    def render_line(self, y: int) -> Strip:
        """One line of what is in sight."""
        at, width = self.scroll_offset.y + y, self.scrollable_content_region.width
        parts = self._lines[at] if at < len(self._lines) else []
        segments = [Segment(text, self.get_component_rich_style(kind)) for text, kind in parts]
        return Strip(segments).adjust_cell_length(width, self.rich_style)


class KeysOverlay(ModalScreen[None]):
    """All keys of a screen, with what each does and the id that keys.yaml knows it by."""

    DEFAULT_CSS = "KeysOverlay { align: center middle; background: $background; }"
    BINDINGS = [  # noqa: RUF012
        Binding("escape,question_mark,q,f9", "dismiss", "close", id="keys.close"),
        Binding("j", "scroll(1)", "down", show=False, id="keys.down"),
        Binding("k", "scroll(-1)", "up", show=False, id="keys.up"),
    ]

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._lines = list(lines(screen))

    def compose(self) -> ComposeResult:
        """A line a key."""
        yield KeyLines(self._lines)

    def action_scroll(self, by: int) -> None:
        """Move by lines."""
        self.query_one(KeyLines).scroll_relative(y=by, animate=False)


def lines(screen: Screen[Any]) -> Iterator[Line]:
    """A line for each binding of the screen, under the name of the part that it belongs to; more
    where a reason is long."""
    yield [(f"keys of {screen.TITLE}" if screen.TITLE else "keys", "keys--title")]
    yield []
    group = ""
    for binding, names in _bindings(screen):
        part = (binding.id or "").partition(".")[0]
        if group and part != group:
            yield []
        group = part
        why = screen.why_not(_action(binding)) if isinstance(screen, StudioScreen) else None
        key = f"{' '.join(names):<{KEY}}"
        if why is None:
            text = f"{binding.description:<{TEXT}}"
            yield [(key, "keys--key"), (text, "keys--text"), (f"{binding.id:>{ID}}", "keys--faint")]
            continue
        for text in wrap(f"{binding.description}: {safe_line(why)}", WIDTH - KEY):
            yield [(f"{key}{text}", "keys--faint")]
            key = " " * KEY
    yield []
    yield [("ids can be given other keys in keys.yaml · esc closes", "keys--note")]


def _bindings(screen: Screen[Any]) -> list[tuple[Binding, list[str]]]:
    """Each binding with all its keys, from the focused part outwards."""
    rows: dict[tuple[str | None, str], tuple[Binding, list[str]]] = {}
    for bindings in textual_private.bindings_in_front(screen):
        for key, each in bindings.key_to_bindings.items():
            for binding in each:
                if binding.id and binding.description:
                    _, names = rows.setdefault((binding.id, binding.action), (binding, []))
                    names.append(keys.display(key))
    return list(rows.values())


def _action(binding: Binding) -> str:
    return binding.action.partition("(")[0]
