"""Two win rates of the same answers, wherever a run tells of one."""

from typing import Any

import pytest

from engine.events import Evaluated, Guarded, RunEnded, Split, SuiteChange
from engine.runs.archive import list_runs
from engine.runs.folder import METRICS
from engine.runs.run_summary import RunSummary
from engine.runs.sweep import Result, result_of
from tests.tui.archive import make_run
from tests.tui.live import a_run
from tui.archive.compare_rows import last_rows
from tui.archive.run_filter import matching
from tui.archive.run_preview import read
from tui.archive.run_rows import COLUMNS, Glance
from tui.cli.console import Summary, rate
from tui.cli.run_lines import list_lines, run_lines
from tui.run.metric_card import reading
from tui.run.metric_chart import lines
from tui.run.metric_labels import ALL
from tui.run.outcome import outcome
from tui.state.run_from_files import RunFromFiles
from tui.state.run_view import RunView

pytestmark = pytest.mark.quick

START: dict[str, Any] = {"win_rate": 0.5, "win_rate_low": 0.38, "win_rate_high": 0.62}
BOTH: dict[str, Any] = {
    "win_rate": 0.9,
    "win_rate_low": 0.8,
    "win_rate_high": 0.96,
    "eval_win_rate": 0.4,
    "eval_win_rate_low": 0.3,
    "eval_win_rate_high": 0.5,
}
NONE: dict[str, Any] = dict.fromkeys(("win_rate", "win_rate_low", "win_rate_high"))


def evaluated(step: int = 100, split: Split = "valid", **rates: float | None) -> Evaluated:
    return Evaluated(
        step=step,
        split=split,
        prompts=64,
        examples=(),
        eval_prompts=60,
        **rates,  # type: ignore[arg-type]
    )


def view_of(event: Evaluated) -> RunView:
    view = RunView()
    view.fold([*a_run(steps=100, total=100), event])
    view.fold([RunEnded(status="finished", step=100)])
    return view


def test_the_log_line() -> None:
    assert rate(evaluated(**BOTH)) == (
        "90.0% (80% to 96%, 64 prompts) by the judge, "
        "40.0% (30% to 50%, 60 prompts) by the evaluator"
    )
    assert rate(evaluated(**START)) == "50.0% (38% to 62%, 64 prompts)"
    only = {**BOTH, **NONE}
    assert rate(evaluated(**only)) == "40.0% (30% to 50%, 60 prompts) by the evaluator"


def test_the_last_words() -> None:
    view = view_of(evaluated(**BOTH))
    summary = Summary(view)
    summary.fold([evaluated(step=0, **{**BOTH, **START}), evaluated(**BOTH)])
    said = summary.closing().plain
    assert "win rate by the judge: 50.0% before, 90.0% after (80% to 96%, 64 prompts)" in said
    assert "win rate by the evaluator: 40.0% before, 40.0% after (30% to 50%, 60 prompts)" in said


def test_the_run_screen() -> None:
    view = view_of(evaluated(**BOTH))
    assert outcome(view).plain == (
        "Finished. Its answers beat those of the model it started from 90 ±8 % of the time by the "
        "judge and 40 ±10 % by the evaluator, on prompts held out."
    )
    assert reading(ALL["win_rate"], view) == ("90 · 40", "%")
    assert reading(ALL["eval_win_rate"], view) == ("40 ±10", "%")
    assert [line.label for line in lines(view, ALL["win_rate"])] == ["win rate", "evaluator"]
    alone = view_of(evaluated(**START))
    assert "50 ±12 % of the time, on prompts held out." in outcome(alone).plain
    assert reading(ALL["win_rate"], alone) == ("50 ±12", "%")


ON = [
    ("valid", "of the time, on prompts held out."),
    ("kept", "of the time, on prompts held out, with answers drawn anew."),
    ("test", "of the time, on the test prompts."),
]


@pytest.mark.parametrize(("split", "words"), ON)
def test_the_outcome_says_what_its_win_rate_was_measured_on(split: Split, words: str) -> None:
    assert outcome(view_of(evaluated(split=split, **START))).plain.endswith(words)


@pytest.mark.parametrize(("split", "words"), ON)
def test_a_run_of_the_archive_says_what_its_win_rate_was_measured_on(
    split: Split, words: str
) -> None:
    run = make_run("rated", steps=0, pairs=0, status="finished")
    run.append(METRICS, [{"step": 47, "split": "valid", **BOTH}])
    from_files = RunFromFiles(run)
    run.append(METRICS, [{"step": 47, "split": split, **START}])
    run.update(step=47, win_rate_step=47, **START)
    from_files.update()
    assert outcome(from_files.view).plain.endswith(words)
    from_files.update()  # with nothing new in it
    assert outcome(from_files.view).plain.endswith(words)


def test_a_win_rate_that_the_metrics_do_not_have_is_taken_for_a_validation() -> None:
    run = make_run("rated", steps=0, pairs=0, status="finished")
    run.append(METRICS, [{"step": 47, "split": "test", **BOTH}, {"step": 47, "loss": 0.5}])
    run.update(step=47, win_rate_step=47, **START)
    assert outcome(RunFromFiles(run).view).plain.endswith("on prompts held out.")


def test_what_the_guard_found_stands_beside_the_win_rate() -> None:
    view = view_of(evaluated(**START))
    view.fold(
        [
            Guarded(
                step=100,
                suites=(
                    SuiteChange("sums", 50, 39, 2, 1, 1.0),
                    SuiteChange("json", 20, 20, 0, 0, 1.0),
                    SuiteChange("never", 20, 0, 3, 0, None),
                ),
            )
        ]
    )
    words = "held out. Of what it could do before it kept 39 of 40 sums, 20 of 20 json."
    assert outcome(view).plain.endswith(words)


def test_a_win_rate_of_the_start_is_not_the_run_s() -> None:
    run = make_run("early", steps=0, pairs=0, status="stopped")
    run.append(METRICS, [{"step": 0, "split": "valid", **BOTH}, {"step": 40, "loss": 0.5}])
    run.update(step=47, win_rate_step=0, **BOTH)
    [summary] = list_runs()
    assert (summary.win_rate, summary.eval_win_rate) == (None, None)
    assert matching([summary], "win>0.1", lambda each: {}) == []
    [line] = [line for line in list_lines(json=False) if "early" in line]
    assert "90%" not in line
    assert "40%" not in line
    assert read(summary).series.keys() == {"loss"}
    assert result_of(run) is None
    assert "win rate" not in {row.key for row in last_rows([RunFromFiles(run).view])}
    later = make_run("later", steps=0, pairs=0, status="stopped")
    later.append(METRICS, [{"step": 20, "split": "valid", **BOTH}])
    later.update(step=47, win_rate_step=20, **BOTH)
    [rated] = [each for each in list_runs() if each.name == "later"]
    assert (rated.win_rate, rated.eval_win_rate) == (0.9, 0.4)
    assert (result_of(later) or Result(0, 0, 0)).rate == 0.4
    rows = {
        each.key: each.values
        for each in last_rows([RunFromFiles(each).view for each in (run, later)])
    }
    assert rows["win rate"] == ("–", "90 ±8 %")


def test_the_archive() -> None:
    run = make_run("one", **BOTH, win_rate_step=100)
    view = RunFromFiles(run).view
    assert view.evaluation
    assert (view.evaluation.win_rate, view.evaluation.eval_win_rate) == (0.9, 0.4)
    text = "\n".join(run_lines(str(run.path), json=False))
    assert "eval_win_rate" in text
    (column,) = (each for each in COLUMNS if each.title == "win rate")
    row = RunSummary(
        name="one", path=run.path, status="finished", step=9, win_rate=1.0, eval_win_rate=0.4
    )
    assert column.text(row, Glance()) == "100·40 %"
    assert len(column.text(row, Glance())) <= column.width
