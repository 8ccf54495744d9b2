"""What the command palette offers: all that the keys of a screen do, and all themes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.screen import Screen

from tui import preferences

if TYPE_CHECKING:
    from tui.app import StudioApp

ABOUT = {
    "setup": "the form for all settings, and the start of a run",
    "run": "the run that trains now",
    "review": "the pairs that wait for you",
    "runs": "all runs",
    "guide": "what the settings and metrics mean",
    "themes": "colours",
    "keys": "all keys of this screen",
    "quit": "leave the program",
}


def commands(app: "StudioApp", screen: Screen[Any]) -> Iterator[SystemCommand]:
    """A command for each binding that can be used on the screen, then one for each theme."""
    offered: set[str] = set()
    for active in screen.active_bindings.values():
        binding = active.binding
        usable = binding.id and binding.description and binding.action != "command_palette"
        if usable and binding.action not in offered:
            offered.add(binding.action)
            about = ABOUT.get(binding.description, binding.id or "")
            key = app.get_key_display(binding)
            run: Callable[[], Any] = partial(app.run_action, binding.action, active.node)
            yield SystemCommand(binding.description, f"{about} · {key}", run)
    for name in sorted(app.available_themes):
        yield SystemCommand(f"theme {name}", "change the colours", partial(choose_theme, app, name))


def choose_theme(app: "StudioApp", name: str) -> None:
    """Use a theme, now and the next time."""
    app.theme = name
    preferences.save(theme=name)
