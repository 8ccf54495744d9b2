"""A sweep: its grid, its file, and the ranking of what came of it."""

from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.events import RunStatus
from engine.runs import archive, sweep
from engine.runs.folder import METRICS
from engine.runs.sweep import (
    Cell,
    Sweep,
    open_sweep,
    plan_sweep,
    ranking,
    settings_of,
    split_values,
    write_sweep,
)
from engine.settings.files import preset_mapping

GRID = ["beta=0.5,1.0", "seed=0,1,2", "iters=3"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_STUDIO_HOME", str(tmp_path))
    return tmp_path


def starter(words: list[str], name: str | None = None) -> Sweep:
    return plan_sweep(preset_mapping("starter"), "starter", words, name)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.05,0.1", ["0.05", "0.1"]),
        ("sigmoid, hinge", ["sigmoid", "hinge"]),
        ("[a, b],[c]", ["[a, b]", "[c]"]),
        ("{x: 1, y: 2},{}", ["{x: 1, y: 2}", "{}"]),
        ('"a, b",c', ['"a, b"', "c"]),
        ("", [""]),
        ("1,", ["1", ""]),
    ],
)
def test_values_stand_between_commas(text: str, parts: list[str]) -> None:
    assert split_values(text) == parts


def test_a_grid_has_a_run_for_each_choice() -> None:
    made = starter(GRID)
    assert made.name == "starter-sweep"
    assert made.axes == {"beta": ["0.5", "1.0"], "seed": ["0", "1", "2"]}
    assert [cell.run for cell in made.cells][:2] == [
        "starter-sweep-01-beta=0.5-seed=0",
        "starter-sweep-02-beta=0.5-seed=1",
    ]
    settings = [settings_of(cell) for cell in made.cells]
    assert [(each.beta, each.seed) for each in settings] == [
        (beta, seed) for beta in (0.5, 1.0) for seed in (0, 1, 2)
    ]
    assert {each.iters for each in settings} == {3}
    assert {each.learning_rate for each in settings} == {0.8}


def test_what_is_kept_is_read_as_it_was() -> None:
    made = starter(["lora_parameters.rank=4,8", "judge_system=Be brief."])
    write_sweep(made)
    assert open_sweep("starter-sweep") == made
    assert made.cells[0].run == "starter-sweep-01-rank=4"
    assert starter(GRID).name == "starter-sweep-2"
    assert settings_of(made.cells[1]).lora_parameters.rank == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "a sweep needs a setting with several values"),
        (["beta=0.1"], "a sweep needs a setting with several values"),
        (["beta"], "write it as key=value,value"),
        (["beta=0.1,,0.2"], "a value between two commas is missing"),
        (["beta=0.1,0.1"], "a value is there twice"),
        (["beta=0.1,0.2", "beta=0.3"], "beta is there twice"),
        (["beta=0.1,-1"], "beta"),
        (["bata=0.1,0.2"], "bata"),
        (["judge=starter,human"], "a person cannot judge a sweep"),
        (["run_name=a,b"], "a sweep names its runs itself"),
        (["max_completion_length=64,256"], "leaves no room for a prompt"),
        (["seed=" + ",".join(map(str, range(501)))], "the grid has 501 runs"),
    ],
)
def test_a_bad_grid_is_told_before_anything_is_kept(
    words: list[str], told: str, home: Path
) -> None:
    with pytest.raises(UserError, match=told):
        starter(words)
    assert list(home.iterdir()) == []


def test_names_are_not_taken_twice() -> None:
    write_sweep(starter(GRID, name="mine"))
    with pytest.raises(UserError, match="--name mine: there is a sweep"):
        starter(GRID, name="mine")
    archive.create(settings_of(starter(GRID).cells[0]))
    assert starter(GRID).name == "starter-sweep-2"
    with pytest.raises(UserError, match="there is no sweep 'other'; there are mine"):
        open_sweep("other")
    sweep.file_of("mine").write_text("{}")
    with pytest.raises(UserError, match="the sweep 'mine' is damaged"):
        open_sweep("mine")
    with pytest.raises(UserError, match="there is no sweep"):
        open_sweep("../mine")


def end(cell: Cell, *lines: dict[str, Any], status: RunStatus = "finished") -> None:
    run = archive.create(settings_of(cell))
    assert run.name == cell.run
    run.append(METRICS, lines)
    run.update(status=status)


def measured(rate: float, split: str = "valid") -> dict[str, Any]:
    values = {"win_rate": rate, "win_rate_low": rate - 0.1, "win_rate_high": rate + 0.1}
    return {"step": 3, "split": split, **values}


def test_places_are_ranked_with_their_seeds_together() -> None:
    made = starter(["beta=0.5,1.0,2.0", "seed=0,1"])
    assert len(made.left()) == 6
    for cell, rate in zip(made.cells[:4], (0.5, 0.6, 0.8, 0.7), strict=True):
        end(cell, measured(0.2), measured(rate))
    end(made.cells[4], measured(0.99), status="stopped")
    assert [cell.run for cell in made.left()] == [cell.run for cell in made.cells[4:]]
    best, second, last = ranking(made)
    assert (best.changes, second.changes) == ({"beta": "1.0"}, {"beta": "0.5"})
    assert best.runs == [cell.run for cell in made.cells[2:4]]
    assert best.result
    assert best.result.rate == pytest.approx(0.75)
    half = (0.1**2 + 0.1**2) ** 0.5 / 2
    assert (best.result.low, best.result.high) == pytest.approx((0.75 - half, 0.75 + half))
    assert last.result is None


def test_the_surest_win_rate_counts() -> None:
    made = starter(["seed=0,1,2"])
    end(made.cells[0], measured(0.6, "kept"), measured(0.9))
    end(made.cells[1], measured(0.6, "kept"), measured(0.7, "test"), measured(0.9))
    other = {"eval_win_rate": 0.3, "eval_win_rate_low": 0.2, "eval_win_rate_high": 0.4}
    end(made.cells[2], measured(0.9) | other)
    runs = [made.run_of(cell) for cell in made.cells]
    results = [sweep.result_of(run) for run in runs if run]
    assert [each and each.rate for each in results] == [0.6, 0.7, 0.3]
    assert [each and each.by for each in results] == ["judge", "judge", "evaluator"]
