"""Matrix products by MKL, where MLX computes with it and it is faster than numpy's own BLAS.

It can add to what is there, and is a tenth faster with many columns; with few it is slower.
Where the two share cores, the idle threads of one get in the way of the other's, so this one works
only in a thread with a core to itself.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.compute.numpy.threads import has_one_core
from engine.machine.blas import load_fast_blas, numpy_multiplies_by_mkl

MANY = 64  # columns from which on it is
ROW_MAJOR, AS_IS, TRANSPOSED = 101, 111, 112  # as CBLAS numbers them


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray, *, add: bool = False) -> None:
    """Write a (rows, inner) @ b (inner, columns) into out (rows, columns), or add it to `out`.

    All are float32; of `out`, a row's numbers follow each other in memory.
    """
    sgemm = _sgemm() if b.shape[1] >= MANY and has_one_core() else None
    if sgemm is None:
        if add:
            out += a @ b
        else:
            np.matmul(a, b, out=out)
        return
    (rows, inner), columns = a.shape, b.shape[1]
    a, of_a, a_step = _as_stored(a)
    b, of_b, b_step = _as_stored(b)
    sgemm(
        ROW_MAJOR, of_a, of_b, rows, columns, inner,
        1.0, a.ctypes.data, a_step, b.ctypes.data, b_step,
        float(add), out.ctypes.data, max(out.strides[0] // 4, columns),
    )  # fmt: skip


def _as_stored(array: np.ndarray) -> tuple[np.ndarray, int, int]:
    """An array that BLAS can read, whether it is to be transposed, and how many numbers lie from
    the start of a stored row to that of the next."""
    (rows, columns), (down, along) = array.shape, array.strides
    if along == 4 and down >= 4 * columns:
        return array, AS_IS, down // 4
    if down == 4 and along >= 4 * rows:
        return array, TRANSPOSED, along // 4
    return np.ascontiguousarray(array), AS_IS, columns


@functools.cache
def _sgemm() -> Callable[..., None] | None:
    """The product of MKL; None where numpy's own is to be taken."""
    if load_fast_blas() is None or not numpy_multiplies_by_mkl():
        return None
    function: Any = ctypes.CDLL(None).cblas_sgemm
    number, real, array = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    function.argtypes = [
        *[number] * 6, real, array, number, array, number, real, array, number,
    ]  # fmt: skip
    function.restype = None
    return function
