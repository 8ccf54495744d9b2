"""Sums over ranks, by MLX's own collectives.

They live on a thread of their own: MLX's ring waits for a rank that is gone for ever, and so the
engine's thread, which waits here with a limit, can still write a checkpoint.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import mlx.core as mx
import numpy as np

from engine.distributed.gathering import gather
from engine.machine.launch import Place

START_SECONDS = 300.0  # that ranks get to come, which a person may begin one by one
POLL_SECONDS = 0.05
# What a sum may take: a start, and a slow network's time for its bytes. More bytes are summed in
# turn, so that a network that is cut is noticed as soon with many of them as with few.
SUM_SECONDS, SUM_BYTES_PER_SECOND = 40.0, 2e6
BYTES_AT_ONCE = 16 << 20

Alive = Callable[[], None]  # raises where it is no use to wait any longer


class SumTimeout(Exception):
    """Ranks that are all there do not add up: the network between them is cut."""


class Group:
    """The ranks of a run. To be made and used on one thread; nothing has to be closed, and a
    process whose sum hangs has to leave by `os._exit`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.bytes_sent = 0  # by each rank for its sums, as a ring sends them
        self._group: mx.distributed.Group | None = None
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="ranks", daemon=True).start()

    def start(self, alive: Alive, seconds: float = START_SECONDS) -> None:
        """Find the other ranks, which get so many seconds.

        Raises:
            TimeoutError: they are not all there, in words.
            RuntimeError: they could not be connected, in words.
        """

        def connect() -> None:
            self._group = mx.distributed.init(strict=True, backend=self.place.backend)
            if (size := self._group.size()) != self.place.size:
                raise RuntimeError(f"{size} ranks came, not {self.place.size}")

        gather(self.place, alive, seconds)
        try:
            self._wait(self._submit(connect), seconds, alive)
        except SumTimeout as late:
            raise TimeoutError(f"MLX did not connect them within {seconds:.0f} seconds") from late

    def sum(self, array: np.ndarray, dtype: mx.Dtype, alive: Alive) -> np.ndarray:
        """The sum over ranks of flat arrays of one size.

        Args:
            array: float32, uint8 or, for a dtype that numpy has not, its bits as uint16.
            alive: looked at while this waits, and raises what ends it.

        Raises:
            SumTimeout: it takes longer than any network would.
        """
        self.bytes_sent += 2 * array.nbytes * (self.place.size - 1) // self.place.size
        count = BYTES_AT_ONCE // array.itemsize
        if array.size <= count:
            return self._sum(array, dtype, alive)
        total = np.empty_like(array)
        for at in range(0, array.size, count):
            total[at : at + count] = self._sum(array[at : at + count], dtype, alive)
        return total

    def _sum(self, array: np.ndarray, dtype: mx.Dtype, alive: Alive) -> np.ndarray:
        stream = None if self.place.backend == "nccl" else mx.cpu

        def add() -> np.ndarray:
            bits = mx.array(array)
            own = bits if bits.dtype == dtype else bits.view(dtype)
            total = mx.distributed.all_sum(own, group=self._group, stream=stream)
            return np.array(total if bits.dtype == dtype else total.view(bits.dtype))

        seconds = SUM_SECONDS + array.nbytes / SUM_BYTES_PER_SECOND
        return self._wait(self._submit(add), seconds, alive)

    def spread(self, data: bytes, size: int, alive: Alive) -> bytes:
        """What rank 0 has, `size` bytes, on all ranks; the others' `data` is not looked at."""
        own = np.frombuffer(data, np.uint8) if self.place.rank == 0 else np.zeros(size, np.uint8)
        return self.sum(own, mx.uint8, alive).tobytes() if size else b""

    def _submit(self, work: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self._work.put((work, future))
        return future

    def _wait(self, future: "Future[Any]", seconds: float, alive: Alive) -> Any:
        end = time.monotonic() + seconds
        while not wait([future], POLL_SECONDS).done:
            alive()
            if time.monotonic() > end:
                raise SumTimeout("the network between ranks is cut")
        return future.result()

    def _serve(self) -> None:
        while True:
            work, future = self._work.get()
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
