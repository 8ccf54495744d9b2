"""Labels that a person took back: kept, and counted nowhere."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.pairs import JudgedPair, Verdict
from engine.runs import chat_pairs
from engine.runs.folder import CHAT_PAIRS, PAIRS, RETRACTED, UNDECIDED, Run
from engine.runs.labels import labels, retracted_labels, select
from engine.runs.relabel import relabel_own
from engine.runs.retracted import retract
from engine.runs.storage import StorageError
from engine.settings.files import preset
from tests.engine.killed_writer import killed_at
from tests.tui.archive import judged, make_run


def ids(run: Run, *files: str) -> list[str]:
    return sorted(str(line["pair_id"]) for file in files for line in run.read(file))


def first_id(run: Run) -> str:
    return str(next(iter(run.read(PAIRS)))["pair_id"])


def test_a_label_that_is_taken_back_counts_nowhere_and_is_kept() -> None:
    run = make_run("a-run", pairs=4)
    before, pair_id = ids(run, PAIRS, UNDECIDED), first_id(run)
    [line] = [line for line in run.read(PAIRS) if line["pair_id"] == pair_id]
    known = select([run], ties=True, flagged=True).labels
    relabel_own(run, pair_id, None)
    assert ids(run, PAIRS, UNDECIDED) == [each for each in before if each != pair_id]
    assert list(run.read(RETRACTED)) == [line]
    assert pair_id not in [label.pair_id for label in labels(run)]
    selection = select([run], ties=True, flagged=True)
    assert [label.pair_id for label in selection.labels] == [
        label.pair_id for label in known if label.pair_id != pair_id
    ]
    assert selection.left_out["retracted"] == 1
    [again] = [label for label in select([run], retracted=True).labels if label.pair_id == pair_id]
    assert again.retracted
    assert again.preference.chosen == next(
        label.preference.chosen for label in known if label.pair_id == pair_id
    )


def test_answers_that_have_another_label_by_now_are_not_among_them() -> None:
    run = make_run("a-run", pairs=4)
    pair_id = first_id(run)
    before = [label.pair_id for label in select([run]).labels]
    [line] = [line for line in run.read(PAIRS) if line["pair_id"] == pair_id]
    retract(run, [pair_id])
    run.append(PAIRS, [line])
    assert [label.pair_id for label in retracted_labels(run)] == [pair_id]
    selection = select([run], retracted=True)
    assert sorted(label.pair_id for label in selection.labels) == sorted(before)
    assert not any(label.retracted for label in selection.labels)
    assert "labelled again later" not in selection.left_out


def test_a_pick_of_a_chat_that_is_taken_back_is_kept_too() -> None:
    run = make_run("a-run", pairs=0)
    pair = judged(0).pair
    chat_pairs.label(run, pair, "first", ("trained", "start"))
    chat_pairs.take_back(run, pair.pair_id)
    assert ids(run, CHAT_PAIRS) == []
    assert ids(run, RETRACTED) == [pair.pair_id]


def test_what_is_no_verdict_is_no_label_of_those_that_were_taken_back() -> None:
    run = make_run("a-run", pairs=0)
    run.append(UNDECIDED, [JudgedPair(judged(0).pair, Verdict("skip")).to_record("human")])
    retract(run, ids(run, UNDECIDED))
    assert retracted_labels(run) == []


WRITES = """
from engine.runs.relabel import relabel_own

begin_to_die()
relabel_own(Run(Path(sys.argv[2])), sys.argv[3], None)
print("acknowledged")
"""


def test_a_retraction_killed_at_any_write_is_whole_or_not_there() -> None:
    outcomes = set()
    for instant in itertools.count(1):
        run = make_run(f"run-{instant}", pairs=4)
        before, pair_id = ids(run, PAIRS, UNDECIDED), first_id(run)
        killed = killed_at(instant, WRITES, run.path, pair_id)
        run.repair()
        left = ids(run, PAIRS, UNDECIDED)
        counts = pair_id in left
        outcomes.add(counts)
        assert left == [each for each in before if counts or each != pair_id]
        marked = [label for label in select([run], retracted=True).labels if label.retracted]
        assert [label.pair_id for label in marked] == ([] if counts else [pair_id])
        relabel_own(run, pair_id, None)  # again, by whoever saw that it was not done
        assert ids(run, RETRACTED) == [pair_id]
        if killed.returncode == 0:
            assert "acknowledged" in killed.stdout
            assert not counts
            break
    assert outcomes == {True, False}


def test_while_the_disk_is_away_a_label_counts_as_before() -> None:
    run = make_run("a-run", pairs=4)
    before, pair_id = ids(run, PAIRS, UNDECIDED), first_id(run)
    away = run.path.rename(run.path.with_name("away"))
    with pytest.raises(StorageError, match="put its folder back"):
        retract(run, [pair_id])
    away.rename(run.path)
    assert ids(run, PAIRS, UNDECIDED) == before


def test_on_a_full_disk_a_label_counts_as_before(
    small_disk: Path, fill_disk: Callable[[], Path]
) -> None:
    settings = preset("starter").model_copy(update={"output_root": str(small_disk)})
    run = make_run("a-run", pairs=4, settings=settings)
    before, pair_id = ids(run, PAIRS, UNDECIDED), first_id(run)
    ballast = fill_disk()
    with pytest.raises(StorageError, match="free some space"):
        relabel_own(run, pair_id, None)
    assert ids(run, PAIRS, UNDECIDED) == before
    ballast.unlink()
    relabel_own(run, pair_id, None)
    assert ids(run, RETRACTED) == [pair_id]
