"""A series in one or a few rows of block characters."""

import math
from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
NOT_FINITE = "×"
FLAT = 0.45  # where a line without a rise stands, as a share of the height
SAMPLES = 8  # values looked at for one column, so that a long series costs no more than a short


def sparkline(
    values: Sequence[float], width: int, height: int = 1, least: float = 0.0
) -> list[str]:
    """The rows of a sparkline, the top one first, each of at most `width` cells.

    A column stands for one value, or for the mean of a stretch where there are more values than
    columns. Where a stretch has no finite value it is marked by `×`. The height stands for a span
    of at least `least`, around the values. All equal values make a line at half height; no values
    make empty rows.
    """
    columns = _columns(values, width)
    finite = [value for value in columns if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    if 0 < high - low < least:
        middle = low + (high - low) / 2
        low, high = middle - FLAT * least, middle + (1 - FLAT) * least
    steps = 8 * height
    rows = [""] * height
    for value in columns:
        if not math.isfinite(value):
            column = " " * (height - 1) + NOT_FINITE
        else:
            share = _share(value, low, high)
            column = _bar(1 + round(share * (steps - 1)), height)
        rows = [row + char for row, char in zip(rows, column, strict=True)]
    return rows


def _share(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` and `high`, 0 to 1; in halves, to stay finite."""
    span = high / 2 - low / 2
    if span <= 1e-9 * max(abs(low), abs(high)):
        return FLAT
    return (value / 2 - low / 2) / span


def _bar(filled: int, height: int) -> str:
    """A column of `height` characters, the top one first, with `filled` eighths of a row filled."""
    return "".join(BLOCKS[min(8, max(0, filled - 8 * row))] for row in reversed(range(height)))


def _columns(values: Sequence[float], width: int) -> list[float]:
    total = len(values)
    if width <= 0:
        return []
    if total <= width:
        return list(values)
    return [
        _mean(values, column * total // width, (column + 1) * total // width)
        for column in range(width)
    ]


def _mean(values: Sequence[float], start: int, end: int) -> float:
    """The mean of the finite values among up to `SAMPLES` between two places."""
    stride = max(1, (end - start) // SAMPLES)
    finite = [value for value in values[start:end:stride] if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else math.nan
