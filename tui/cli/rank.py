"""Ranks of a run that several train: those other than 0, which show nothing but how it ended, and
what they hear where rank 0 cannot begin."""

import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from engine.errors import RunError, UserError
from engine.machine.launch import Place, place
from engine.settings.schema import Settings
from tui.cli.training import ECHO
from tui.terminal.exit_status import BAD_INPUT, FAILED, STOPPED_BY
from tui.text.safe_text import safe_line

REFRESH = 0.15  # seconds between two looks


def work(place: Place, settings: Settings | None) -> NoReturn:
    """Do what rank 0 asks, to its end. A signal stops the run with a checkpoint, as on rank 0; a
    second one, unless it is the `ECHO` of the first, ends this process at once. Without its
    terminal it goes on where the run does."""
    from engine.rank_session import RankSession

    session = RankSession(place, settings)
    received: list[int] = []
    since = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if number == signal.SIGHUP and session.outlives_terminal:
            return
        if received and number == received[0] and time.monotonic() - since < ECHO:
            return
        if received or not session.stop():
            os._exit(STOPPED_BY + number)
        since = time.monotonic()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
    faulthandler.enable(2)
    session.start()
    while not session.join(REFRESH):
        pass
    _leave(session.error, session.status)


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """Where rank 0 of several cannot begin, it says so here, and to the others, who wait for it;
    then this process ends."""
    try:
        yield
    except (UserError, RunError) as error:
        if (here := place()) is None:
            raise
        from engine.rank_session import refuse

        _say(str(error))
        refuse(here, str(error))
        _leave("", BAD_INPUT if isinstance(error, UserError) else FAILED)


def _say(error: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        sys.stderr.write(f"lora-studio: {safe_line(error)}\n")
        sys.stderr.flush()


def _leave(error: str, status: int) -> NoReturn:
    """End this process at once: a sum over ranks may hang on a thread of it."""
    if error:
        _say(error)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(status)
