"""Numbers of JSON that anybody may have written, such as those in a run's files."""


def real(value: object) -> float | None:
    """The float of a JSON number, NaN and infinity included; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def whole(value: object) -> int:
    """The whole number of a JSON number; 0 for anything else, and for one beyond all counts."""
    number = real(value)
    return int(number) if number is not None and abs(number) < 1e15 else 0
