"""What the command palette offers: all that the keys of a screen do, and all themes."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from textual.app import App, ComposeResult
from textual.command import CommandInput, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.screen import Screen

from engine.runs.archive import runs_root
from engine.settings.schema import fields
from tui.shell import preferences
from tui.studio import studio_of
from tui.text.safe_text import safe_line
from tui.widgets.safe_editors import LineEditor

# What the app's own commands do, where their names do not say it. By name.
ABOUT = {
    "setup": "all settings, and the start of a run",
    "run": "the run that trains now",
    "review": "the pairs that wait for you",
    "runs": "all runs",
    "guide": "what the settings and metrics mean",
    "themes": "choose the colours",
    "keys": "all keys of this screen",
    "to the shell": "leave the terminal to the shell until fg",
    "quit": "leave the program",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A line of the palette. `first`: it is offered before anything is typed."""

    name: str
    about: str
    run: Callable[[], object]
    first: bool = True


def commands(app: App[Any], screen: Screen[Any]) -> Iterator[Command]:
    """A command for each binding that can be used on the screen, then one for each theme, run and
    setting."""
    offered: set[str] = set()
    for active in screen.active_bindings.values():
        binding = active.binding
        usable = binding.id and binding.description and binding.action != "app.command_palette"
        if usable and binding.action not in offered:
            offered.add(binding.action)
            about = ABOUT.get(binding.description, "") if active.node is app else ""
            yield Command(
                binding.description,
                f"{app.get_key_display(binding):<8}{about}",
                partial(app.run_action, binding.action, active.node),
                first=binding.show or active.node is app,
            )
    for name in sorted(app.available_themes):
        yield Command(f"theme {name}", "", partial(choose_theme, app, name), first=False)
    yield from _places(screen)


def _places(screen: Screen[Any]) -> Iterator[Command]:
    """Each run and each setting, to go to."""
    studio = studio_of(screen)
    for name in _run_names():
        words = f"open run {safe_line(name, 60)}"
        yield Command(words, "", partial(studio.navigator.open_run_detail, name), first=False)
    for each in fields():
        go = partial(studio.navigator.open_setting, each.key)
        yield Command(f"setting {each.key}", each.section, go, first=False)


def _run_names() -> list[str]:
    with contextlib.suppress(OSError), os.scandir(runs_root()) as entries:
        return sorted(
            each.name
            for each in entries
            if not each.name.startswith(".") and each.is_dir(follow_symlinks=False)
        )
    return []


def choose_theme(app: App[Any], name: str) -> None:
    """Use a theme, now and the next time."""
    app.theme = name
    preferences.save(theme=name)


class _SafeInput(CommandInput, LineEditor):
    """The line of the palette, in which nothing can be pasted that a terminal would obey."""


class Palette(CommandPalette):
    """Textual's palette with an input that is safe to draw."""

    def compose(self) -> ComposeResult:
        """The parts of Textual's, with another input."""
        for widget in super().compose():
            if isinstance(widget, CommandInput):
                yield _SafeInput(placeholder=widget.placeholder, select_on_focus=False)
            else:
                yield widget


class Commands(Provider):
    """Offers `commands` to Textual's palette: what is in the key line first, all else by search."""

    async def discover(self) -> Hits:
        """What is offered before anything is typed."""
        for command in commands(self.app, self.screen):
            if command.first:
                line = _line(Content(command.name), command)
                yield DiscoveryHit(line, command.run, text=command.name)

    async def search(self, query: str) -> Hits:
        """What matches the typed letters."""
        matcher = self.matcher(query)
        for command in commands(self.app, self.screen):
            if (match := matcher.match(command.name)) > 0:
                line = _line(matcher.highlight(command.name), command)
                yield Hit(match, line, command.run, text=command.name)


def _line(name: Content, command: Command) -> Content:
    room = max(1, 24 - name.cell_length)
    return Content.assemble(name, " " * room, (command.about, "$muted"))
