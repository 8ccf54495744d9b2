"""Signals of a test run, and of the programs that it starts."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP)


def let_programs_take_signals() -> None:
    """Have programs that this process starts take signals, also where its caller does not.

    What a caller ignores (`nohup`, a shell's background job, some CI) or holds back is handed on
    to every program that is started. What a process catches is not: so what was ignored is caught
    here, and nothing done, as the caller wished.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave_when_told_to_end() -> None:
    """Have this process leave its `with` blocks on SIGTERM and SIGHUP as it does on SIGINT: they
    end what it has started, which else would run on."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
