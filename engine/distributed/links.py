"""Messages between rank 0 and the others, over a `Wire` to each.

Each side knows the other by a key that rank 0 spreads over MLX's group.
"""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.compute.sampling import Interrupted
from engine.distributed.wire import Message, Wire, connect, welcome

POLL_SECONDS = 0.1
# Messages that nobody waits for, beside heartbeats.
LOG, STOP, FAULT, WAKE = "log", "stop", "fault", "wake"


class RankLost(Interrupted):
    """A rank is gone, silent or at fault: a sentence. What was under way is dropped."""


class Hub:
    """Rank 0's end: what it asks of the others, and whether they are there."""

    def __init__(
        self,
        others: int,
        host: str,
        key: bytes,
        *,
        stop: Callable[[], None] = lambda: None,
        wake: Callable[[], None] = lambda: None,
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to listen.

        Args:
            others: how many there are beside rank 0.
            host: an address of this machine to listen on, or nothing for all.
            stop: told, on another thread, that a rank was asked to stop.
            wake: told, on another thread, that a rank has what it was not waited for.
            on_loss: told, on another thread, that a rank is lost.
        """
        self._others, self._stop, self._wake, self._on_loss = others, stop, wake, on_loss
        self._key = key
        self._listener = socket.create_server((host, 0), backlog=others)
        self.port = int(self._listener.getsockname()[1])
        self._changed = threading.Condition()
        self._wires: dict[int, Wire] = {}
        self.names: dict[int, str] = {}  # what messages call a rank
        self._answers: dict[int, Message] = {}  # the newest answer of each rank
        self._notes: list[tuple[int, str, str]] = []
        self._number = 0
        self.lost: str | None = None
        threading.Thread(target=self._accept, name="ranks", daemon=True).start()

    @property
    def bytes_sent(self) -> int:
        """Bytes of messages so far, heartbeats included."""
        return sum(wire.bytes_sent for wire in list(self._wires.values()))

    def alive(self) -> None:
        """
        Raises:
            RankLost: a rank is.
        """
        if self.lost:
            raise RankLost(self.lost)

    def lose(self, why: str) -> None:
        """Note that a rank is lost, a sentence; the first counts."""
        with self._changed:
            self.lost = self.lost or why
            self._changed.notify_all()
        self._on_loss()

    def hellos(self, seconds: float) -> dict[int, Message]:
        """What each rank says of itself first.

        Raises:
            TimeoutError: not all have come.
            RankLost: one is gone again.
        """
        return self._wait(range(1, self._others + 1), 0, seconds)

    def ask(self, messages: Mapping[int, Message]) -> int:
        """Send a message to some ranks; the number by which to wait for their answers."""
        self._number += 1
        for rank, message in messages.items():
            self._wires[rank].send({**message, "number": self._number})
        return self._number

    def answers(
        self,
        ranks: Sequence[int],
        number: int,
        stop: Callable[[], bool] = lambda: False,
        seconds: float | None = None,
    ) -> dict[int, Message]:
        """The answers of ranks to what they were asked by that number, which get so many seconds.

        Raises:
            RankLost: one is gone, silent, or at fault.
            Interrupted: `stop` says so.
            TimeoutError: not all have answered.
        """
        return self._wait(ranks, number, seconds, stop)

    def tell(self, message: Message) -> None:
        """Send a message to all that nobody answers."""
        for wire in list(self._wires.values()):
            wire.send(message)

    def notes(self) -> list[tuple[str, str]]:
        """Lines for the log that ranks have sent: level and text."""
        with self._changed:
            notes, self._notes = self._notes, []
        return [(level, f"{self.names[rank]}: {text}") for rank, level, text in notes]

    def close(self) -> None:
        """Close all sockets. A program leaves that to its end, which the others wait for."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends the accepting thread, too
        self._listener.close()
        for wire in list(self._wires.values()):
            wire.close()

    def _wait(
        self,
        ranks: Sequence[int],
        number: int,
        seconds: float | None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[int, Message]:
        end = time.monotonic() + (float("inf") if seconds is None else seconds)

        def there() -> bool:
            return all(self._answers.get(rank, {}).get("number") == number for rank in ranks)

        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.lost or there(), POLL_SECONDS)
                if self.lost:
                    raise RankLost(self.lost)
                if there():
                    return {rank: self._answers[rank] for rank in ranks}
            if stop():
                raise Interrupted
            if time.monotonic() > end:
                missing = (
                    self.names.get(rank, f"rank {rank}")
                    for rank in ranks
                    if self._answers.get(rank, {}).get("number") != number
                )
                what = "answered" if number else "come"
                raise TimeoutError(f"{', '.join(missing)} has not {what}")

    def _accept(self) -> None:
        while True:
            try:
                end = self._listener.accept()[0]
            except OSError:  # closed
                return
            # On a thread of its own: a stranger who is silent holds nobody up.
            threading.Thread(target=self._welcome, args=(end,), name="ranks", daemon=True).start()

    def _welcome(self, end: socket.socket) -> None:
        """Take who connects for a rank, once it has shown that it knows the key."""
        if (hello := welcome(end, self._key)) is None:
            return
        rank = int(hello["rank"])
        with self._changed:
            self.names[rank] = f"rank {rank} on {hello['host']} (process {hello['pid']})"
            self._wires[rank] = Wire(
                end,
                lambda message: self._take(rank, message),
                lambda why: self.lose(f"{self.names[rank]} {why}"),
            )
            self._answers[rank] = {**hello, "number": 0}
            self._changed.notify_all()

    def _take(self, rank: int, message: Message) -> None:
        kind = message.get("do")
        if kind == STOP:
            self._stop()
        elif kind == WAKE:
            self._wake()
        elif kind == FAULT:
            self.lose(f"{self.names[rank]}: {message['text']}")
        else:
            with self._changed:
                if kind == LOG:
                    self._notes.append((rank, message["level"], message["text"]))
                else:
                    self._answers[rank] = message
                    self._changed.notify_all()


class Link:
    """Another rank's end: what rank 0 wants, in order, and whether it is there."""

    def __init__(
        self, name: str, addresses: Sequence[str], port: int, key: bytes, hello: Message
    ) -> None:
        """
        Args:
            name: what messages call rank 0.
            addresses: of rank 0; the first that answers is taken.

        Raises:
            RankLost: none does.
        """
        self.end: Message | None = None  # what rank 0 says last
        self.lost: str | None = None
        self._name = name
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._dropped = 0  # the highest number that is not wanted any more
        if (end := connect(addresses, port, key, hello)) is None:
            raise RankLost(f"rank 0 cannot be reached at {', '.join(addresses)}, port {port}")
        self._wire = Wire(end, self._take, self._lose)

    def next(self) -> Message:
        """The next message of rank 0, waited for.

        Raises:
            RankLost: it has ended, is gone or silent.
        """
        while True:
            try:
                return self._messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self.alive()

    def answer(self, message: Message, **answer: Any) -> None:
        """Answer a message."""
        self._wire.send({**answer, "number": message["number"]})

    def send(self, **message: Any) -> None:
        """Tell rank 0 what it does not wait for."""
        self._wire.send(message)

    def dropped(self, message: Message) -> bool:
        """Whether the answer to a message is not wanted any more."""
        return message.get("number", 0) <= self._dropped or not self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether rank 0 is there, and has not ended."""
        return not (self.end or self.lost)

    def alive(self) -> None:
        """
        Raises:
            RankLost: rank 0 has ended, is gone or silent.
        """
        if not self.is_alive:
            raise RankLost(self.lost or "rank 0 has ended")

    def wait(self, seconds: float, *, exit: bool = False) -> None:
        """Wait until rank 0 says its last, or with `exit` until its process is gone."""
        end = time.monotonic() + seconds
        while not self.lost and (exit or not self.end) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Close the socket. A program leaves that to its end."""
        self._wire.close()

    def _take(self, message: Message) -> None:
        if message["do"] == "end":
            self.end = message
        elif message["do"] == "drop":
            self._dropped = message["before"]
        else:
            self._messages.put(message)

    def _lose(self, why: str) -> None:
        self.lost = f"{self._name} {why}"


def own_addresses() -> list[str]:
    """Addresses of this machine, those that others may reach first."""
    import psutil

    ipv4 = [
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family == socket.AF_INET
    ]
    return sorted(set(ipv4), key=lambda address: address.startswith("127."))
