"""Numbers as people read them: short, with their unit."""

import math

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def number(value: float, digits: int = 3) -> str:
    """A number in about `digits` significant digits: 0.412, 1,250, 1.2e-05."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 10.0**-digits:
        return f"{value:.{max(0, digits - 2)}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size))) if size >= 1 else digits
    return f"{value:,.{decimals}f}"


def count(value: float) -> str:
    """A whole number: 1,250."""
    return f"{value:,.0f}" if math.isfinite(value) else number(value)


def several(number: int, noun: str) -> str:
    """So many of something: 1 pair, 1,250 pairs."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A length of time in its largest unit or two: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    if seconds < _DAY:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / _HOUR)
    return f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """Bytes in decimal units, in two or three digits: 3.4 GB, 120 MB."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if amount >= 99.5 or unit == "B" else f"{amount:.1f} {unit}"


def age(seconds: float) -> str:
    """How long ago, in the one unit that matters."""
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return "now"
