"""A rank other than 0 of a run that several train: it shows nothing but how it ended."""

import faulthandler
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from engine.machine.launch import Place
from engine.settings.schema import Settings
from tui.terminal.exit_status import STOPPED_BY
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
    if session.error:
        sys.stderr.write(f"lora-studio: {safe_line(session.error)}\n")
        sys.stderr.flush()
    os._exit(session.status)
