"""What a signal does to a run: the first stops it, without the app a second one ends the process,
and an echo of the first does nothing."""

import os
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine import rank_session
from engine.machine.launch import Place
from engine.runs import archive
from engine.session import Session
from engine.settings.files import preset
from engine.settings.schema import Settings
from tui.cli import rank, training
from tui.state.run_control import RunControl

GONE = pytest.raises(ZeroDivisionError)  # where the process would end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that the program sees, as `now`; the end of the process is an error."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(training.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(os, "_exit", lambda status: 1 // 0)
    return clock


def listening(stops: list[str]) -> Any:
    session = SimpleNamespace(stop=lambda *, by: stops.append(by))
    streams = SimpleNamespace(out=SimpleNamespace(isatty=lambda: False))
    guard = SimpleNamespace(dismiss=lambda: None)
    return training._signals(
        cast(Any, session), Settings(on_hangup="stop"), cast(Any, streams), cast(Any, guard)
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_process_and_to_its_group_is_one(
    number: signal.Signals, clock: SimpleNamespace
) -> None:
    stops: list[str] = []
    with listening(stops) as (received, _):
        signal.raise_signal(number)
        clock.now += training.ECHO / 2
        signal.raise_signal(number)
        assert received == [number]
        assert len(stops) == 1
        clock.now += training.ECHO
        with GONE:
            signal.raise_signal(number)


def test_another_signal_is_no_echo(clock: SimpleNamespace) -> None:
    with listening([]):
        signal.raise_signal(signal.SIGINT)
        with GONE:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT, None])
def test_a_rank_stops_the_run_by_a_signal_and_outlives_its_terminal(
    again: signal.Signals | None, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Following:
        """A rank whose run goes on without a terminal, which gets signals while it follows."""

        outlives_terminal = True
        status, error = 0, ""

        def __init__(self, *_: object) -> None:
            pass

        def start(self) -> None:
            signal.raise_signal(signal.SIGHUP)
            said.append("goes on")
            signal.raise_signal(signal.SIGTERM)
            clock.now += training.ECHO / 2
            signal.raise_signal(signal.SIGTERM)
            said.append("still goes on")
            if again:
                clock.now += training.ECHO
                signal.raise_signal(again)
            said.append("to its end")

        def stop(self) -> bool:
            said.append("stops")
            return True

        def join(self, seconds: float) -> bool:
            return True

    monkeypatch.setattr(rank_session, "RankSession", Following)
    monkeypatch.setattr(rank.faulthandler, "enable", lambda *_: None)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        with GONE:
            rank.work(Place(1, 2, "ring"), None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert said == ["goes on", "stops", "still goes on", *([] if again else ["to its end"])]


def test_a_signal_while_the_app_begins_a_run_stops_that_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes before there is a session that it could stop."""
    control = RunControl()
    start = Session.start

    def interrupted(session: Session) -> None:
        control.ended_by = signal.SIGTERM
        control.stop()
        start(session)

    monkeypatch.setattr(Session, "start", interrupted)
    control.start(preset("starter"))
    assert control.session
    control.session.join()
    assert control.session.status == "stopped"
    assert not control.session.has_folder
    assert archive.list_runs() == []
