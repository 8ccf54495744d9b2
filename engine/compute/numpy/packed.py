"""Weights as MKL lays them out for its kernels, kept for the products of decoding.

BLAS lays a matrix out anew in every product that it takes part in, which for a handful of tokens
takes as long as the product itself. Laid out once, a step is one pass over memory; and a token's
numbers are the same, to the bit, however many others are decoded beside it.
"""

import ctypes
import functools
import weakref
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from engine.compute.numpy.products import AS_IS, MANY, ROW_MAJOR, TRANSPOSED
from engine.machine.blas import load_fast_blas, numpy_multiplies_by_mkl

FEW = range(2, MANY)  # numbers of tokens with which this is faster than the weight as it is
RIGHT_HAND, LAID_OUT = 162, 151  # as MKL numbers that side of a product, and a matrix laid out
_kept: dict[int, "PackedWeight"] = {}  # by the id of the array that each is made from


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A float32 weight (out, in)."""

    laid_out: np.ndarray
    outputs: int

    @classmethod
    def of(cls, weight: np.ndarray) -> "PackedWeight":
        """Lay out a weight whose rows follow each other in memory. It is not referred to."""
        outputs, inputs = weight.shape
        mkl = _mkl()
        # MKL asks for more than it writes to, and what is not written to takes no memory.
        laid_out = np.empty(mkl.cblas_sgemm_pack_get_size(RIGHT_HAND, MANY, outputs, inputs), "u1")
        mkl.cblas_sgemm_pack(
            ROW_MAJOR, RIGHT_HAND, TRANSPOSED, MANY, outputs, inputs,
            1.0, weight.ctypes.data, inputs, laid_out.ctypes.data,
        )  # fmt: skip
        return cls(laid_out, outputs)

    def by_token(self, x: np.ndarray) -> np.ndarray:
        """The product with x (in, tokens), token by token: (tokens, out)."""
        inputs, tokens = x.shape
        by_row = np.ascontiguousarray(x.T)
        product = np.empty((tokens, self.outputs), np.float32)
        _mkl().cblas_sgemm_compute(
            ROW_MAJOR, AS_IS, LAID_OUT, tokens, self.outputs, inputs,
            by_row.ctypes.data, inputs, self.laid_out.ctypes.data, self.outputs,
            0.0, product.ctypes.data, self.outputs,
        )  # fmt: skip
        return product


def can_pack() -> bool:
    """Whether the BLAS that was loaded for MLX is one that can, and faster than numpy's own."""
    return load_fast_blas() is not None and numpy_multiplies_by_mkl()


def packed(array: mx.array, weight: np.ndarray) -> PackedWeight:
    """An array's values laid out, once for as long as the array is there."""
    key = id(array)
    if key not in _kept:
        _kept[key] = PackedWeight.of(weight)
        weakref.finalize(array, _kept.pop, key, None)
    return _kept[key]


@functools.cache
def _mkl() -> Any:
    """MKL's functions, their arguments declared."""
    mkl: Any = ctypes.CDLL(None)
    number, real, array = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    mkl.cblas_sgemm_pack_get_size.argtypes = [number] * 4
    mkl.cblas_sgemm_pack_get_size.restype = ctypes.c_size_t
    mkl.cblas_sgemm_pack.argtypes = [*[number] * 6, real, array, number, array]
    mkl.cblas_sgemm_pack.restype = None
    mkl.cblas_sgemm_compute.argtypes = [
        *[number] * 6, array, number, array, number, real, array, number,
    ]  # fmt: skip
    mkl.cblas_sgemm_compute.restype = None
    return mkl
