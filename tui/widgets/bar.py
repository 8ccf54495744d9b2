"""A thin bar that says how far something is."""

from textual.content import Content

FULL, HALF, REST = "━", "╸", "─"


def bar(share: float, width: int, *, live: bool = True) -> Content:
    """A thin bar, filled to `share` (0 to 1), in half cells."""
    halves = round(min(1.0, max(0.0, share)) * 2 * max(0, width))
    filled = FULL * (halves // 2) + HALF * (halves % 2)
    return Content.assemble(
        (filled, "$accent" if live else "$muted"), (REST * max(0, width - len(filled)), "$faint")
    )
