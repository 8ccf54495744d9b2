"""What a run's events and its files add up to."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.events import Log, PairJudged, Progress, Report, RunEnded, StepDone
from engine.runs import go_back, run_summary
from engine.runs.folder import LOG, METRICS, PAIRS, Run
from engine.runs.sweep import result_of
from engine.settings.files import preset
from tests.tui.archive import make_run
from tests.tui.live import SECONDS, START, a_run, evaluated, judged, started, steps
from tui.cli import run_lines
from tui.state.run_control import RunControl
from tui.state.run_from_files import RunFromFiles, to_pair
from tui.state.run_view import LOG_LINES, RunView

pytestmark = pytest.mark.quick


def view_of(*events: object) -> RunView:
    view = RunView()
    view.fold(events)  # type: ignore[arg-type]
    return view


def test_a_run_is_followed_from_start_to_end() -> None:
    view = view_of(*a_run(steps=40, total=100))
    assert (view.name, view.step, view.total_steps, view.status) == ("polite", 40, 100, "running")
    assert view.phase == "judging"
    assert view.latest("win_rate") == pytest.approx(0.66)
    assert len(view.series["loss"]) == 40
    assert view.newest is not None
    view.fold([RunEnded(time=START + 400, status="failed", step=40, error="no memory")])
    assert (view.status, view.error, view.live) == ("failed", "no memory", False)
    assert view.log[-1].text == "no memory"


def test_time_left_is_at_the_pace_of_this_sitting() -> None:
    view = RunView()
    view.add_metrics(50, {"loss": 1.0}, seconds=10_000.0)  # an earlier, slower sitting
    view.fold([started(step=50, total=100), *a_run(0)[:0]])
    view.fold([StepDone(time=START + 20, step=60, total_steps=100, metrics={})])
    view.ended = START + 20
    assert view.elapsed() == pytest.approx(10_020)
    assert view.seconds_left() == pytest.approx(20 / 10 * 40)


def test_the_evaluation_of_the_start_is_no_measure_for_the_steps() -> None:
    view = view_of(started(total=11), evaluated(0, 0.5, START + 60))
    view.fold([StepDone(time=START + 62, step=1, total_steps=11, metrics={"loss": 0.5})])
    view.ended = START + 62
    assert view.seconds_left() == pytest.approx(2 * 10)


def test_the_time_left_does_not_grow_while_a_step_is_under_way() -> None:
    view = view_of(started(total=11))
    view.fold([StepDone(time=START + 2, step=1, total_steps=11, metrics={"loss": 0.5})])
    view.fold([Progress(time=START + 90, phase="evaluating", step=1)])
    assert view.elapsed(START + 90) == pytest.approx(90)
    assert view.seconds_left() == pytest.approx(2 * 10)


def test_nothing_is_left_before_the_first_step_and_after_the_last() -> None:
    assert view_of(started()).seconds_left() is None
    assert view_of(*a_run(99)).seconds_left()
    assert view_of(*a_run(100)).seconds_left() is None  # it is still evaluated and kept
    assert view_of(*a_run(), RunEnded(status="finished", step=40)).seconds_left() is None


def test_a_report_adds_only_what_its_steps_did_not_tell() -> None:
    step = StepDone(step=10, total_steps=10, metrics={"loss": 0.5})
    view = view_of(step, Report(step=10, metrics={"loss": 0.6, "peak_memory_gb": 3.0}))
    assert list(view.series["loss"].values) == [0.5]
    assert view.latest("peak_memory_gb") == 3.0


def test_resuming_forgets_the_points_and_pairs_after_the_checkpoint() -> None:
    view = view_of(*a_run(steps=40), *(replace(judged(), step=step) for step in (41, 42)))
    view.fold([started(step=20)])
    assert view.series["loss"].steps[-1] == 20
    assert view.newest is None
    view = view_of(*a_run(steps=40), *(replace(judged(), step=step) for step in (41, 42)))
    view.fold([started(step=41)])
    assert [each.step for each in view.pairs] == [41, 40]


@pytest.mark.parametrize(("back_to", "suites"), [(None, 1), (1, 0)])
def test_going_back_forgets_what_the_guard_found(
    back_to: int | None, suites: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("one")
    run.update(guard=[{"suite": "facts", "items": 2}], guard_step=2)
    begun: list[RunView] = []
    control = RunControl()
    monkeypatch.setattr(control, "_begin", lambda settings, run, view, back_to: begun.append(view))
    control.resume(run, back_to=back_to)
    assert len(begun[0].suites) == suites


def test_a_run_that_ends_between_two_looks_is_not_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run("one", status="running")

    def ends(file: object) -> None:
        run.update(status="finished")

    monkeypatch.setattr(Run, "holder", ends)
    assert RunFromFiles(run).view.status == "finished"
    run.update(status="running")
    monkeypatch.setattr(run_summary, "holder", ends)
    assert run_summary.read_summary(run.path, is_link=False).status == "finished"


def test_a_line_of_metrics_that_somebody_has_changed_is_borne() -> None:
    run = make_run("one")
    rates = dict.fromkeys(("win_rate", "win_rate_low", "win_rate_high"), 0.5)
    run.append(METRICS, [{"split": ["valid"]} | rates])
    with run.checkpoint_folder(1):
        pass
    assert result_of(run) is None
    assert "last metrics" in run_lines.run_lines("one", json=False)
    go_back.go_back(run, 1)
    assert run.state()["win_rate"] == 0.5


def test_values_that_are_not_numbers_are_left_out() -> None:
    view = RunView()
    view.add_metrics(1, {"loss": None, "split": "valid", "flag": True, "kl": math.nan, "margin": 1})
    assert set(view.series) == {"kl", "margin"}


def test_pausing_is_a_status() -> None:
    view = view_of(started(), Progress(phase="paused", step=1))
    assert view.phase == "paused"
    view.fold([Progress(phase="sampling", step=1)])
    assert (view.status, view.phase) == ("running", "sampling")


def test_the_log_is_bounded_and_counts_on() -> None:
    view = view_of(*(Log(level="info", text=str(n)) for n in range(LOG_LINES + 10)))
    assert len(view.log) == LOG_LINES
    assert view.log_count == LOG_LINES + 10


def test_the_files_of_a_run_make_the_same_view() -> None:
    archived = RunFromFiles(make_run("kept", steps=40))
    view = archived.view
    assert (view.name, view.status, view.step) == ("kept", "finished", 40)
    assert len(view.series["loss"]) == 40
    assert view.newest is not None
    assert [line.level for line in view.log] == ["info", "warning", "info"]
    assert view.evaluation is not None
    assert view.evaluation.win_rate == 0.71
    archived.update()
    assert (len(view.series["loss"]), len(view.log)) == (40, 3)  # nothing is taken in twice


def test_a_run_that_another_process_writes_is_kept_up_with() -> None:
    run = make_run("shared", steps=10)
    archived = RunFromFiles(run)
    run.append(METRICS, [{"step": 11, "loss": 0.1}])
    run.append(LOG, ["2026-09-01T10:02:00.000+00:00 error   gone\n  and why"])
    archived.update()
    assert archived.view.latest("loss") == 0.1
    assert [line.text for line in archived.view.log][-2:] == ["gone", "  and why"]
    assert archived.view.log[-1].level == "error"


def test_a_pair_taken_back_elsewhere_is_gone_and_no_other_comes_twice() -> None:
    run = make_run("shared", steps=10, pairs=0)
    line = {"step": 3, "choice": "first", "chosen": "a", "rejected": "b"}
    run.append(PAIRS, [line | {"pair_id": each} for each in ("one", "two", "three")])
    archived = RunFromFiles(run)
    run.rewrite(PAIRS, lambda line: None if line["pair_id"] == "two" else line)
    archived.update()
    assert [pair.pair_id for pair in archived.view.pairs] == ["three", "one"]


def test_a_damaged_file_harms_nothing_else(tmp_path: Path) -> None:
    run = make_run("torn", steps=5)
    with (run.path / METRICS).open("ab") as file:
        file.write(b'\xff\xfe{]\n{"step": "x", "loss": []}\n{"step": 6, "loss": 0.25}\n{"ste')
    with (run.path / LOG).open("ab") as file:
        file.write(b"\x1b[2J no stamp\n")
    view = RunFromFiles(run).view
    assert view.series["loss"].steps[-1] == 6
    assert view.log[-1].text.startswith("\x1b")  # untrusted; what shows it makes it safe


@pytest.mark.parametrize(
    ("line", "first", "second"),
    [
        ({"choice": "first", "chosen": "a", "rejected": "b"}, "a", "b"),
        ({"choice": "second", "chosen": "b", "rejected": "a"}, "a", "b"),
        ({"choice": "tie", "first": "a", "second": "b"}, "a", "b"),
    ],
)
def test_pairs_come_back_in_the_order_they_were_sampled(
    line: dict[str, object], first: str, second: str
) -> None:
    pair = to_pair(line)
    assert isinstance(pair, PairJudged)
    assert (pair.first, pair.second) == (first, second)


def test_series_times_are_seconds_of_training() -> None:
    view = view_of(*a_run(steps=3))
    assert list(view.series["loss"].times) == [SECONDS, 2 * SECONDS, 3 * SECONDS]
    assert judged().step == 40


def test_a_number_too_large_for_a_point_is_left_out() -> None:
    view = RunView()
    view.add_metrics(1, {"loss": 10**400, "kl": 2})
    assert view.latest("loss") is None
    assert view.latest("kl") == 2.0


def test_at_the_end_the_numbers_are_those_of_the_last_report() -> None:
    view = RunView()
    view.fold([started(), *steps("loss", [0.6, 0.5, 0.4])])
    view.fold([Report(time=START, step=3, metrics={"loss": 0.5})])
    assert view.latest("loss") == 0.4
    view.fold([RunEnded(time=START + 9, status="stopped", step=3)])
    assert view.latest("loss") == 0.5
    assert list(view.series["loss"].values) == [0.6, 0.5, 0.5]


def test_a_report_of_an_earlier_step_changes_no_later_numbers() -> None:
    view = RunView()
    view.fold([started(), *steps("loss", [0.6, 0.5])])
    view.fold([Report(time=START, step=2, metrics={"loss": 0.55})])
    view.fold([StepDone(time=START, step=3, total_steps=9, metrics={"loss": 0.4})])
    view.fold([RunEnded(time=START + 9, status="stopped", step=3)])
    assert view.latest("loss") == 0.4


def test_a_night_counts_for_nothing_in_the_time_left_of_a_person() -> None:
    def left(gaps: list[float], judge: str) -> float | None:
        view = RunView(settings=preset(judge))
        view.fold([started(total=20)])
        at = START
        for step, gap in enumerate(gaps, 1):
            at += gap
            view.fold([StepDone(time=at, step=step, total_steps=20, metrics={"loss": 0.5})])
        return view.seconds_left()

    night = 9 * 3600.0
    assert left([5, 5, night, 5, 5, 5], "starter-human") == pytest.approx(14 * 5)
    assert left([5], "starter-human") is None
    calm = left([5] * 6, "starter")
    assert calm is not None


def test_a_warm_start_is_no_measure_for_the_steps_after_it() -> None:
    view = RunView(settings=preset("starter"))
    view.fold([replace(started(total=14), warm_steps=4)])

    def step(number: int, at: float) -> float | None:
        view.ended = None
        view.fold([StepDone(time=START + at, step=number, total_steps=14, metrics={"loss": 0.5})])
        view.ended = START + at
        return view.seconds_left()

    assert step(2, 2.0) == pytest.approx(2 * 1.0)
    assert view.warming
    assert step(4, 4.0) is None
    assert not view.warming
    assert step(6, 14.0) == pytest.approx(8 * 5.0)


def test_what_a_run_took_is_what_the_engine_says_and_no_pause() -> None:
    def step(number: int, at: float, seconds: float) -> StepDone:
        return StepDone(
            time=START + at, step=number, total_steps=9, metrics={"loss": 0.5}, seconds=seconds
        )

    view = view_of(replace(started(step=1), seconds=50.0), step(2, 10, 60.0))
    assert view.elapsed(START + 13) == pytest.approx(63)
    view.fold([Progress(time=START + 14, phase="paused", step=2)])
    assert view.elapsed(START + 9_000) == pytest.approx(64)
    view.fold([Progress(time=START + 9_000, phase="sampling", step=2)])
    assert view.elapsed(START + 9_001) == pytest.approx(65)
    view.fold([step(3, 9_002, 66.0)])
    assert list(view.series["loss"].times) == [60.0, 66.0]
    view.fold([RunEnded(time=START + 9_020, status="finished", step=3, seconds=80.0)])
    assert view.elapsed() == 80.0
