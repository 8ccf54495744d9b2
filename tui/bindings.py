"""Every key of the program by its id. Imports all screens and widgets."""

import importlib
import pkgutil
from collections.abc import Iterator

from textual.binding import Binding
from textual.dom import DOMNode

# Those that have keys.
ROOMS = ("archive", "guide", "judging", "review", "run", "setup", "shell", "widgets")


def bindings_by_id(app: type[DOMNode]) -> dict[str, tuple[type, Binding]]:
    """Every binding that has an id, with the class it belongs to."""
    bindings: dict[str, tuple[type, Binding]] = {}
    for owner in classes_with_keys(app):
        for binding in owner.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.id:
                bindings.setdefault(binding.id, (owner, binding))
    return bindings


def classes_with_keys(app: type[DOMNode]) -> Iterator[type[DOMNode]]:
    """The app, every screen and every widget of the program."""
    yield app
    for room in ROOMS:
        package = importlib.import_module(f"tui.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield from _own_nodes(module.name)


def _own_nodes(name: str) -> Iterator[type[DOMNode]]:
    module = importlib.import_module(name)
    for each in vars(module).values():
        if isinstance(each, type) and each.__module__ == name and issubclass(each, DOMNode):
            yield each
