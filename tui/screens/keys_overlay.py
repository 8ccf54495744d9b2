"""The list of all keys that work on the screen in front."""

from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static


class KeysOverlay(ModalScreen[None]):
    """All keys of a screen, with what each does and the id that keys.yaml knows it by."""

    DEFAULT_CSS = """
    KeysOverlay { align: center middle; background: $background 60%; }
    KeysOverlay VerticalScroll {
        width: auto; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; padding: 1 2;
    }
    KeysOverlay Static { width: auto; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("escape,question_mark,q", "dismiss", "close", id="keys.close")
    ]

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._lines = lines(screen)

    def compose(self) -> ComposeResult:
        """One column of keys."""
        with VerticalScroll():
            yield Static(Content("\n").join(self._lines))


def lines(screen: Screen[Any]) -> list[Content]:
    """A line for each binding of the screen and its focused widget."""
    keys: dict[str, tuple[list[str], Binding]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.description:
            shown, _ = keys.setdefault(binding.action, ([], binding))
            shown.append(screen.app.get_key_display(binding))
    return [
        Content.assemble(
            (f"{' '.join(shown):<12}", "$accent"),
            binding.description,
            (f"  {binding.id or ''}", "$faint"),
        )
        for shown, binding in keys.values()
    ]
