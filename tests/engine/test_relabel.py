"""Changing a label after the fact."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.pairs import DECIDED, JudgedPair, Verdict
from engine.errors import UserError
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.lock import RunBusy
from engine.runs.relabel import PLANNED, relabel, relabelled, set_flag, settle, settle_if_free
from engine.runs.storage import StorageError
from engine.settings.files import preset
from tests.engine.killed_writer import killed_at
from tests.tui.archive import judged, make_run


def lines(run: Run) -> dict[str, tuple[str, dict[str, object]]]:
    """pair id -> (file, line)"""
    return {
        str(line["pair_id"]): (file, line) for file in (PAIRS, UNDECIDED) for line in run.read(file)
    }


@pytest.mark.parametrize("before", ["first", "second", "tie", "both_bad", "skip"])
@pytest.mark.parametrize("after", ["first", "second", "tie", "both_bad"])
def test_a_changed_line_is_what_the_verdict_would_have_written(before: str, after: str) -> None:
    pair = judged(0).pair
    old = JudgedPair(pair, Verdict(before)).to_record("starter")  # type: ignore[arg-type]
    new = relabelled(old, after)  # type: ignore[arg-type]
    expected = JudgedPair(pair, Verdict(after)).to_record("starter")  # type: ignore[arg-type]
    if before == after:
        assert new == old
    else:
        was = {"choice": before, "judge": "starter"}
        assert new == {**expected, "judge": "human", "was": was, "keep": True}


def test_was_keeps_the_first_verdict() -> None:
    pair = judged(0).pair
    line = JudgedPair(pair, Verdict("tie", 0.5, (0.9, 0.1))).to_record("starter")
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


WRITES = """
from engine.runs.relabel import relabel

begin_to_die()
relabel(Run(Path(sys.argv[2])), sys.argv[3], sys.argv[4])
print("acknowledged")
"""


@pytest.mark.parametrize("decided", [True, False])
def test_a_change_killed_at_any_write_is_whole_or_not_there(decided: bool) -> None:
    """A kill between the two files that a change writes once left the pair in both."""
    outcomes = set()
    for instant in itertools.count(1):
        run = make_run(f"run-{instant}", pairs=4)
        before = lines(run)
        home = PAIRS if decided else UNDECIDED
        pair_id = next(key for key, (file, _) in before.items() if file == home)
        choice = "both_bad" if decided else "second"
        killed = killed_at(instant, WRITES, run.path, pair_id, choice)
        settle_if_free(run)
        after = [line for file in (PAIRS, UNDECIDED) for line in run.read(file)]
        assert sorted(line["pair_id"] for line in after) == sorted(before)  # each of them once
        assert not (run.path / PLANNED).exists()
        changed = lines(run)[pair_id][1]["choice"] == choice
        outcomes.add(changed)
        if killed.returncode == 0:
            assert "acknowledged" in killed.stdout
            assert changed
            break
    assert outcomes == {True, False}  # kills before and after the change was decided on


def test_a_change_that_does_not_fit_is_not_made(
    small_disk: Path, fill_disk: Callable[[], Path]
) -> None:
    run = make_run(
        "a-run",
        pairs=4,
        settings=preset("starter").model_copy(update={"output_root": str(small_disk)}),
    )
    before = lines(run)
    won = next(key for key, (file, _) in before.items() if file == PAIRS)
    ballast = fill_disk()
    with pytest.raises(StorageError, match="free some space"):
        relabel(run, won, "tie")
    assert lines(run) == before
    ballast.unlink()
    relabel(run, won, "tie")
    assert lines(run)[won][0] == UNDECIDED


def test_a_plan_that_is_none_is_thrown_away() -> None:
    run = make_run("a-run", pairs=4)
    before = lines(run)
    for plan in ("", "[1]", '{"line": 3}', '{"line": {"choice": "tie"}}'):
        (run.path / PLANNED).write_text(plan)
        assert settle(run) is None
        assert not (run.path / PLANNED).exists()
        assert lines(run) == before


def test_a_run_that_goes_on_keeps_the_changed_label() -> None:
    """A step that a kill has undone is taken again, and its pair judged again; the label of the
    person who had looked at it stays the only one."""
    run = make_run("a-run", pairs=4)
    won = next(key for key, (file, _) in lines(run).items() if file == PAIRS)
    relabel(run, won, "both_bad")
    for file in (PAIRS, UNDECIDED):
        run.keep_until(file, 0)
    assert lines(run) == {won: (UNDECIDED, lines(run)[won][1])}
    assert lines(run)[won][1]["choice"] == "both_bad"
