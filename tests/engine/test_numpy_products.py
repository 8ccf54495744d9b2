"""Products of matrices, however they lie in memory, by either BLAS."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compute.numpy import products
from engine.compute.numpy.products import multiply
from tests.close import assert_close

SIDES = st.integers(1, 9)
LAYOUTS = st.sampled_from(["rows", "columns", "part", "transposed part", "every other"])


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values, lying in memory in another way."""
    rows, columns = values.shape
    room = {
        "rows": np.empty((rows, columns), np.float32),
        "columns": np.empty((columns, rows), np.float32).T,
        "part": np.empty((rows + 2, columns + 3), np.float32)[1:-1, 2:-1],
        "transposed part": np.empty((columns + 2, rows + 3), np.float32)[1:-1, 2:-1].T,
        "every other": np.empty((2 * rows, 2 * columns), np.float32)[::2, ::2],
    }[layout]
    room[:] = values
    return room


@pytest.mark.parametrize("by_numpy", [False, True])
@given(rows=SIDES, inner=SIDES, columns=SIDES, of_a=LAYOUTS, of_b=LAYOUTS, out=st.booleans())
def test_products_are_right_however_their_arrays_lie(
    by_numpy: bool, rows: int, inner: int, columns: int, of_a: str, of_b: str, out: bool
) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(rows, inner)), generator.normal(size=(inner, columns))
    before = generator.normal(size=(rows, columns))
    size = np.abs(before).max() + (np.abs(a) @ np.abs(b)).max()
    result = laid_out(before, "part" if out else "rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "MANY", 1)
        patch.setattr(products, "has_one_core", lambda: not by_numpy)
        given = laid_out(a, of_a), laid_out(b, of_b)
        multiply(*given, result, add=True)
        assert_close(result, before + a @ b, size=size)
        multiply(*given, result)
        assert_close(result, a @ b, size=size)
