"""Verdicts, phases, numbers and searches, as every screen words and reads them."""

from typing import get_args

import pytest

from engine.events import Choice, PhaseName, Progress, Shown
from engine.json_number import count, finite, real, whole
from tui.text.choice import (
    MARKS,
    WORDS,
    label_changed,
    label_kept,
    outcome,
    shown_choice,
    words,
)
from tui.text.phase import PHASES, activity, amount, phase_sentence, speeds, time_left
from tui.text.search import matcher

pytestmark = pytest.mark.quick


def test_every_verdict_and_every_phase_has_its_words() -> None:
    assert set(WORDS) == set(get_args(Choice))
    assert set(MARKS) == set(get_args(Shown))
    assert set(PHASES) >= set(get_args(PhaseName))
    assert max(len(each.cells) for each in WORDS.values()) == 4


def test_a_verdict_in_words() -> None:
    assert [outcome(each) for each in ("first", "tie", "both_bad")] == [
        "the first won",
        "a tie",
        "both bad",
    ]
    assert [shown_choice(each) for each in get_args(Shown)] == [
        "first",
        "second",
        "tie",
        "both_bad",
        "skip",
    ]
    assert label_changed("second") == "label changed: the second won"
    assert label_kept("tie") == "its label is that already: a tie"
    assert words("a choice of another version").phrase == "a choice of another version"


def test_a_phase_in_words() -> None:
    progress = Progress(phase="sampling", step=3, done=1_200, total=3_000, unit="tokens")
    assert activity("sampling", progress) == "sampling 1,200 of 3,000 tokens"
    assert activity("paused", progress) == "paused"
    assert amount(Progress(phase="saving", step=3)) == ""
    assert phase_sentence("saving") == "Saving a checkpoint"
    assert phase_sentence("sampling") == "Sampling the next pairs"


def test_speed_and_time_left() -> None:
    newest = {"pairs_per_second": 4.91, "sampled_tokens_per_second": 1_406.7}
    assert speeds(newest.get) == ["4.9 pairs/s", "1,407 tok/s"]
    assert speeds({}.get) == []
    assert (time_left(720), time_left(None)) == ("12 min left", "")


@pytest.mark.parametrize("value", [None, True, "3", [3], 10**400])
def test_what_is_no_number_is_none(value: object) -> None:
    assert real(value) is None
    assert finite(value) is None
    assert count(value) is None
    assert whole(value) == 0


def test_numbers_of_files() -> None:
    assert (real(3), real(0.5), real(float("inf"))) == (3.0, 0.5, float("inf"))
    odd = (3, 3.9, 0, 1e300, float("inf"), float("nan"))
    assert [finite(each) for each in odd] == [3, 3.9, 0, 1e300, None, None]
    assert [count(each) for each in odd] == [3, 3, 0, None, None, None]
    assert [whole(each) for each in odd] == [3, 3, 0, 0, 0, 0]


def test_a_text_matches_that_holds_every_word() -> None:
    matches = matcher(" Beta  loss")
    assert matches("the loss takes a beta")
    assert not matches("beta")
    assert matcher("")("anything")
