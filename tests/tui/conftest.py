"""Scenes go on when the app has done what it was asked to, however busy the machine is."""

import pytest

from tests.tui.idle import wait_for_idle
from tui.widgets.key_line import KeyLine


@pytest.fixture(autouse=True)
def exact_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's pilot waits for the app itself."""
    for module in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{module}.wait_for_idle", wait_for_idle)


@pytest.fixture(autouse=True)
def lasting_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message stays until the next one or until it is cleared: how long a machine takes to come
    to look at it does not matter."""
    monkeypatch.setattr(KeyLine, "set_timer", lambda *_: None)
