"""Changing a label after the fact."""

import pytest

from engine.errors import UserError
from engine.pairs import DECIDED, Verdict, record
from engine.relabel import relabel, relabelled, set_flag
from engine.run_folder import PAIRS, UNDECIDED, Run
from engine.run_lock import RunBusy
from tests.tui.archive import judged, make_run


def lines(run: Run) -> dict[str, tuple[str, dict[str, object]]]:
    """pair id -> (file, line)"""
    return {
        str(line["pair_id"]): (file, line) for file in (PAIRS, UNDECIDED) for line in run.read(file)
    }


@pytest.mark.parametrize("before", ["first", "second", "tie", "both_bad", "skip"])
@pytest.mark.parametrize("after", ["first", "second", "tie", "both_bad"])
def test_a_changed_line_is_what_the_verdict_would_have_written(before: str, after: str) -> None:
    pair, _ = judged(0)
    old = record(pair, Verdict(before), "starter")  # type: ignore[arg-type]
    new = relabelled(old, after)  # type: ignore[arg-type]
    expected = record(pair, Verdict(after), "starter")  # type: ignore[arg-type]
    if before == after:
        assert new == old
    else:
        was = {"choice": before, "judge": "starter"}
        assert new == {**expected, "judge": "human", "was": was}


def test_was_keeps_the_first_verdict() -> None:
    pair, _ = judged(0)
    line = record(pair, Verdict("tie", 0.5, (0.9, 0.1)), "starter")
    twice = relabelled(relabelled(line, "first"), "second")
    assert twice["was"] == {"choice": "tie", "judge": "starter"}
    assert twice["chosen"] == pair.second
    assert twice["q"] == 0.5


def test_a_label_moves_to_the_file_where_it_belongs() -> None:
    run = make_run("a-run", pairs=4)
    before = lines(run)
    tie = next(key for key, (file, _) in before.items() if file == UNDECIDED)
    relabel(run, tie, "second")
    won = next(key for key, (file, _) in before.items() if file == PAIRS)
    relabel(run, won, "both_bad")
    after = lines(run)
    assert set(after) == set(before)
    assert sum(1 for file in (PAIRS, UNDECIDED) for _ in run.read(file)) == len(before)
    assert after[tie][0] == PAIRS
    assert after[won][0] == UNDECIDED
    for file, line in after.values():
        assert (file == PAIRS) == (line["choice"] in DECIDED) == ("chosen" in line)


def test_a_flag_changes_nothing_else() -> None:
    run = make_run("a-run", pairs=1)
    (key, (_, before)) = next(iter(lines(run).items()))
    set_flag(run, key, True)
    assert lines(run)[key][1] == {**before, "flagged": True}


def test_a_run_in_training_is_left_alone() -> None:
    run = make_run("a-run", pairs=1)
    with run.lock(), pytest.raises(RunBusy):
        relabel(Run(run.path), "0000001-000", "second")


def test_a_pair_that_is_not_there() -> None:
    with pytest.raises(UserError, match="has no pair '7'"):
        relabel(make_run("a-run", pairs=1), "7", "tie")
