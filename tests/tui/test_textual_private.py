"""Textual's private names are used in one place, so that its next version is that place's work."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import textual

import tui
from tui.app import StudioApp
from tui.bindings import classes_with_keys

ROOT = Path(tui.__file__).parent
PLACE = "textual_private"
FILES = [file for file in sorted(ROOT.rglob("*.py")) if PLACE not in file.parts]
PRIVATE = re.compile(r"_[a-z]\w*")
BY_NAME = {"getattr", "setattr", "hasattr"}
OF_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # named ones
GIVEN = re.compile(r"(?:self\.|def )(_[a-z]\w*)")  # a private name in the source of a class


def _textual_names() -> set[str]:
    """Textual's private modules, and the private attributes and methods of its classes."""
    files = list(Path(textual.__file__).parent.rglob("*.py"))
    modules = {file.stem for file in files if PRIVATE.fullmatch(file.stem)}
    return modules.union(*(GIVEN.findall(file.read_text(encoding="utf-8")) for file in files))


TEXTUAL = _textual_names()


def _own_names(tree: ast.AST) -> set[str]:
    """The private methods and attributes that our classes get in a piece of source."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return {name for name in names if PRIVATE.fullmatch(name)}


def _foreign_names(tree: ast.AST) -> Iterator[str]:
    """The private names that a file imports of Textual, or reads without having given them."""
    own = _own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("textual"):
            names = [*(node.module or "").split("."), *(each.name for each in node.names)]
            yield from (name for name in names if PRIVATE.fullmatch(name))
        elif isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            of_python = isinstance(node.value, ast.Name) and node.value.id == "os"
            if node.attr not in own | OF_TUPLES and not of_python:
                yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in BY_NAME:
            texts = (str(each.value) for each in node.args if isinstance(each, ast.Constant))
            yield from (text for text in texts if PRIVATE.fullmatch(text))


@cache
def _names_of(textual_class: type) -> set[str]:
    return set(GIVEN.findall(inspect.getsource(textual_class)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_but_one_place_uses_a_private_name_of_textual(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert [name for name in _foreign_names(tree) if name in TEXTUAL] == []


def test_no_class_gives_a_private_name_of_textual_another_meaning() -> None:
    clashes: dict[str, set[str]] = {}
    for owner in classes_with_keys(StudioApp):
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        theirs = (base for base in owner.__mro__ if base.__module__.startswith("textual"))
        names = set().union(*map(_names_of, theirs))
        if taken := _own_names(tree) & names:
            clashes[owner.__name__] = taken
    assert clashes == {}
