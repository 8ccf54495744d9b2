"""A run that goes on from an earlier checkpoint trains as it did from there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.judges import llm
from engine.runs import go_back
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.session import Session
from engine.settings.schema import Settings
from tests.end_to_end.labelled_run import press
from tests.end_to_end.program import written
from tests.engine.small_models import run_settings, write_run_files

Choose = Callable[..., Settings]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def chosen(files: Path, monkeypatch: pytest.MonkeyPatch) -> Choose:
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)

    def make(**values: Any) -> Settings:
        small = {
            "iters": 6,
            "batch_size": 2,
            "eval_prompts": 4,
            "steps_per_eval": 2,
            "steps_per_report": 1,
            "save_every": 2,
            "undo_seconds": 0.0,
            "self_check_every": 0,
            "fuse": False,
        }
        return run_settings(files, **{**small, **values})

    return make


def go_on(chosen: Settings, run: Run | None = None, back_to: int | None = None) -> Any:
    """Train to the end, a person's pairs answered by their texts; the run and the pairs asked."""
    session = Session(chosen, run, back_to=back_to)
    session.start()
    asked: dict[str, tuple[str, str, str]] = {}
    while session.alive:
        for pair in session.waiting()[:1]:
            asked[pair.pair_id] = (pair.prompt, pair.left, pair.right)
            session.answer(pair.pair_id, press(pair))
        time.sleep(0.002)
    session.join()
    assert session.error is None
    assert session.run is not None
    return session.run, asked


def labels(run: Run) -> dict[str, str]:
    lines = [line for file in (PAIRS, UNDECIDED) for line in run.read(file)]
    assert len({line["pair_id"] for line in lines}) == len(lines)
    return {line["pair_id"]: line["choice"] for line in lines if line.get("keep")}


def test_a_finished_run_trains_again_from_a_step_as_it_did(chosen: Choose) -> None:
    run, _ = go_on(chosen())
    before = written(run.path)
    with pytest.raises(UserError, match="the last of 'one'"):
        go_back.check(run, 6)
    go_back.check(run, 2, force=True)
    again, _ = go_on(chosen(), run, back_to=2)
    assert again.path == run.path
    assert written(run.path) == before
    assert run.state()["status"] == "finished"


def test_what_is_changed_in_the_config_holds_from_the_step_on(chosen: Choose) -> None:
    run, _ = go_on(chosen())
    before = written(run.path)["metrics.jsonl"]
    go_on(chosen(learning_rate=1e-2), run, back_to=2)
    after = written(run.path)["metrics.jsonl"]
    rates = {line["step"]: line["learning_rate"] for line in after if "learning_rate" in line}
    assert rates[6] == pytest.approx(1e-2)
    assert [line for line in after if line["step"] <= 2] == [
        line for line in before if line["step"] <= 2
    ]


def test_a_person_is_not_asked_again_for_pairs_that_come_up_again(chosen: Choose) -> None:
    """Where no pair is sampled ahead, whose weights would depend on how fast they answer."""
    chosen_now = chosen(judge="human", lookahead=0)
    run, asked = go_on(chosen_now)
    before = labels(run)
    assert len(before) == len(asked) > 6
    _, again = go_on(chosen_now, run, back_to=2)
    assert again == {}  # the same labels make the same weights, and so the same pairs
    assert labels(run) == before


def test_a_persons_labels_of_pairs_that_do_not_come_up_again_stay(chosen: Choose) -> None:
    run, _ = go_on(chosen(judge="human"))
    before = labels(run)
    _, again = go_on(chosen(judge="human", learning_rate=0.05), run, back_to=2)
    assert again  # other weights, other pairs
    after = labels(run)
    aside = {each: choice for each, choice in after.items() if go_back.is_set_aside(each)}
    assert aside
    for pair_id, choice in aside.items():
        assert before[pair_id.partition("~")[0]] == choice
    kept = {each: choice for each, choice in before.items() if int(each[:7]) <= 2}
    assert kept.items() <= after.items()
