"""The last line of a screen: the keys that matter now, or for a moment a message; how far something
is stands above the keys."""

from typing import Any

from textual.app import RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget

from tui.text.safe_text import cut, safe, safe_line

SECONDS = 6.0  # that a message stays
GAP = "  "


class KeyLine(Widget):
    """Shows the bindings that want to be shown, and a message for some seconds in their place."""

    DEFAULT_CSS = """
    KeyLine {
        dock: bottom; height: auto; max-height: 5; padding: 0 1; color: $muted;
    }
    KeyLine.-message { color: $foreground; }
    """

    message: reactive[str] = reactive("", layout=True)

    def __init__(self) -> None:
        super().__init__()
        self._timer: Timer | None = None
        self._gives_way = False  # whether the message does, and leaves the keys their line

    def on_mount(self) -> None:
        """Follow the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def say(self, message: str, seconds: float | None = None, *, gives_way: bool = False) -> None:
        """Show a message for some seconds, or until `clear`; one that gives way, such as how far
        something is, only where no other stands."""
        if gives_way and self.message and not self._gives_way:
            return
        self.clear()
        self._gives_way, self.message = gives_way, message
        self._timer = self.set_timer(SECONDS if seconds is None else seconds, self.clear)

    def clear(self) -> None:
        """Show the keys again."""
        if self._timer:
            self._timer.stop()
        self.message = ""

    def take_back(self, *messages: str) -> None:
        """Show the keys again where one of these messages stands there and is not true any more."""
        if self.message in messages:
            self.clear()

    def watch_message(self, message: str) -> None:
        """A message is set apart from the keys by its colour."""
        self.set_class(bool(message) and not self._gives_way, "-message")

    def render(self) -> RenderResult:
        """The message, or as many keys as fit, the last one, which shows all, always; or both."""
        if not self.message:
            return self._key_line()
        if not self._gives_way:
            return Content(safe(self.message, 1000))
        far = Content.styled(cut(safe_line(self.message), self.size.width), "$foreground")
        return Content("\n").join([far, self._key_line()])

    def _key_line(self) -> Content:
        keys = self._keys()
        room = max(0, self.size.width - keys[-1].cell_length) if keys else 0
        visible: list[Content] = []
        for key in keys[:-1]:
            room -= key.cell_length + len(GAP)
            if room < 0:
                break
            visible.append(key)
        return Content(GAP).join([*visible, *keys[-1:]])

    def _bindings_changed(self, screen: Screen[Any]) -> None:
        self.refresh()

    def _keys(self) -> list[Content]:
        bindings: dict[str, Binding] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show and active.binding.id:
                bindings.setdefault(active.binding.action, active.binding)
        return [
            Content.assemble(
                (self.app.get_key_display(binding), "$accent"), " ", (binding.description, "")
            )
            for binding in bindings.values()
        ]
