"""Norms, rotary angles and gates, forward and back: what is computed number by number.

Large arrays are gone through in blocks that stay in a core's cache from one operation to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK_BYTES = 128 << 10


def blocks(array: np.ndarray, axis: int = 0) -> Sequence[slice]:
    """Slices along an axis of a large array, a block each."""
    if array.nbytes <= BLOCK_BYTES:
        return (slice(None),)
    length = array.shape[axis]
    size = max(1, BLOCK_BYTES * length // array.nbytes)
    return [slice(at, at + size) for at in range(0, length, size)]


@dataclass(frozen=True, slots=True)
class Norm:
    """Root-mean-square norm; weight (..., features, 1), over the last axis but one."""

    weight: np.ndarray
    eps: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.of(x, self.size(x))

    def size(self, x: np.ndarray) -> np.ndarray:
        """Root mean square of x (..., features, tokens), (..., 1, tokens)."""
        size = np.einsum("...ft,...ft->...t", x, x)[..., None, :]
        size /= x.shape[-2]
        size += self.eps
        return np.sqrt(size, out=size)

    def of(self, x: np.ndarray, size: np.ndarray) -> np.ndarray:
        """The norm of x, whose size is known."""
        if x.nbytes <= BLOCK_BYTES:
            normed = x / size
            normed *= self.weight
            return normed
        normed = np.empty(x.shape, np.float32)
        for part in blocks(x, -2):
            within = normed[..., part, :]
            np.divide(x[..., part, :], size, out=within)
            within *= self.weight[..., part, :]
        return normed

    def back(self, x: np.ndarray, size: np.ndarray, d_y: np.ndarray) -> np.ndarray:
        """The derivative by x, in the place of d_y: (w d_y - x mean(x w d_y) / size^2) / size."""
        d_y *= self.weight
        pull = np.einsum("...ft,...ft->...t", x, d_y)[..., None, :]
        pull /= size * size
        pull /= x.shape[-2]
        for part in blocks(x, -2):
            within = d_y[..., part, :]
            within -= x[..., part, :] * pull
            within /= size
        return d_y


def rotated(x: np.ndarray, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """x (heads, width, tokens) rotated by angles whose cosine and sine are (width / 2, tokens)."""
    half = x.shape[1] // 2
    result = np.empty(x.shape, np.float32)
    for part in blocks(x):
        one, other = x[part, :half], x[part, half:]
        first, second = result[part, :half], result[part, half:]
        np.multiply(one, cosine, out=first)
        first -= other * sine
        np.multiply(one, sine, out=second)
        second += other * cosine
    return result


def gated(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """gate sigmoid(gate) up, each (features, tokens), in the order in which the gate lies."""
    result = np.empty_like(gate)
    for part in blocks(gate):
        within = result[part]
        _one_and_exp(gate[part], within)
        np.divide(gate[part], within, out=within)
        within *= up[part]
    return result


def gated_back(gate: np.ndarray, up: np.ndarray, d_result: np.ndarray) -> None:
    """Of `gated`: the result comes in the place of `up`, and the derivatives by gate and up in
    those of `gate` and `d_result`."""
    for part in blocks(gate):
        g, u, d = gate[part], up[part], d_result[part]
        opened = np.empty(g.shape, np.float32)
        _one_and_exp(g, opened)
        np.reciprocal(opened, out=opened)
        silu = g * opened
        # d silu / d gate = opened (1 + gate - silu)
        g -= silu
        g += 1
        g *= opened
        g *= u
        g *= d
        d *= silu
        u *= silu


def _one_and_exp(x: np.ndarray, out: np.ndarray) -> None:
    """1 + exp(-x), one over the sigmoid: infinity for a very negative x, whose sigmoid is 0."""
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
