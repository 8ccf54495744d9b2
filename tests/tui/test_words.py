"""Verdicts, phases, numbers and searches, as every screen words and reads them."""

from typing import get_args

import pytest

from engine.events import Choice, PairJudged, PhaseName, Progress, Shown
from engine.json_number import count, finite, real, whole
from tui.archive.pair_table import pair_line
from tui.archive.run_preview import Preview, body
from tui.run.pair_list import line
from tui.run.pair_pane import verdict
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


@pytest.mark.parametrize(("choice", "first", "second"), [("first", "✓", ""), ("second", "", "✓")])
def test_what_a_person_picked_is_marked_and_has_no_number_in_words(
    choice: Choice, first: str, second: str
) -> None:
    """Review shows the answers in a hidden order: key 1 may be the second that was sampled."""
    pair = PairJudged(
        pair_id="1-0",
        step=1,
        prompt="p",
        first="one",
        second="two",
        choice=choice,
        q=None,
        judge="human",
    )
    rows = [row.plain for row in body(Preview(pair=pair), 60)]
    assert [row.split() for row in rows[-2:]] == [
        ["1", *first, "one"],
        ["2", *second, "two"],
    ]
    record = {"pair_id": "1-0", "step": 1, "choice": choice, "judge": "human", "prompt": "p"}
    told = (rows[1], verdict(pair), line(pair, 60).plain, pair_line(record, 60).plain)
    assert all("✓" in words for words in told)
    number = {"first": "1 ✓", "second": "2 ✓"}[choice]
    assert not any(choice in words or number in words for words in told)


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
