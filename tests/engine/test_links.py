"""What rank 0 and the others say to each other, and how each notices that the other is gone."""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from engine.compute.sampling import Interrupted
from engine.distributed import links, wire
from engine.distributed.links import Hub, Link, RankLost
from engine.distributed.wire import Message, Wire

KEY = b"a key"
SOON = 60.0  # seconds, on a machine that is busy


def hello(rank: int) -> dict[str, object]:
    return {"rank": rank, "host": "a host", "pid": 7, "at": rank}


@contextlib.contextmanager
def linked(others: int = 1) -> Iterator[tuple[Hub, list[Link]]]:
    hub = Hub(others, "127.0.0.1", KEY)
    ends = []
    try:
        for rank in range(1, others + 1):
            ends.append(Link("rank 0", ["127.0.0.1"], hub.port, KEY, hello(rank)))
        assert {rank: each["at"] for rank, each in hub.hellos(SOON).items()} == {
            rank: rank for rank in range(1, others + 1)
        }
        yield hub, ends
    finally:
        hub.close()
        for each in ends:
            each.close()


def wait_until(true: object) -> None:
    assert callable(true)
    end = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_rank_answers_what_it_was_asked() -> None:
    with linked(2) as (hub, ends):
        number = hub.ask({1: {"do": "add", "of": [1, 2]}, 2: {"do": "add", "of": [3, 4]}})
        for each in reversed(ends):
            message = each.next()
            each.answer(message, sum=sum(message["of"]))
        answers = hub.answers([1, 2], number)
        assert {rank: answer["sum"] for rank, answer in answers.items()} == {1: 3, 2: 7}
        hub.tell({"do": "on"})
        assert [each.next()["do"] for each in ends] == ["on", "on"]
        assert hub.bytes_sent > 50


def test_what_is_not_wanted_any_more_is_dropped() -> None:
    with linked() as (hub, [end]):
        first = hub.ask({1: {"do": "sample"}})
        message = end.next()
        assert not end.dropped(message)
        with pytest.raises(Interrupted):
            hub.answers([1], first, stop=lambda: True)
        hub.tell({"do": "drop", "before": first})
        wait_until(lambda: end.dropped(message))
        second = hub.ask({1: {"do": "sample"}})
        end.answer(message, old=True)  # it had been on its way
        message = end.next()
        assert not end.dropped(message)
        end.answer(message, old=False)
        assert hub.answers([1], second)[1]["old"] is False


def test_lines_for_the_log_and_a_stop_come_by_themselves() -> None:
    stopped, woken = threading.Event(), threading.Event()
    hub = Hub(1, "127.0.0.1", KEY, stop=stopped.set, wake=woken.set)
    end = Link("rank 0", ["127.0.0.1"], hub.port, KEY, hello(1))
    hub.hellos(SOON)
    end.send(do="log", level="warning", text="it is warm")
    end.send(do="wake")
    assert woken.wait(SOON)
    assert not stopped.is_set()
    end.send(do="stop")
    assert stopped.wait(SOON)
    assert hub.notes() == [("warning", "rank 1 on a host (process 7): it is warm")]
    assert hub.notes() == []
    hub.close()
    end.close()


def test_a_rank_that_ends_is_lost_by_name() -> None:
    with linked(2) as (hub, ends):
        number = hub.ask({1: {"do": "sample"}, 2: {"do": "sample"}})
        ends[0].answer(ends[0].next())
        ends[1].close()
        with pytest.raises(RankLost, match=r"rank 2 on a host \(process 7\) is gone"):
            hub.answers([1, 2], number)
        with pytest.raises(RankLost):
            hub.alive()


def test_a_rank_at_fault_is_lost_with_its_reason() -> None:
    with linked() as (hub, [end]):
        end.send(do="fault", text="no memory is left")
        with pytest.raises(RankLost, match=r"rank 1 on a host \(process 7\): no memory is left"):
            hub.answers([1], hub.ask({1: {"do": "sample"}}))


def test_who_does_not_answer_in_time_is_named() -> None:
    with linked(2) as (hub, ends):
        number = hub.ask({1: {"do": "ready"}, 2: {"do": "ready"}})
        ends[0].answer(ends[0].next())
        hub.answers([1], number)
        with pytest.raises(
            TimeoutError, match=r"^rank 2 on a host \(process 7\) has not answered$"
        ):
            hub.answers([1, 2], number, seconds=0.2)


def test_the_others_notice_that_rank_0_is_gone() -> None:
    with linked() as (hub, [end]):
        hub.close()
        with pytest.raises(RankLost, match="rank 0 is gone"):
            end.next()


def test_the_last_word_of_rank_0_ends_what_waits() -> None:
    with linked() as (hub, [end]):
        hub.tell({"do": "end", "status": 3, "text": "enough"})
        with pytest.raises(RankLost):
            end.next()
        assert end.end == {"do": "end", "status": 3, "text": "enough"}
        assert end.dropped({"number": 99})


def test_a_side_that_is_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BEAT_SECONDS", 0.05)
    with linked() as (hub, [end]):
        time.sleep(0.5)
        hub.alive()
        end.alive()
        monkeypatch.setattr(wire, "SILENT_SECONDS", -1.0)  # any silence is too long
        wait_until(lambda: hub.lost and end.lost)
        assert "rank 1 on a host (process 7) has been silent" in str(hub.lost)


def test_a_stranger_is_no_rank() -> None:
    hub = Hub(1, "127.0.0.1", KEY)
    socket.create_connection(("127.0.0.1", hub.port)).close()
    with pytest.raises(RankLost, match=r"rank 0 cannot be reached at 127\.0\.0\.1"):
        Link("rank 0", ["127.0.0.1"], hub.port, b"another key", hello(1))
    with pytest.raises(TimeoutError, match="rank 1 has not come"):
        hub.hellos(0.2)
    end = Link("rank 0", ["127.0.0.1"], hub.port, KEY, hello(1))
    assert hub.hellos(SOON)[1]["pid"] == 7
    hub.close()
    end.close()


def test_strangers_who_are_silent_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(1, "127.0.0.1", KEY)
    silent = [socket.create_connection(("127.0.0.1", hub.port)) for _ in range(3)]
    start = time.monotonic()
    end = Link("rank 0", ["127.0.0.1"], hub.port, KEY, hello(1))
    assert hub.hellos(SOON)[1]["pid"] == 7
    assert time.monotonic() - start < wire.CONNECT_SECONDS
    for each in silent:  # they are let go
        each.settimeout(SOON)
        while each.recv(1 << 10):
            pass
    hub.alive()
    # Nor does one who listens where rank 0 was looked for.
    monkeypatch.setattr(wire, "CONNECT_SECONDS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(RankLost, match="cannot be reached"),
    ):
        Link("rank 0", ["127.0.0.1"], other.getsockname()[1], KEY, hello(1))
    hub.close()
    end.close()


def test_who_still_sends_a_long_message_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(wire, "SILENT_SECONDS", 3.0)
    own, other = socket.socketpair()
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    lost: list[str] = []
    Wire(own, messages.put, lost.append)
    text = "x" * 20_000
    data = json.dumps({"do": "begin", "start": text}).encode()
    data = wire.SIZE.pack(len(data)) + data
    with other:
        for at in range(0, len(data), 1000):  # four seconds, without a heartbeat between
            other.sendall(data[at : at + 1000])
            time.sleep(0.2)
        assert messages.get(timeout=SOON) == {"do": "begin", "start": text}
        assert lost == []
        wait_until(lambda: lost)
    assert "has been silent" in lost[0]


def test_what_nobody_takes_is_waited_for_once() -> None:
    """A rank 0 whose network is cut still has to let the other ranks end."""
    own, other = socket.socketpair()
    wire._set_limit(own, socket.SO_SNDTIMEO, 0.1)
    lost: list[str] = []
    end = Wire(own, lambda message: None, lost.append)
    with other:
        end.send({"do": "begin", "start": "x" * (8 << 20)})
        assert lost
        assert "takes no messages" in lost[0]
        # One more could be sent, now that there is room, and would be no message.
        with contextlib.suppress(BlockingIOError):
            while other.recv(1 << 20, socket.MSG_DONTWAIT):
                pass
        end.send({"do": "end"})
        with pytest.raises(BlockingIOError):
            other.recv(1, socket.MSG_DONTWAIT)
    end.close()


def test_own_addresses_name_what_others_reach_first() -> None:
    addresses = links.own_addresses()
    assert "127.0.0.1" in addresses
    local = [address.startswith("127.") for address in addresses]
    assert local == sorted(local)
