"""Which texts a person means who types some words to look for."""

from collections.abc import Callable


def matcher(query: str) -> Callable[[str], bool]:
    """Whether a text holds every word of `query`, in any order and case; none are in every text."""
    words = query.lower().split()

    def matches(text: str) -> bool:
        lowered = text.lower()
        return all(word in lowered for word in words)

    return matches
