"""A run goes back to an earlier checkpoint: what stays, what goes, and a kill in the middle."""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.errors import UserError
from engine.runs import archive, durable, go_back
from engine.runs.checkpoints import Best
from engine.runs.folder import METRICS, PAIRS, SAMPLED, UNDECIDED, Run
from engine.settings.schema import Settings
from engine.train.earlier_labels import EarlierLabels
from tests.engine.small_models import pair

pytestmark = pytest.mark.quick

LABELS = {2: "first", 4: "second", 5: "tie", 6: "first"}  # a person's, by step


def label(step: int, choice: Any = "first", **changes: Any) -> dict[str, Any]:
    judged = JudgedPair(labelled(step, **changes), Verdict(choice))
    return judged.to_record("human") | {"keep": True}


def labelled(step: int, pair_id: str | None = None, **changes: Any) -> Pair:
    texts: dict[str, Any] = {"first": f"yes {step}", "second": f"no {step}"}
    made = pair(step=step, **(texts | changes))
    return replace(made, pair_id=pair_id) if pair_id else made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Stopped at step 6 of 10, with checkpoints after 1, 2, 4 and 6; the best is step 2."""
    run = archive.create(Settings(run_name="one", output_root=str(tmp_path)))
    best = Best(2, 0.75, 0.6, 1.0)
    for step in (1, 2, 4, 6):
        with run.checkpoint_folder(step, best if step > 1 else None) as folder:
            (folder / "adapters.safetensors").write_text(f"weights {step}")
    rates = {"win_rate": 0.75, "win_rate_low": 0.6, "win_rate_high": 0.9}
    later = {"win_rate": 0.5, "win_rate_low": 0.4, "win_rate_high": 0.6}
    run.append(
        METRICS,
        [{"step": step, "seconds": 2.0 * step, "loss": step / 10} for step in range(1, 7)],
    )
    run.append(METRICS, [{"step": 2, "split": "valid"} | rates, {"step": 6} | later])
    run.append(METRICS, [{"step": 2, "split": "kept"} | rates])
    for step, choice in LABELS.items():
        run.append(UNDECIDED if choice == "tie" else PAIRS, [label(step, choice)])
    run.append(UNDECIDED, [{"step": 6, "pair_id": "0000006-001", "choice": "identical"}])
    run.append(SAMPLED, [{"step": 7, "pairs": []}])
    run.update(status="finished", total_steps=10, ended="ended at step 6", win_rate_step=6, **later)
    run.update(loss=0.6, metrics={"step": 6, "loss": 0.6}, guard=[{"suite": "facts"}], guard_step=6)
    run.advance(step=6, pairs=5, seconds=12.0)
    return run


def contents(run: Run) -> dict[str, Any]:
    """All that going back may change."""
    state = run.state()
    names = ("status", "ended", "step", "pairs", "seconds", "win_rate", "win_rate_step", "loss")
    names += ("metrics", "guard", "guard_step")
    return {
        "checkpoints": [int(each.name) for each in run.checkpoints()],
        "state": {name: state.get(name) for name in names},
        "left": sorted(each.name for each in run.path.iterdir()),
    } | {file: list(run.read(file)) for file in (METRICS, PAIRS, UNDECIDED, SAMPLED)}


def test_the_run_is_what_it_was_at_the_step(run: Run) -> None:
    go_back.go_back(run, 4)
    after = contents(run)
    assert after["checkpoints"] == [1, 2, 4]
    assert run.latest_checkpoint() == run.path / "checkpoints" / "0000004"
    assert after["state"] == {
        "status": "stopped",
        "ended": None,
        "step": 4,
        "pairs": 4,
        "seconds": 8.0,
        "win_rate": 0.75,
        "win_rate_step": 2,
        "loss": 0.4,
        "metrics": {"step": 4, "seconds": 8.0, "loss": 0.4},
        "guard": [],
        "guard_step": None,
    }
    assert [line["step"] for line in after[METRICS]] == [1, 2, 3, 4, 2]
    assert after[SAMPLED] == []
    assert go_back.PLANNED not in after["left"]
    best = run.best()
    assert best is not None
    assert best.step == 2


def test_the_rate_of_an_evaluator_goes_back_too(run: Run) -> None:
    def rates(rate: float) -> dict[str, float]:
        names = ("eval_win_rate", "eval_win_rate_low", "eval_win_rate_high")
        return dict(zip(names, (rate, rate - 0.1, rate + 0.1), strict=True))

    run.append(METRICS, [{"step": 3, "split": "valid"} | rates(0.7), {"step": 6} | rates(0.2)])
    run.update(win_rate_step=6, **rates(0.2))
    go_back.go_back(run, 4)
    assert run.state().items() >= rates(0.7).items()
    assert run.state()["win_rate_step"] == 3
    go_back.go_back(run, 1)
    assert run.state()["eval_win_rate"] is None


def test_a_persons_labels_stay_and_those_of_later_steps_are_set_aside(run: Run) -> None:
    before = contents(run)
    go_back.go_back(run, 4)
    after = contents(run)
    ids = [line["pair_id"] for line in after[PAIRS]]
    assert ids == ["0000002-000", "0000004-000", "0000006-000~1"]
    assert [line["pair_id"] for line in after[UNDECIDED]] == ["0000005-000~1"]
    texts = [{k: v for k, v in line.items() if k != "pair_id"} for line in before[PAIRS]]
    assert [{k: v for k, v in line.items() if k != "pair_id"} for line in after[PAIRS]] == texts


def test_going_back_again_never_gives_two_labels_one_id(run: Run) -> None:
    go_back.go_back(run, 4)
    run.append(PAIRS, [label(6, "second", first="other")])
    with run.checkpoint_folder(6):
        pass
    go_back.go_back(run, 4)
    ids = [line["pair_id"] for line in run.read(PAIRS)]
    assert ids == ["0000002-000", "0000004-000", "0000006-000~1", "0000006-000~2"]


class Cut(BaseException):
    """The process is killed."""


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Lets the process die before its n-th change of the disk."""
    left = [0]

    def counted(call: Any) -> Any:
        def watched(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Cut
            return call(*arguments, **named)

        return watched

    for name in ("rename", "replace", "unlink", "rmdir", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))

    def cut_at(number: int) -> None:
        left[0] = number

    yield cut_at
    left[0] = 0


def test_a_kill_anywhere_leaves_the_old_or_something_to_finish(run: Run, change: Any) -> None:
    shutil.rmtree(run.path / "checkpoints" / "0000001")  # which any repair would prune
    original = run.path.with_name("original")
    shutil.copytree(run.path, original)
    go_back.go_back(run, 4)
    wanted = contents(run)
    old = contents(Run(original))
    number = 0
    for number in itertools.count(1):
        shutil.rmtree(run.path)
        shutil.copytree(original, run.path)
        change(number)
        try:
            go_back.go_back(run, 4)
        except Cut:
            change(0)
        else:
            break
        planned = go_back.planned(run)
        run.repair()
        go_back.settle(run)
        found = contents(run)
        if planned is None and 6 in found["checkpoints"]:
            # Nothing has begun; at most the run is one that can be gone on with.
            for file in (METRICS, PAIRS, UNDECIDED, SAMPLED):
                assert found[file] == old[file], number
        else:
            assert found == wanted, number
    change(0)
    assert number > 10


def test_a_kill_between_two_files_is_finished_once(run: Run) -> None:
    """Labels are set aside under one id, however often it is begun."""
    durable.write_file(run.path / go_back.PLANNED, '{"step": 4, "mark": 1}\n')
    run.rewrite(PAIRS, lambda line: go_back._set_aside(line, 4, 1))  # pyright: ignore[reportPrivateUsage]
    assert "went back to step 4" in (go_back.settle(run) or "")
    assert [line["pair_id"] for line in run.read(PAIRS)][-1] == "0000006-000~1"
    assert go_back.settle(run) is None


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (3, "no checkpoint of step 3: its checkpoints are of step 1, step 2, step 4, step 6"),
        (1, "step 1 is before step 2, the best (75%), whose checkpoint would go"),
    ],
)
def test_a_step_that_will_not_do_is_refused(step: int, words: str, run: Run) -> None:
    with pytest.raises(UserError) as refusal:
        go_back.check(run, step)
    assert words in str(refusal.value)


def test_what_may_be_gone_back_to(run: Run) -> None:
    for step in (2, 4, 6):
        go_back.check(run, step)
    go_back.check(run, 1, force=True)
    run.update(total_steps=6)
    with pytest.raises(UserError, match="step 6 is the last"):
        go_back.check(run, 6)
    (run.path / "checkpoints" / "0000004" / "adapters.safetensors").write_text("broken!!")
    with pytest.raises(UserError, match="step 4 is damaged"):
        go_back.check(run, 4)


def test_without_the_best_the_one_before_it_is_the_best(run: Run) -> None:
    go_back.go_back(run, 1)
    assert run.best() is None


# -- labels that count again ---------------------------------------------------------------------


def test_a_label_counts_again_for_the_same_texts_alone(run: Run) -> None:
    go_back.go_back(run, 4)
    earlier = EarlierLabels(run, "text")
    assert earlier.claim(labelled(6, first="something else")) is None
    assert earlier.claim(labelled(6, prompt="another prompt")) is None
    assert earlier.claim(labelled(5)) == Verdict("tie")
    # The same pair may come at another place.
    moved = labelled(6, pair_id="0000009-002")
    assert earlier.claim(moved) == Verdict("first")
    assert earlier.claim(moved) is None
    lines = {line["pair_id"]: line for file in (PAIRS, UNDECIDED) for line in run.read(file)}
    assert {"0000005-000", "0000009-002"} <= lines.keys()
    assert not any(map(go_back.is_set_aside, lines))
    assert lines["0000009-002"]["keep"] is True
    assert EarlierLabels(run, "text").claim(moved) is None
