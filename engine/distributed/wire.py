"""A socket between two ranks: JSON messages, and heartbeats both ways.

A rank that is killed, hangs or loses its network is noticed by them: its socket ends, or it is
silent for too long.
"""

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

BEAT_SECONDS = 1.0
SILENT_SECONDS = 30.0  # after which a rank counts as lost
SEND_SECONDS = 20  # that a message may wait to be taken
CONNECT_SECONDS = 5.0
BEAT = "beat"
SIZE = struct.Struct("!Q")  # before each message, in bytes
PART = 1 << 20  # bytes of a message that are read at once
STRANGER = (OSError, EOFError, ValueError, AuthenticationError)  # what one who knows no key raises

Message = dict[str, Any]


class Wire:
    """One socket: messages as they come, on a thread of its own, and heartbeats sent."""

    def __init__(
        self, end: socket.socket, take: Callable[[Message], None], lose: Callable[[str], None]
    ) -> None:
        """
        Args:
            take: given each message that is no heartbeat, on the wire's thread.
            lose: told once why nothing more will come.
        """
        self.bytes_sent = 0
        self._socket = end
        self._take, self._lose = take, lose
        self._sending = threading.Lock()
        self._jammed = False  # a message was not taken
        self._over = threading.Event()
        self._heard = time.monotonic()  # the last bytes, of whatever message
        for work in (self._read, self._beat):
            threading.Thread(target=work, name="wire", daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; what stands in the way is told to `lose`. After half a message nothing
        is sent any more: nobody could read it, and each would wait as long to be taken."""
        try:
            with self._sending:
                if not self._jammed:
                    self.bytes_sent += self._deliver(message)
        except OSError as error:
            self._finish(f"takes no messages ({error.strerror or type(error).__name__})")

    def _deliver(self, message: Message) -> int:
        try:
            return _send(self._socket, message)
        except OSError:
            self._jammed = True
            raise

    def close(self) -> None:
        """Close the socket, which the other side notices."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which ends the reading thread, too

    def _read(self) -> None:
        while True:
            try:
                message = _receive(self._socket, self._hear)
            except (EOFError, OSError, ValueError):
                self._finish("is gone")
                return
            if message.get("do") != BEAT:
                self._take(message)

    def _hear(self) -> None:
        self._heard = time.monotonic()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.send({"do": BEAT})
            if time.monotonic() - self._heard > SILENT_SECONDS:
                self._finish(f"has been silent for {SILENT_SECONDS:.0f} seconds")

    def _finish(self, why: str) -> None:
        if not self._over.is_set():
            self._over.set()
            self._lose(why)


def connect(
    addresses: Sequence[str], port: int, key: bytes, hello: Message
) -> socket.socket | None:
    """A socket to the first of these addresses where somebody knows the key, who then has the
    hello; None where nobody does."""
    for address in addresses:
        with contextlib.suppress(*STRANGER), contextlib.ExitStack() as unless_welcome:
            end = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
            unless_welcome.enter_context(end)
            _greet(end, key, first=False)
            _send(end, hello)
            _set_up(end)
            unless_welcome.pop_all()
            return end
    return None


def welcome(end: socket.socket, key: bytes) -> Message | None:
    """The hello of who has connected; None, and the socket is closed, where that is a stranger."""
    try:
        _greet(end, key, first=True)
        hello = _receive(end)
        _set_up(end)
    except STRANGER:
        end.close()
        return None
    return hello


def _greet(end: socket.socket, key: bytes, *, first: bool) -> None:
    """See that the other side knows the key, as `multiprocessing` does it, and show that this one
    does; rank 0 asks `first`.

    Raises:
        OSError: it says nothing for too long, which counts for what follows too.
        EOFError: it is gone.
        AuthenticationError, ValueError: it does not know the key.
    """
    end.setblocking(True)
    _set_limit(end, socket.SO_RCVTIMEO, CONNECT_SECONDS)
    with Connection(os.dup(end.fileno())) as connection:
        for asks in (first, not first):
            (deliver_challenge if asks else answer_challenge)(connection, key)


def _set_up(end: socket.socket) -> None:
    """Small messages go at once, one that nobody takes does not wait for ever, and whether
    something comes is for the heartbeats."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _set_limit(end, socket.SO_SNDTIMEO, SEND_SECONDS)
    _set_limit(end, socket.SO_RCVTIMEO, 0)


def _set_limit(end: socket.socket, option: int, seconds: float) -> None:
    whole, part = divmod(seconds, 1)
    end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), int(part * 1e6)))


def _send(end: socket.socket, message: Message) -> int:
    """Send a message; the number of its bytes."""
    data = json.dumps(message).encode()
    end.sendall(SIZE.pack(len(data)) + data)
    return len(data)


def _receive(end: socket.socket, hear: Callable[[], None] = lambda: None) -> Message:
    """The next message; `hear` is told of each of its parts.

    Raises:
        EOFError: the other side is gone.
        ValueError: it is no message.
    """
    (size,) = SIZE.unpack(_bytes(end, SIZE.size, hear))
    return json.loads(_bytes(end, size, hear))


def _bytes(end: socket.socket, size: int, hear: Callable[[], None]) -> bytearray:
    data = bytearray()
    while len(data) < size:
        part = end.recv(min(size - len(data), PART))
        if not part:
            raise EOFError
        hear()
        data += part
    return data
