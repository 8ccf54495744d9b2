"""The items of a JSON text that is one list, read one after the other: the text may be larger than
the machine's memory, its items not."""

import json
from collections.abc import Iterator
from typing import Any, TextIO

_CHUNK = 2**16
_SPACE = " \t\r\n"
_AFTER = frozenset(_SPACE + ",]}")


class TooLong(Exception):
    """A value is longer than what was allowed, or does not end."""


class NotAList(Exception):
    """A JSON text is no list, nor a mapping with one list in it."""


def json_items(text: TextIO, longest: int) -> Iterator[Any]:
    """The items of the list that `text` is, or that is the only list in its mapping.

    Args:
        longest: the most characters that a value may take.

    Raises:
        json.JSONDecodeError: it is no JSON; `lineno` counts from the start of the text.
        TooLong: a value is longer than `longest`.
        NotAList: it is JSON and holds no such list.
        ValueError, RecursionError: a value that Python cannot hold.
    """
    reader = _Reader(text, longest)
    lists = 0
    if reader.next() == "[":
        lists = 1
        yield from _list(reader)
    elif reader.next() == "{":
        for _ in _members(reader, "{", "}"):
            reader.value()
            reader.skip(":")
            if reader.next() == "[":
                lists += 1
                yield from _list(reader)
            else:
                reader.value()
    else:
        reader.value()
    if reader.next():
        reader.fail("Extra data")
    if lists != 1:
        raise NotAList


def _list(reader: "_Reader") -> Iterator[Any]:
    for _ in _members(reader, "[", "]"):
        yield reader.value()


def _members(reader: "_Reader", first: str, last: str) -> Iterator[None]:
    """Once for each member between two brackets, whose reading is left to the caller."""
    reader.skip(first)
    if reader.next() == last:
        reader.skip(last)
        return
    while True:
        yield
        if reader.next() == last:
            reader.skip(last)
            return
        reader.skip(",")


class _Reader:
    """A place in a JSON text, with as much of it in memory as the value there needs."""

    def __init__(self, text: TextIO, longest: int) -> None:
        self._text, self._longest = text, longest
        self._buffer, self._at, self._lines = "", 0, 0
        self._decode = json.JSONDecoder().raw_decode

    def next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self, char: str) -> None:
        """Go past one character, which has to be `char`."""
        if self.next() != char:
            self.fail(f"Expecting '{char}'")
        self._at += 1

    def value(self) -> Any:
        """The value that begins here."""
        self.next()
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
                # A number may go on where the buffer ends, at its point or its exponent too.
                if self._buffer[end : end + 1] in _AFTER or not self._more():
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if not self._more():
                    self._at = error.pos
                    self.fail(error.msg)

    def fail(self, message: str) -> None:
        error = json.JSONDecodeError(message, self._buffer, min(self._at, len(self._buffer)))
        error.lineno += self._lines
        raise error

    def _more(self) -> bool:
        """Take more of the text into memory, twice as much as is there; False at its end."""
        if len(self._buffer) - self._at > self._longest:
            raise TooLong
        added = self._text.read(max(_CHUNK, len(self._buffer) - self._at))
        if added:
            self._lines += self._buffer.count("\n", 0, self._at)
            self._buffer, self._at = self._buffer[self._at :] + added, 0
        return bool(added)
