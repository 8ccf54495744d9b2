"""What a signal does to a run: the first stops it, without the app a second one ends the process,
and an echo of the first does nothing."""

import os
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.runs import archive
from engine.session import Session
from engine.settings.files import preset
from engine.settings.schema import Settings
from tui.cli import training
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
