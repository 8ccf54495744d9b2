"""Texts that would do harm if they reached a terminal as they are, and a look for what is left."""

import unicodedata

# Each holds MARK, so that a test can see that it is shown at all.
MARK = "Zq"
TEXTS = {
    "colour": f"\x1b[31m{MARK}\x1b[0m",
    "cursor": f"\x1b[2J\x1b[H\x1b[99;99H{MARK}\x1b[?1049h\x1bc",
    "title": f"\x1b]0;{MARK}\x07",
    "clipboard": f"\x1b]52;c;aGk=\x07{MARK}",
    "link": f"\x1b]8;;http://evil.example\x1b\\{MARK}\x1b]8;;\x1b\\",
    "device": f"\x1bP$qm\x1b\\\x1b_G\x1b\\{MARK}\x1bX\x1b\\\x1b^\x1b\\",
    "eight bits": f"\x9b31m\x9d0;t\x9c\x90q\x9c{MARK}\x85",
    "markup": f"[red]{MARK}[/red] [@click=app.quit]x[/] [link=http://e.example]y[/link] [/] [",
    "returns": f"{MARK}\rEVIL\b\b\b\x7f\x00\x0e\x0f",
    "directions": f"{MARK}\u202eexe.txt\u202d\u2066\u2067\u2069\u200f\u061c",
    "no width": f"{MARK}a\u200bb\u200cc\u200dd\u2060e\ufeff\u00ad\U000e0041",
    "marks": f"\u0301{MARK}" + "\u0301\u0489" * 40,
    "wide": f"{MARK}日本語 ｗｉｄｅ 👨\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 👍🏽 ㅤ",
    "no characters": f"\u0378{MARK}\ue000\U0010ffff\ufffe\U000e0fff",
    "halves": f"\ud800{MARK}\udfff",
    "line ends": f"{MARK}\u2028b\u2029c\x0bd\x0ce\r\nf\n\ng",
}

LONG = f"{MARK} " + "x" * 1_000_000  # one line
EACH = [*TEXTS.values(), LONG]
# The same in a few texts, for tests that have to be quick, and a line longer than what is shown.
_PARTS = list(TEXTS.values())
FEW = [f"{MARK} {' '.join(_PARTS[at::4])}" for at in range(4)] + [LONG[:120_000]]


def harmful(text: str) -> list[str]:
    """The characters of a text that must never be sent to a terminal, by name; line ends may."""
    return [f"U+{ord(char):04X}" for char in text if char != "\n" and _is_harmful(char)]


def _is_harmful(char: str) -> bool:
    category = unicodedata.category(char)
    overrides = unicodedata.bidirectional(char) in DIRECTIONS
    return overrides or category in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
