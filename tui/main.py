"""The `lora-studio` command: without an argument the app, with one what can be done without it."""

import os
import sys
from typing import NoReturn

from engine.errors import RunError, UserError
from tui.terminal.exit_status import BAD_INPUT, FAILED


def main() -> NoReturn:
    """Entry point: runs a command and exits with its status."""
    arguments = sys.argv[1:]
    try:
        if not arguments:
            from tui.run_app import run_app

            sys.exit(run_app())
        from tui.cli.commands import cli, full

        cli(full(arguments))
    except UserError as error:
        _fail(str(error), BAD_INPUT)
    except RunError as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        # The reader has seen enough, as in `lora-studio runs | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _fail(message: str, status: int) -> NoReturn:
    from tui.text.safe_text import safe_line

    line = f"lora-studio: {safe_line(message)}\n"
    sys.stderr.buffer.write(line.encode(sys.stderr.encoding, errors="replace"))
    sys.exit(status)


if __name__ == "__main__":
    main()
