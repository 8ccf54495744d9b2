"""The `lora-studio` command: without an argument the app, with one what can be done without it."""

import errno
import os
import signal
import sys
from io import TextIOWrapper
from typing import NoReturn

from engine.errors import RunError, UserError
from tui.terminal.exit_status import BAD_INPUT, FAILED, STOPPED_BY


def main() -> NoReturn:
    """Entry point: runs a command and exits with its status."""
    _open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):  # a sign that its encoding lacks is no reason to end
        sys.stdout.reconfigure(errors="replace")
    arguments = sys.argv[1:]
    try:
        if not arguments:
            from tui.run_app import run_app

            sys.exit(run_app())
        from tui.cli.commands import cli, full

        try:
            cli(full(arguments))
        finally:
            sys.stdout.flush()  # what cannot be written is known here, not after the status
    except UserError as error:
        _fail(str(error), BAD_INPUT)
    except RunError as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:  # while a command was still being imported
        sys.exit(STOPPED_BY + signal.SIGINT)
    except BrokenPipeError:
        # The reader has seen enough, as in `lora-studio runs | head -1`.
        _print_no_more()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _print_no_more()
        _fail("the disk is full: nothing more can be written there; make room on it", FAILED)
    sys.exit(0)


def _open_closed_streams() -> None:
    """Let standard streams that the caller closed lead nowhere; else nothing could be printed, and
    a file that is opened later could get their numbers."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
        sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
        sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _print_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> NoReturn:
    from tui.text.safe_text import safe_line

    line = f"lora-studio: {safe_line(message)}\n"
    sys.stderr.buffer.write(line.encode(sys.stderr.encoding, errors="replace"))
    sys.exit(status)


if __name__ == "__main__":
    main()
