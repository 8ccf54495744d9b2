"""What the app needs of a terminal."""

import os
import sys

from engine.machine.launch import place

LEAST_COLUMNS, LEAST_LINES = 60, 16
DUMB = ("", "dumb", "unknown")  # what TERM says of a terminal that only prints


def in_browser() -> bool:
    """Whether `lora-studio serve` shows this app: then its output is a pipe to the server."""
    return os.environ.get("TEXTUAL_DRIVER", "").endswith(":WebDriver")


def in_foreground(terminal: int) -> bool:
    """Whether this process may draw on a descriptor's terminal: unless another job of its shell is
    in the foreground. True for a terminal that is lost, and for what is no terminal."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True


def refusal() -> str | None:
    """Why the app cannot run here, in one line; None: it can."""
    if (here := place()) and here.rank:
        return f"the app is on rank 0, and this is rank {here.rank} of {here.size}"
    if in_browser():
        return None
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        return "the app needs a terminal"
    if (kind := os.environ.get("TERM", "")) in DUMB:
        return f"TERM is {kind!r}, which cannot draw a screen"
    try:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return None
    if 0 < columns < LEAST_COLUMNS or 0 < lines < LEAST_LINES:
        return (
            f"the terminal has {columns} x {lines} cells and the app needs "
            f"{LEAST_COLUMNS} x {LEAST_LINES}"
        )
    return None
