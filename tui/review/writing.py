"""The answers that are being written while nothing can be judged yet."""

from textual.content import Content

from engine.events import Writing
from tui.text.prompt_text import prompt_line
from tui.text.safe_text import safe, safe_line, wrap

LEAST = 2  # lines of an answer
MOST_WIDTH = 72
LIMIT = 20_000  # characters of an answer


def writing_content(writing: Writing, width: int, height: int) -> Content:
    """The prompt on one line and the end of each answer as far as it is written, one under the
    other and without a number: which will be the first is not told."""
    width = max(8, min(width, MOST_WIDTH))
    each = max(LEAST, (height - 2) // max(1, len(writing.texts)) - 1)
    lines = [f"> {safe_line(prompt_line(writing.prompt, writing.messages), width - 2)}"]
    for text in writing.texts:
        rows = wrap(safe(text.strip(), LIMIT), width) if text.strip() else ["…"]
        if len(rows) > each:
            rows = ["…", *rows[len(rows) - each + 1 :]]
        lines += ["", *rows]
    return Content.styled("\n".join(lines), "$faint")
