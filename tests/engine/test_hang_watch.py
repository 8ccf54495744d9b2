"""A rank whose computing hangs is noticed, and a slow one is not taken for it."""

import threading
import time

import pytest

from engine.compute import headway
from engine.distributed import hang_watch
from engine.distributed.hang_watch import HangWatch

SOON = 60.0  # seconds, on a machine that is busy
TICK = 0.01


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is a hundredth of a second, and after twenty in vain something hangs; after a
    thousand, where it is new."""
    monkeypatch.setattr(hang_watch, "TICK_SECONDS", TICK)
    monkeypatch.setattr(hang_watch, "HUNG_SECONDS", 20 * TICK)
    monkeypatch.setattr(hang_watch, "FIRST_SECONDS", 1000 * TICK)


class Watched:
    """A watch, and what it tells."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._tells = threading.Event()
        self.watch = HangWatch(self._tell)

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self._tells.set()

    def hangs(self, seconds: float) -> bool:
        """Whether it is told of a hang within some seconds."""
        return self._tells.wait(seconds)


def works(looks: int) -> None:
    """Compute something for so many looks, and give signs of it."""
    for _ in range(looks):
        headway.sign()
        time.sleep(TICK / 2)


def test_what_gives_no_sign_any_more_hangs() -> None:
    watched = Watched()
    with watched.watch.over("sampling", 5):
        works(5)
    with watched.watch.over("sampling", 5):
        works(5)
        assert not watched.told
        assert watched.hangs(SOON)
    assert watched.told == ["sampling has not gone on for 0 seconds"]


def test_what_is_new_gets_more_time() -> None:
    watched = Watched()
    with watched.watch.over("sampling", 5):
        assert not watched.hangs(60 * TICK)
    with watched.watch.over("judging", 5):
        assert not watched.hangs(60 * TICK)


def test_the_first_of_a_kind_may_have_a_limit_of_its_own() -> None:
    watched = Watched()
    with watched.watch.over("a save", 1, first=10 * TICK):
        assert watched.hangs(SOON)


def test_nothing_hangs_where_nothing_is_computed() -> None:
    watched = Watched()
    with watched.watch.over("sampling", 5):
        works(2)
    assert not watched.hangs(60 * TICK)


def test_a_slow_machine_gets_as_much_time_as_it_needed_before_and_more() -> None:
    watched = Watched()
    with watched.watch.over("sampling", 10):
        assert not watched.hangs(50 * TICK)  # without a sign
        headway.sign()
        works(4)
    # Ten times the work may take ten times as long between two signs.
    with watched.watch.over("sampling", 100):
        assert not watched.hangs(200 * TICK)
        headway.sign()
        works(4)
    with watched.watch.over("sampling", 1):
        assert watched.hangs(SOON)
