"""What two answers share, word by word."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.text.differences import Span, differences

pytestmark = pytest.mark.quick


def shown(text: str, spans: list[Span]) -> list[tuple[str, bool]]:
    return [(text[start:end], shared) for start, end, shared in spans]


def test_shared_runs_are_found_in_both() -> None:
    one, other = "Water the soil when it is dry.", "Please water the soil when it is wet."
    left, right = differences(one, other)
    assert shown(one, left) == [("Water", False), (" the soil when it is", True), (" dry.", False)]
    assert shown(other, right) == [
        ("Please water", False),
        (" the soil when it is", True),
        (" wet.", False),
    ]


def test_a_lone_common_word_is_not_shared() -> None:
    one, other = "the cat", "see the dog"
    assert [shared for *_, shared in differences(one, other)[0]] == [False]


@pytest.mark.parametrize(("one", "other"), [("", ""), ("", "words here"), ("  ", "\n")])
def test_empty_texts(one: str, other: str) -> None:
    left, right = differences(one, other)
    assert "".join(text for text, _ in shown(one, left)) == one
    assert "".join(text for text, _ in shown(other, right)) == other


@given(st.text(), st.text())
def test_spans_cover_both_texts_in_order(one: str, other: str) -> None:
    for text, spans in zip((one, other), differences(one, other), strict=True):
        assert "".join(part for part, _ in shown(text, spans)) == text
        assert all(before.end == after.start for before, after in itertools.pairwise(spans))


@given(st.lists(st.sampled_from(["a", "b", "c", "d"])), st.lists(st.sampled_from(["a", "b", "c"])))
def test_what_is_shared_reads_the_same_in_both(one: list[str], other: list[str]) -> None:
    left_text, right_text = " ".join(one), " ".join(other)
    left, right = differences(left_text, right_text)
    assert [part.split() for part, shared in shown(left_text, left) if shared] == [
        part.split() for part, shared in shown(right_text, right) if shared
    ]


def test_long_texts_take_no_longer_than_twice_as_long_ones_should() -> None:
    """Beyond a bound the cost no longer grows with the product of the lengths."""

    def seconds(words: int) -> float:
        one = " ".join(f"w{i % 50}" for i in range(words))
        other = " ".join(f"w{i % 49}" for i in range(words))
        began = time.thread_time()
        differences(one, other)
        return time.thread_time() - began

    short = min(seconds(2_000) for _ in range(3))
    assert min(seconds(40_000) for _ in range(3)) < 100 * max(short, 2e-3)


def test_long_texts_share_their_ends() -> None:
    one = "same start " * 1000 + "here" + " same end" * 1000
    other = "same start " * 1000 + "elsewhere" + " same end" * 1000
    different = [part for part, shared in shown(one, differences(one, other)[0]) if not shared]
    assert different == [" here"]
