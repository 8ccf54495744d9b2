"""The list of all keys of the screen in front, those that can do nothing now with the reason."""

from collections.abc import Iterator
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui import textual_private
from tui.shell import keys
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line

KEY, TEXT, ID = 16, 26, 18  # cells of the columns


class KeysOverlay(ModalScreen[None]):
    """All keys of a screen, with what each does and the id that keys.yaml knows it by."""

    DEFAULT_CSS = """
    KeysOverlay { align: center middle; background: $background; }
    KeysOverlay VerticalScroll {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; padding: 1 2;
    }
    KeysOverlay Static { height: auto; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("escape,question_mark,q,f9", "dismiss", "close", id="keys.close"),
        Binding("j", "scroll(1)", "down", show=False, id="keys.down"),
        Binding("k", "scroll(-1)", "up", show=False, id="keys.up"),
    ]

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._text = Content("\n").join(lines(screen))

    def compose(self) -> ComposeResult:
        """A line a key."""
        with VerticalScroll():
            yield Static(self._text)

    def action_scroll(self, by: int) -> None:
        """Move by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)


def lines(screen: Screen[Any]) -> Iterator[Content]:
    """A line for each binding of the screen, under the name of the part that it belongs to."""
    title = screen.TITLE or ""
    yield Content.assemble((f"keys of {title}\n" if title else "keys\n", "$foreground bold"))
    group = ""
    for binding, names in _bindings(screen):
        part = (binding.id or "").partition(".")[0]
        if group and part != group:
            yield Content("")
        group = part
        why = screen.why_not(_action(binding)) if isinstance(screen, StudioScreen) else None
        text = binding.description + (f": {safe_line(why)}" if why else "")
        style = "$faint" if why else "$foreground"
        yield Content.assemble(
            (f"{' '.join(names):<{KEY}}", "$faint" if why else "$accent"),
            (f"{text:<{TEXT}} ", style),
            ("" if why else f"{binding.id:>{ID}}", "$faint"),
        )
    yield Content.styled("\nids can be given other keys in keys.yaml · esc closes", "$muted")


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
