"""What it means that two ways of computing the same agree, on any processor and with any BLAS."""

from collections.abc import Mapping
from typing import Any

import numpy as np

ROUNDING = 1e-4  # as a share of what is added up; what is measured is a tenth of it at most


def assert_close(
    found: Any, wanted: Any, tolerance: float = ROUNDING, *, size: float = 0.0, name: str = ""
) -> None:
    """Fail where `found` is further from `wanted` than rounding brings it.

    Which way a sum in float32 is rounded depends on the order in which a BLAS adds, and by how
    much on the largest numbers that are added, not on a result that may be near zero. So all
    differences are measured by one size: the largest value of `wanted`, or `size`, if what was
    added up is larger than that.
    """
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, name
    size = max(size, np.abs(wanted).max())
    off = np.abs(found - wanted).max()  # not a number, if there is one
    assert off <= tolerance * size, f"{name} is off by {off:.1e} in {size:.1e}"


def assert_all_close(
    found: Mapping[str, Any], wanted: Mapping[str, Any], tolerance: float = ROUNDING
) -> None:
    """`assert_close` for each array of a tree, by the arrays' own sizes."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert_close(found[name], array, tolerance, name=name)
