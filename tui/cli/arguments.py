"""What commands share: options that mean the same in each, settings from a word, printed lines."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand

from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.settings.schema import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

_ONE_WORD = re.compile(r"\{([^{}|]+)\}")  # of a usage line: {RUN}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]
NewName = Annotated[str | None, typer.Option("--run-name", metavar="NAME", help="Name of the run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated."),
]


class _NoWord(typer.Context):
    """A command that nobody types: usage lines leave its name out."""

    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else ""


class Command(TyperCommand):
    """A command whose help names an argument by its metavar alone, with neither the type of Python
    behind it nor braces around one word."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):
                parameter.display_type_rich = lambda ctx: None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [_ONE_WORD.sub(r"\1", piece) for piece in super().collect_usage_pieces(ctx)]


class Commands(typer.Typer):
    """A group of commands, each a `Command`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rich_markup_mode=None, **options)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **options: Any
    ) -> Callable[[Function], Function]:
        return super().command(name, cls=cls or Command, **options)


class Unnamed(Command):
    """See `_NoWord`."""

    context_class = _NoWord


def settings_of(
    source: str, overrides: Sequence[str] | None = None, run_name: str | None = None
) -> "Settings":
    """The settings of a preset or a config file with overrides; notes go to standard error."""
    from engine.settings.files import apply_overrides, from_mapping, notes

    data = mapping_of(source)
    settings = from_mapping(data, source)
    for text in notes(data):
        print_note(text)
    changes = [*(overrides or []), *([f"run_name={run_name}"] if run_name is not None else [])]
    return from_mapping(apply_overrides(data, changes), source) if changes else settings


def mapping_of(source: str) -> "dict[str, Any]":
    """A preset, or what a config file says."""
    from engine.settings.files import preset_mapping, read
    from engine.settings.presets import PRESETS

    return preset_mapping(source) if source in PRESETS else read(Path(source))


def is_config(source: str) -> bool:
    """Whether a word is meant as a preset or a config file."""
    from engine.settings.presets import PRESETS

    if os.sep in source or source.endswith((".yaml", ".yml")) or source in PRESETS:
        return True
    with contextlib.suppress(OSError):  # longer than a name may be
        return Path(source).exists()
    return False


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output at once; characters that its encoding lacks are replaced."""
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
    sys.stdout.flush()


def print_note(text: str) -> None:
    """Print a line on standard error that a person should read; `text` is untrusted. Where nobody
    can read it, the work goes on all the same."""
    with contextlib.suppress(OSError):
        print(f"note: {safe_line(text)}", file=sys.stderr, flush=True)
