"""News of a kind that is told once a run."""

from collections.abc import Callable


def once(tell: Callable[[str], None]) -> Callable[[str, str], None]:
    """A function of (kind, text) that tells the first text of each kind alone."""
    kinds: set[str] = set()

    def first(kind: str, text: str) -> None:
        if kind not in kinds:
            kinds.add(kind)
            tell(text)

    return first
