"""Numbers of JSON that anybody may have written, such as those in a run's files."""

import math

COUNTS_END = 1e15  # no count of steps, pairs or tokens is that high


def real(value: object) -> float | None:
    """The float of a JSON number, NaN and infinity included; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def finite(value: object) -> float | None:
    """The float of a JSON number; None for NaN and infinity too, and for anything else."""
    number = real(value)
    return number if number is not None and math.isfinite(number) else None


def count(value: object) -> int | None:
    """The whole number of a JSON number; None for anything else, and for one beyond all counts."""
    number = finite(value)
    return int(number) if number is not None and abs(number) < COUNTS_END else None


def whole(value: object) -> int:
    """`count`, with 0 for what is none."""
    return count(value) or 0
