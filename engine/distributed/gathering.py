"""Ranks wait for each other before MLX connects them.

MLX holds the interpreter until it has: nothing could end a wait for a rank that never comes, or
limit it, and a screen would stand still. So rank 0 counts them first, at the address at which MLX
listens next.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable

from engine.machine.launch import Place

POLL_SECONDS = 0.1
WORD_SECONDS = 5.0  # that who is there may take to connect, or to say a word
LISTEN_SECONDS = 0.1  # that rank 0 gets until MLX listens
HELLO, WORD = struct.Struct("!8sI"), b"lora-run"  # what a rank says, with its number
GO = b"!"  # what rank 0 says to all once they are there, and each says after it

Late = Callable[[], bool]  # whether no time is left; raises what ends the wait before


def gather(place: Place, alive: Callable[[], None], seconds: float) -> None:
    """Wait until all ranks are there, which get so many seconds; where no address is known at which
    all reach rank 0, that is left to MLX.

    Args:
        alive: looked at while this waits, and raises what ends it.

    Raises:
        TimeoutError: they are not, in words.
        RuntimeError: rank 0 cannot listen there, or a rank is there twice or gone again, in words.
    """
    if place.address is None or place.port is None:
        return
    where, end = (place.address, place.port), time.monotonic() + seconds

    def late() -> bool:
        alive()
        return time.monotonic() > end

    why = _come(where, place.rank, late) if place.rank else _count(where, place.size, late)
    if why:
        raise TimeoutError(f"{why} within {seconds:.0f} seconds")


def _count(where: tuple[str, int], size: int, late: Late) -> str:
    """As rank 0: wait for the others, and let all go on at once; else, who did not come."""
    came: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as opened:
        try:
            listener = opened.enter_context(socket.create_server(where, backlog=size))
        except OSError as error:
            raise RuntimeError(
                f"rank 0 cannot listen at {where[0]}, port {where[1]} ({error.strerror or error})"
            ) from error
        ends = [listener]
        while len(came) < size - 1:
            if late():
                missing = [f"rank {rank}" for rank in range(1, size) if rank not in came]
                return f"{', '.join(missing)} did not come"
            for end in select.select(ends, [], [], POLL_SECONDS)[0]:
                if end is listener:
                    other = opened.enter_context(listener.accept()[0])
                    other.settimeout(WORD_SECONDS)
                    ends.append(other)
                elif end not in came.values() and (rank := _number(end)) in range(1, size):
                    if rank in came:
                        raise RuntimeError(f"rank {rank} came twice; give each its own MLX_RANK")
                    came[rank] = end
                else:  # a stranger, or a rank that is gone again
                    ends.remove(end)
                    end.close()
                    came = {rank: each for rank, each in came.items() if each is not end}
        listener.close()  # else who goes on first would find it in the place of MLX
        for each in came.values():
            with contextlib.suppress(OSError):
                each.sendall(GO)
        for rank, each in came.items():
            if _word(each, len(GO)) != GO:
                raise RuntimeError(f"rank {rank} is gone again")
    return ""


def _come(where: tuple[str, int], rank: int, late: Late) -> str:
    """As another rank: let rank 0 know as soon as it listens, and wait for the others; else, why
    that came to nothing."""
    there = f"{where[0]}, port {where[1]}"
    why = ""
    while not late():
        try:
            with socket.create_connection(where, WORD_SECONDS) as end:
                end.sendall(HELLO.pack(WORD, rank))
                why = f"at {there} not all ranks came"
                said = False
                while not said and not late():
                    said = bool(select.select([end], [], [], POLL_SECONDS)[0])
                if said and _word(end, len(GO)) == GO:
                    end.sendall(GO)
                    time.sleep(LISTEN_SECONDS)
                    return ""
        except OSError as error:
            why = f"nobody answers at {there} ({error.strerror or error})"
        time.sleep(POLL_SECONDS)
    return why


def _number(end: socket.socket) -> int:
    """The rank of who has connected; 0 for a stranger."""
    hello = _word(end, HELLO.size)
    word, rank = HELLO.unpack(hello) if len(hello) == HELLO.size else (b"", 0)
    return rank if word == WORD else 0


def _word(end: socket.socket, size: int) -> bytes:
    """What somebody says; nothing where they are gone, or say nothing for too long."""
    try:
        return end.recv(size)
    except OSError:
        return b""
