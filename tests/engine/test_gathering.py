"""Ranks wait for each other before MLX connects them, and no longer than they may."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from engine.control import Control, LoadingStopped
from engine.distributed import gathering
from engine.distributed.gathering import gather
from engine.machine.launch import Place
from tests.end_to_end.ranks import free_ports

SOON = 60.0  # seconds, on a machine that is busy


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(gathering, "LISTEN_SECONDS", 0.0)


def places(size: int) -> list[Place]:
    port = free_ports(1)[0]
    return [Place(rank, size, "ring", "127.0.0.1", size, port) for rank in range(size)]


@contextlib.contextmanager
def gathered(*ranks: Place) -> Iterator[dict[int, bool]]:
    """Ranks that wait on threads of their own, and which of them may go on."""
    done: dict[int, bool] = {}

    def wait(place: Place) -> None:
        gather(place, lambda: None, SOON)
        done[place.rank] = True

    threads = [threading.Thread(target=wait, args=(each,)) for each in ranks]
    for each in threads:
        each.start()
    yield done
    for each in threads:
        each.join(SOON)


def connected(first: Place) -> socket.socket:
    """A socket to rank 0, once that listens."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((first.address or "", first.port or 0))


def test_nobody_goes_on_before_all_are_there() -> None:
    first, second, third = places(3)
    with gathered(third, first) as done:
        stranger = connected(first)
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        stranger.settimeout(SOON)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""  # it is no rank
        assert done == {}
        gather(second, lambda: None, SOON)
    assert done == {0: True, 2: True}


def test_a_rank_that_is_gone_again_is_waited_for_anew() -> None:
    first, second, third = places(3)
    with gathered(first) as done:
        at = time.monotonic()

        def goes() -> None:
            if time.monotonic() - at > 0.2:
                raise LoadingStopped

        with pytest.raises(LoadingStopped):
            gather(second, goes, SOON)
        with gathered(third):
            assert done == {}
            gather(second, lambda: None, SOON)
    assert done == {0: True}


def test_two_of_one_number_are_told_of_at_once() -> None:
    first, *_ = places(3)
    ends: list[socket.socket] = []

    def come() -> None:
        for _ in range(2):
            ends.append(connected(first))
            ends[-1].sendall(gathering.HELLO.pack(gathering.WORD, 1))

    threading.Thread(target=come).start()
    with pytest.raises(RuntimeError, match=r"^rank 1 came twice; give each its own MLX_RANK"):
        gather(first, lambda: None, SOON)
    for each in ends:
        each.close()


def test_who_does_not_come_is_named() -> None:
    first, second, _ = places(3)
    with pytest.raises(TimeoutError, match=r"^rank 1, rank 2 did not come within 0 seconds$"):
        gather(first, lambda: None, 0.05)
    there = f"127\\.0\\.0\\.1, port {first.port}"
    with pytest.raises(TimeoutError, match=rf"^nobody answers at {there} \(Connection refused\)"):
        gather(second, lambda: None, 0.05)
    with (
        socket.create_server(("127.0.0.1", first.port or 0)),
        pytest.raises(RuntimeError, match=rf"^rank 0 cannot listen at {there} \(Address already"),
    ):
        gather(first, lambda: None, SOON)


def test_a_wait_for_others_can_be_ended() -> None:
    control = Control()
    threading.Timer(0.1, control.stop).start()
    start = time.monotonic()
    with pytest.raises(LoadingStopped):
        gather(places(2)[0], control.raise_if_stopping, SOON)
    assert time.monotonic() - start < SOON / 2
