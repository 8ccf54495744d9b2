"""The pairs of a run: filters, search, and what is added or replaced meanwhile."""

import pytest

from engine.data.pairs import JudgedPair, Verdict
from engine.runs.folder import PAIRS
from engine.runs.relabel import relabel
from tests.tui.archive import judged, make_run
from tui.archive.pair_table import FILTERS, PairTable, disagrees, pair_line

pytestmark = pytest.mark.quick


BY_NAME = {each.name: each for each in FILTERS}


def taken(table: PairTable) -> bool:
    """Whether there was anything to take in."""
    news = table.read()
    table.take()
    return news


def test_filters_and_their_counts() -> None:
    table = PairTable(make_run("a-run", pairs=8))
    assert taken(table)
    counts = {each.name: count for each, count in table.counts()}
    assert counts == {
        "all": 8,
        "first won": 4,
        "second won": 2,
        "ties": 2,
        "disagreement": 2,
        "flagged": 2,
        "with a note": 2,
    }
    for name, count in counts.items():
        assert len(table.matching(BY_NAME[name])) == count


def test_pairs_are_in_the_order_of_their_steps_whichever_file_they_are_in() -> None:
    table = PairTable(make_run("a-run", pairs=8))
    taken(table)
    assert [line["step"] for line in table.matching(FILTERS[0])] == list(range(1, 9))


def test_words_are_looked_for_in_prompt_answers_and_note() -> None:
    table = PairTable(make_run("a-run", pairs=8))
    taken(table)
    assert len(table.matching(FILTERS[0], "PARIS friend (3)")) == 1
    assert len(table.matching(FILTERS[0], "close")) == 2  # a note
    assert table.matching(FILTERS[0], "paris atlantis") == []


def test_what_is_written_meanwhile_is_taken_in() -> None:
    run = make_run("a-run", pairs=2)
    table = PairTable(run)
    taken(table)
    assert not taken(table)
    run.append(PAIRS, [judged(4).to_record("starter")])
    assert taken(table)
    assert len(table.lines) == 3
    relabel(run, "0000001-000", "tie")
    taken(table)
    assert table.lines["0000001-000"]["choice"] == "tie"
    assert len(table.lines) == 3


def test_a_person_and_the_judge_disagree() -> None:
    pair = judged(0).pair
    line = JudgedPair(pair, Verdict("second", 0.9, (0.95, 0.85))).to_record("human")
    assert disagrees(line)
    assert not disagrees({**line, "judge": "starter"})
    assert not disagrees({"q_orders": [None, "x"], "q": "?"})


def test_a_row_fits_and_is_harmless() -> None:
    line = judged(1).to_record("starter") | {"prompt": "\x1b[31m\nevil" * 1000}
    shown = pair_line(line, 60)
    assert shown.cell_length <= 60
    assert "\x1b" not in shown.plain
    assert "0.80" in shown.plain  # how sure of the winner
    assert pair_line({}, 60).plain
