"""The `lora-studio` command: without an argument the app, with one what can be done without it."""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from engine.errors import RunError, UserError

if TYPE_CHECKING:
    from engine.settings import Settings

FAILED, BAD_INPUT = 1, 2


def main() -> NoReturn:
    """Entry point: runs a command and exits with its status."""
    arguments = sys.argv[1:]
    try:
        if not arguments:
            sys.exit(_open_app())
        from tui.commands import cli, settings_of

        # `lora-studio CONFIG.yaml` opens the app with that config in the form.
        if len(arguments) == 1 and arguments[0].endswith((".yaml", ".yml")):
            sys.exit(_open_app(settings_of(arguments[0], [])))
        cli()
    except UserError as error:
        _fail(str(error), BAD_INPUT)
    except RunError as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        # The reader has seen enough, as in `lora-studio runs | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _open_app(settings: "Settings | None" = None) -> int:
    from tui.terminal import run_app

    return run_app(settings)


def _fail(message: str, status: int) -> NoReturn:
    from tui.safe_text import safe_line

    line = f"lora-studio: {safe_line(message)}\n"
    sys.stderr.buffer.write(line.encode(sys.stderr.encoding, errors="replace"))
    sys.exit(status)


if __name__ == "__main__":
    main()
