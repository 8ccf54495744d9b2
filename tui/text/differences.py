"""What two texts share and what they do not, word by word, for reading them side by side."""

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import NamedTuple

_WORD = re.compile(r"\s*(?:\w+|[^\w\s])")
# A lone "the" that both texts happen to have is not something they share.
_LEAST_SHARED = 2
# Comparing costs the product of the lengths; beyond this only equal ends count as shared.
_MOST_WORDS = 1500


class Span(NamedTuple):
    """Characters `start` to `end` of a text, and whether the other text has them too."""

    start: int
    end: int
    shared: bool


def differences(one: str, other: str) -> tuple[list[Span], list[Span]]:
    """The spans of both texts, in order and without gaps."""
    one_words, other_words = _words(one), _words(other)
    shared = _shared_runs([word for _, word in one_words], [word for _, word in other_words])
    return (
        _spans(one, one_words, ((i, size) for i, _, size in shared)),
        _spans(other, other_words, ((j, size) for _, j, size in shared)),
    )


def _words(text: str) -> list[tuple[int, str]]:
    """Where each word or mark ends, and what it is; leading white space belongs to its word."""
    return [(match.end(), match.group().strip()) for match in _WORD.finditer(text)]


def _shared_runs(one: list[str], other: list[str]) -> list[tuple[int, int, int]]:
    """Runs of equal words as (index in one, index in other, length), in order."""
    if max(len(one), len(other)) <= _MOST_WORDS:
        matcher = SequenceMatcher(None, one, other, autojunk=False)
        blocks = matcher.get_matching_blocks()
        return [(block.a, block.b, block.size) for block in blocks if block.size >= _LEAST_SHARED]
    start = _equal_at_start(one, other)
    most = min(len(one), len(other)) - start
    end = min(most, _equal_at_start(one[::-1], other[::-1]))
    return [(0, 0, start), (len(one) - end, len(other) - end, end)]


def _equal_at_start(one: list[str], other: list[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _spans(
    text: str, words: list[tuple[int, str]], shared: Iterable[tuple[int, int]]
) -> list[Span]:
    """The whole text as spans, from the runs of words that are shared."""
    spans: list[Span] = []
    done = 0

    def upto(word: int, is_shared: bool) -> None:
        nonlocal done
        end = words[word - 1][0] if word else 0
        if end > done:
            spans.append(Span(done, end, is_shared))
            done = end

    for start, size in shared:
        upto(start, False)
        upto(start + size, True)
    upto(len(words), False)
    if done < len(text):  # white space at the end belongs to the last span
        last = spans.pop() if spans else Span(0, 0, False)
        spans.append(last._replace(end=len(text)))
    return spans
