"""Ranks of a run that several train: those other than 0, which show nothing but how it ended, and
what they hear where rank 0 cannot begin."""

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from engine.errors import RunError, UserError
from engine.machine.launch import Place, place
from engine.settings.schema import Settings
from tui.terminal.exit_status import BAD_INPUT, FAILED, STOPPED_BY
from tui.text.safe_text import safe_line

REFRESH = 0.15  # seconds between two looks


def work(place: Place, settings: Settings | None) -> NoReturn:
    """Do what rank 0 asks, to its end. A signal stops the run with a checkpoint, as on rank 0; a
    second one ends this process at once."""
    from engine.rank_session import RankSession

    session = RankSession(place, settings)
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received or not session.stop():
            os._exit(STOPPED_BY + number)
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
    sys.stderr.write(f"lora-studio: {safe_line(error)}\n")
    sys.stderr.flush()


def _leave(error: str, status: int) -> NoReturn:
    """End this process at once: a sum over ranks may hang on a thread of it."""
    if error:
        _say(error)
    sys.stdout.flush()
    os._exit(status)
