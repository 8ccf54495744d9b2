"""Plain models at work on several cores: parts of a batch side by side, a thread each.

That also spreads what BLAS does not: norms, gates, attention. numpy gives other threads their turn
while it computes, so a part can be as long as it likes.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from engine.hardware import cores

Result = TypeVar("Result")
_turn = threading.Lock()  # the number of BLAS threads is the whole process's


def split(sizes: Sequence[int]) -> list[slice]:
    """Where to cut a batch, whose items have these sizes, into parts of about equal size: as many
    as there are cores, each with at least one item."""
    parts = min(cores(), len(sizes))
    total, done, start = sum(sizes), 0, 0
    cuts = []
    for at, size in enumerate(sizes, 1):
        done += size
        left = parts - len(cuts) - 1
        enough = done * parts >= total * (len(cuts) + 1)
        if left and (enough or len(sizes) - at == left):
            cuts.append(slice(start, at))
            start = at
    return [*cuts, slice(start, len(sizes))]


def side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """What tasks return, in their order. They must not touch MLX."""
    if len(tasks) == 1:
        return [tasks[0]()]
    with _turn, _blas().limit(limits=max(1, cores() // len(tasks)), user_api="blas"):
        return list(_pool().map(lambda task: task(), tasks))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="plain")


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
