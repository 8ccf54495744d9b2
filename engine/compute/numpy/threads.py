"""Models at work on several cores: parts of a batch side by side, a thread each.

That also spreads what BLAS does not: norms, gates, attention. numpy gives other threads their turn
while it computes, so a part can be as long as it likes.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from engine.machine.device import cores

Result = TypeVar("Result")
_turn = threading.Lock()  # the number of BLAS threads is the whole process's
_own = threading.local()  # `cores` that a thread's task may use


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
    each = max(1, cores() // len(tasks))
    if len(tasks) == 1:
        _own.cores = each
        return [tasks[0]()]

    def limited(task: Callable[[], Result]) -> Result:
        with _blas().select(internal_api="mkl").limit(limits=each):
            _own.cores = each
            return task()

    # Most have one number of threads for the whole process, MKL one for each thread that calls it.
    with _turn, _blas().limit(limits=each, user_api="blas"):
        return list(_pool().map(limited, tasks))


def has_one_core() -> bool:
    """Whether what runs in this thread has one core: a task beside others, or all on a machine that
    has no more, from its first product on."""
    if not hasattr(_own, "cores"):
        _own.cores = cores()
    return _own.cores == 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="numpy")


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
