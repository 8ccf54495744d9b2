"""Reads a terminal as Textual does, with a paste as one text whatever is in it."""

from collections.abc import Iterable

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.message import Message

ESC, SHOWN = "\x1b", "␛"


class PasteParser(XTermParser):
    """Textual's parser, for which an escape character in a paste is text.

    Textual's own takes what follows one for keys, and presses them: a pasted line with colours in
    it would give verdicts. tmux, for one, passes such a paste on as it is.
    """

    _pasting = False
    _read = ""  # the start of a sequence that begins or ends a paste, as far as it has come

    def feed(self, data: str) -> Iterable[Message]:
        """The events of what was read; nothing read is the end."""
        text = "".join(map(self._as_text, data))
        return super().feed(text) if text or not data else ()

    def _as_text(self, character: str) -> str:
        """What is passed on once a character was read: nothing while it may end a paste."""
        read = self._read + character
        mark = BRACKETED_PASTE_END if self._pasting else BRACKETED_PASTE_START
        if read == mark:
            self._pasting, self._read = not self._pasting, ""
            return read if not self._pasting else character
        if mark.startswith(read):
            self._read = read
            return "" if self._pasting else character
        self._read = ESC if character == ESC else ""
        if not self._pasting:
            return character
        return read[: len(read) - len(self._read)].replace(ESC, SHOWN)
