"""Text that is judged, as lines that cannot be taken for lines of the frame around them.

Each line begins with a mark: "> ", or "1> " and "2> " in the two responses, so that a small model
sees at every line whose it is. Nothing else changes: without the marks it is the text.
"""

QUOTE = "> "


def lines_of(text: str) -> list[str]:
    """The lines of a text, each but the last with the characters that end it; at least one."""
    lines = f"{text}.".splitlines(keepends=True)
    return [*lines[:-1], lines[-1].removesuffix(".")]


def quoted(text: str, number: str = "") -> str:
    """A text, each line behind the mark."""
    return "".join(number + QUOTE + line for line in lines_of(text))
