"""Untrusted text made harmless to a terminal, and still readable.

Completions, prompts, notes, names and log lines may hold anything. What leaves here has no
control characters, nothing that reorders or hides what follows, and a width in cells that is the
sum of those of its characters. It is shown as plain `Content`, so nothing in it is markup.
"""

import unicodedata

from rich.cells import cell_len, get_character_cell_size

LIMIT = 100_000  # characters of one text that are shown
TAB = "    "
MARKS = 2  # combining marks that may stand on one character

# Dropped: they only choose between forms of the characters beside them, tones of skin among them,
# of which terminals do not agree whether they take cells. Those that people type are `SHAPERS`:
# what joins letters and emoji or keeps them apart, and forms and tones of emoji.
SHAPERS = {0x200C, 0x200D, 0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400)}
_DROPPED = {0xAD, *SHAPERS, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)  # two make a flag, in as many cells as a terminal likes
# Format characters that have a form of their own.
_VISIBLE_FORMAT = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
# Letters by category that show nothing, in one or two cells.
_BLANK = {0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800}


class _Table(dict[int, str | int | None]):
    """What each character becomes, found when it is first met."""

    def __missing__(self, code: int) -> str | int | None:
        replacement = self[code] = _replacement(code)
        return replacement


def _replacement(code: int) -> str | int | None:
    if code == 0x0A:
        return code
    if code in (0x0B, 0x0C, 0x85, 0x2028, 0x2029):
        return "\n"
    if code == 0x09:
        return TAB
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of control characters
    if code == 0x7F:
        return "␡"
    if code in _DROPPED:
        return None
    if code in _FLAG_LETTERS:
        return chr(ord("A") + code - _FLAG_LETTERS[0])
    category = unicodedata.category(chr(code))
    if category in ("Cs", "Cn", "Co"):
        return "\ufffd"
    if code in _BLANK or category == "Cc" or (category == "Cf" and code not in _VISIBLE_FORMAT):
        return f"<U+{code:04X}>"
    if category == "Zs":
        return " "
    return code


_TABLE = _Table()
_KEEPING_TABLE = _Table({code: code for code in SHAPERS})

# An editor lays out its text with these in the place of the shapers: they have no cells whatever
# stands beside them, and no other text has them. They are not drawn.
_STAND_INS = (*range(0x2060, 0x2065), *range(0x206A, 0x206E))
_TO_STAND_INS = dict(zip(map(chr, sorted(SHAPERS)), map(chr, _STAND_INS), strict=True))
_FROM_STAND_INS = {stand_in: shaper for shaper, stand_in in _TO_STAND_INS.items()}
_UNDRAWN = dict.fromkeys(_FROM_STAND_INS, "")


def safe(text: str, limit: int = LIMIT) -> str:
    """`text` with nothing left in it that a terminal or a reader could be misled by.

    Line ends become `\\n`. Beyond `limit` characters it is cut, and says so.
    """
    cut = len(text) - limit
    if cut > 0:
        text = text[:limit]
    if not (text.isascii() and text.isprintable()):
        text = text.replace("\r\n", "\n").translate(_TABLE)
        if not text.isascii():
            text = _without_towers(text)
    return f"{text}… ({cut:,} more characters)" if cut > 0 else text


def kept(text: str, before: str = "") -> str:
    """What an editor keeps of a text that comes after `before` in its line: what is `safe` to
    show, and shapers."""
    if text.isascii():
        return safe(text, limit=len(text))
    text = text.replace("\r\n", "\n").translate(_KEEPING_TABLE)
    return _without_towers(before + text)[len(before) :]


def laid_out(text: str) -> str:
    """A kept text as an editor measures it, with as many characters."""
    return _exchanged(text, _TO_STAND_INS)


def as_kept(text: str) -> str:
    """The kept text that was laid out so."""
    return _exchanged(text, _FROM_STAND_INS)


def drawn(text: str) -> str:
    """A text that was laid out, as it goes to the terminal: in as many cells."""
    return _exchanged(text, _UNDRAWN)


def _exchanged(text: str, table: dict[str, str]) -> str:
    """Few characters exchanged, one after the other, which takes a twentieth of `translate`: an
    editor asks for its whole text at each line that it draws."""
    if not text.isascii():
        for char, replacement in table.items():
            text = text.replace(char, replacement)
    return text


def _without_towers(text: str) -> str:
    """Marks and shapers need a character to stand on, and not more than `MARKS` of either stand
    on one."""
    chars: list[str] = []
    marks = shapers = MARKS  # at the start there is nothing to stand on
    for char in text:
        if ord(char) in SHAPERS:
            shapers += 1
            if shapers > MARKS:
                continue
        elif char >= "\u0300" and unicodedata.category(char) in ("Mn", "Me", "Mc"):
            marks += 1
            if marks > MARKS:
                continue
        else:
            marks = shapers = MARKS if char == "\n" else 0
        chars.append(char)
    return "".join(chars)


def safe_line(text: str, width: int | None = None) -> str:
    """`text` on one line, cut to `width` cells with an ellipsis."""
    if width is not None and len(text) > 4 * width + 64:
        text = text[: 4 * width + 64] + "…"
    line = safe(text).replace("\n", " ⏎ ")
    return line if width is None else cut(line, width)


def cut(line: str, width: int) -> str:
    """A safe line in at most `width` cells; what is cut ends in an ellipsis."""
    if cell_len(line) <= width:
        return line
    room = max(0, width - 1)
    for index, char in enumerate(line):
        room -= get_character_cell_size(char)
        if room < 0:
            return line[:index] + ("…" if width > 0 else "")
    return line


def wrap(text: str, width: int) -> list[str]:
    """The lines of a safe text in a column of `width` cells, broken between words."""
    width = max(2, width)
    return [part for line in text.split("\n") for part in _wrap_line(line, width)]


def wrap_cut(text: str, width: int, most: int) -> str:
    """The first lines of a safe text in such a column; what is cut ends in an ellipsis."""
    lines = wrap(text, width)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{cut(lines[most - 1], width - 1)}…"]
    return "\n".join(lines)


def _wrap_line(line: str, width: int) -> list[str]:
    if len(line) <= width and cell_len(line) <= width:
        return [line]
    lines: list[str] = []
    start, space, room = 0, -1, width
    for index, char in enumerate(line):
        room -= get_character_cell_size(char)
        if room < 0 and char != " ":
            end = space if space > start else index
            lines.append(line[start:end])
            start = end + 1 if end == space else end
            room = width - cell_len(line[start : index + 1])
        if char == " ":
            space = index
    lines.append(line[start:])
    return lines
