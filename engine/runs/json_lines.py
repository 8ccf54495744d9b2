"""Records as JSON objects, one a line.

What is written is UTF-8 whatever the locale, holds no NaN or infinity (null instead), and shows
control and direction-changing characters as escapes, so that a file can be looked at in a
terminal.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]
WHOLE_DIGITS = 300  # of a whole number that is read; the largest float has 309
_SURROGATES = re.compile("[\ud800-\udfff]")
# C1 controls, separators that some readers take for line ends, and direction overrides.
_UNSEEN = [*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in _UNSEEN}
_ESCAPED_IN_TEXT = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in [*range(0x09), *range(0x0B, 0x20), *_UNSEEN]
}


def to_json(value: object) -> str:
    """`value` as one line of JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)
    return _SURROGATES.sub("\ufffd", text).translate(_ESCAPED_IN_JSON)


def to_line(record: Mapping[str, Any] | str) -> bytes:
    """One line of a file: a record as JSON, or text in which control characters are visible."""
    if isinstance(record, str):
        text = _SURROGATES.sub("\ufffd", record.rstrip("\n")).translate(_ESCAPED_IN_TEXT)
    else:
        text = to_json(record)
    return text.encode() + b"\n"


def from_line(line: bytes) -> Record | None:
    """The record that a line holds; None when it holds no JSON object. Whole numbers that no
    float can hold are null, as other numbers that JSON does not know are."""
    try:
        value = json.loads(line, parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= WHOLE_DIGITS else None


def _finite(value: object) -> object:
    """`value` with every number that JSON does not know as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value if isinstance(value, str | int | None) else _finite(_plain(value))


def _plain(value: Any) -> Any:
    """Scalars of array libraries as numbers, paths as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        number = value.item()
        return None if isinstance(number, float) and not math.isfinite(number) else number
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
