"""Compare: overlaid metrics and the settings that differ."""

import shutil

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.runs.folder import METRICS
from engine.runs.run_summary import read_summary
from engine.settings.files import preset
from engine.settings.schema import Settings
from tests.tui.archive import make_run
from tests.tui.live import evaluated
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until, workers_done
from tui.app import StudioApp
from tui.archive.compare_rows import Row, differences, last_rows
from tui.archive.compare_screen import CompareScreen, SmallChart
from tui.archive.run_actions import COMPARED
from tui.run.metric_labels import metric
from tui.shell.ask import AskText
from tui.state.run_from_files import RunFromFiles
from tui.state.run_view import RunView
from tui.text.format import duration
from tui.widgets.chart import Chart
from tui.widgets.key_line import KeyLine
from tui.widgets.row_list import RowList


def test_settings_that_differ() -> None:
    one, other = Settings(beta=0.2), Settings(beta=0.3, run_name="x", lookahead=2)
    different = [(row.key, row.values) for row in differences([one, other])]
    assert different == [("beta", ("0.2", "0.3")), ("lookahead", ("auto", "2"))]
    assert differences([one, one]) == []


def test_the_win_rate_is_that_of_the_outcome() -> None:
    one, other, start = RunView("one"), RunView("other"), RunView("start")
    for view in (one, other):
        view.add_metrics(40, {"win_rate": 0.9})
    one.fold([evaluated(40, 0.88)])
    start.fold([evaluated(0, 0.48)])
    start.step = 3
    [row] = last_rows([one, other, start])
    assert (row.key, row.values) == ("win rate", ("88 ±6 %", "90.0 %", "–"))


async def opened(app: StudioApp, pilot: Pilot[int]) -> CompareScreen:
    """Three runs compared."""
    shared = preset("starter")
    two = shared.model_copy(update={"beta": 0.05, "judge_system": "Shorter is better."})
    runs = [
        make_run("polite", settings=shared),
        make_run("loose", steps=60, seed=2, settings=two),
        make_run("empty", steps=0, pairs=0, settings=shared),
    ]
    screen = CompareScreen(runs)
    await app.push_screen(screen)
    await until(pilot, lambda: "reading the runs" not in shown(app))
    return screen


def test_a_run_of_one_step_is_counted_as_one_speaks() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await app.push_screen(CompareScreen([make_run("one", steps=1), make_run("two", steps=2)]))
        await until(pilot, lambda: "finished, 1 step\n" in shown(app))

    play(scene)


def test_a_file_that_cannot_be_read_is_named() -> None:
    runs = [make_run("polite"), make_run("odd")]
    (runs[1].path / METRICS).unlink()
    (runs[1].path / METRICS).mkdir()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await app.push_screen(CompareScreen(runs))
        await until(pilot, lambda: "cannot be compared" in shown(app))
        assert said(app) == f"{runs[1].path / METRICS} cannot be read: not a regular file"

    play(scene)


def test_the_runs_are_drawn_over_one_another() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        lines = screen.query_one(Chart).lines
        assert [(line.label, len(line.series)) for line in lines] == [
            (screen.views[0].name, 40),
            (screen.views[1].name, 60),
            (screen.views[2].name, 0),
        ]
        text = shown(app)
        assert "finished, 40 steps" in text
        assert "loss  step 60 ·" in text  # the newest point, of whichever run
        for key in ("tab settings", "n next metric", "S smooth", "X log scale"):
            assert key in text
        assert "beta" in text
        assert "0.05" in text
        assert "learning_rate" not in text
        await pilot.press("n")
        assert screen.metric.name == "win_rate"
        assert "81.8 %" in shown(app)
        await pilot.press("N", "N")
        assert screen.metric.name != "loss"
        await pilot.press("tab", "n")  # in the list of settings, where nothing is looked for
        await until(pilot, lambda: screen.metric.name == "loss")

    play(scene)
    play(scene, STANDARD)


def test_keys() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("enter")
        assert "settings that differ" not in shown(app)
        await pilot.press("tab")
        assert "settings that differ" in shown(app)
        assert isinstance(app.focused, RowList)
        await pilot.press("down", "enter")
        assert "Shorter is better." in said(app)
        await pilot.press("tab")
        assert isinstance(app.focused, Chart)
        await pilot.press("escape")
        assert app.screen is not screen

    play(scene)


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_of_many_runs_each_has_its_values_in_sight(size: tuple[int, int]) -> None:
    seeds = range(11, 11 + COMPARED)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        runs = [
            make_run(
                f"run-{seed}",
                steps=2,
                pairs=0,
                settings=preset("starter").model_copy(update={"seed": seed}),
            )
            for seed in seeds
        ]
        await app.push_screen(CompareScreen(runs))
        await until(pilot, lambda: "reading the runs" not in shown(app))
        await pilot.pause()
        [line] = (line for line in shown(app).splitlines() if line.split()[:1] == ["seed"])
        assert [int(word) for word in line.split()[1:] if word.isdigit()] == list(seeds)

    play(scene, size)


def test_long_names_that_differ_at_their_end_are_told_apart() -> None:
    begin = "a-name-" + "x" * 100
    runs = [make_run(f"{begin}-{end}") for end in ("one", "two")]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = CompareScreen(runs)
        await app.push_screen(screen)
        await until(pilot, lambda: "reading the runs" not in shown(app))
        heads = [line for line in shown(app).splitlines() if "finished, 40 steps" in line]
        assert len(heads) == 2  # a line each
        for end, line in zip(("one", "two"), heads, strict=True):
            assert "a-name-" in line
            assert f"x-{end}  finished" in line
        screen.query_one(RowList).show([Row("beta", ("0.1", "0.2"))])
        await pilot.press("tab", "enter")
        assert begin not in said(app)
        assert "x-one: 0.1 · a-name" in said(app)
        assert "x-two: 0.2" in said(app)

    play(scene)


def test_of_several_charts_one_has_the_keys() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot)
        await pilot.press("v")
        small = list(screen.query(SmallChart))
        await until(pilot, lambda: app.focused is small[0].chart)
        await pilot.press("X", "S", "n")
        assert small[0].chart.log_scale
        assert small[0].chart.smoothing != "off"
        assert app.focused is small[1].chart
        assert not small[1].chart.log_scale
        assert "81.8 %" in shown(app)  # the head is that of the chart with the keys
        await pilot.press("w")
        assert isinstance(app.screen, AskText)
        assert app.screen.query_one(Input).value.endswith("win_rate.svg")
        await pilot.press("escape", "tab")
        assert isinstance(app.focused, RowList)
        await pilot.press("tab")
        assert app.focused is small[1].chart
        await pilot.press("v")
        await until(pilot, lambda: app.focused is screen.query_one("#body > Chart"))
        await pilot.press("X")
        assert screen.chart.log_scale

    play(scene)
    play(scene, STANDARD)


def test_a_run_that_is_gone_is_said() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        run = make_run("gone")
        (run.path / "run.json").unlink()
        await app.push_screen(CompareScreen([run, make_run("here")]))
        await until(pilot, lambda: "cannot be read" in said(app))
        assert "reading the runs" not in shown(app)

    play(scene)


def test_a_run_that_goes_while_it_is_compared_leaves_the_others_going() -> None:
    settings = [Settings(beta=beta) for beta in (0.1, 0.2)]
    runs = [make_run("lost", settings=settings[0]), make_run("other", settings=settings[1])]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = CompareScreen(runs)
        await app.push_screen(screen)
        await until(pilot, lambda: "finished, 40 steps" in shown(app))
        shutil.rmtree(runs[0].path)
        runs[1].append(METRICS, [{"step": 50, "loss": 0.123}])
        runs[1].update(step=50)
        screen._read()
        await until(pilot, lambda: "finished, 50 steps" in shown(app))
        assert "cannot be read now, 40 steps" in shown(app)
        assert "run.json" in said(app)
        [beta] = [row for row in screen.query_one(RowList).rows if row.key == "beta"]
        assert beta.values == ("0.1", "0.2")
        app.screen.query_one(KeyLine).clear()
        screen._read()
        await workers_done(app)
        assert said(app) == ""  # that it is gone is said once

    play(scene, STANDARD)


def test_what_was_trained_meanwhile_shows_on_the_way_back() -> None:
    runs = [make_run("one", status="stopped"), make_run("other")]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await app.push_screen(CompareScreen(runs))
        await until(pilot, lambda: "stopped, 40 steps" in shown(app))
        await pilot.press("question_mark")
        runs[0].append(METRICS, [{"step": 50, "loss": 0.123}])
        runs[0].update(step=50)
        await pilot.press("escape")
        await until(pilot, lambda: "stopped, 50 steps" in shown(app))
        assert "0.123" in shown(app)

    play(scene)


def test_a_run_whose_settings_are_unknown_is_compared_by_its_metrics() -> None:
    """And takes nothing of the comparison away from the others."""
    one, other, lost = make_run("one"), make_run("other", settings=preset("smollm2")), make_run("x")
    (lost.path / "config.yaml").unlink()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = CompareScreen([lost, one, other])
        await app.push_screen(screen)
        await until(pilot, lambda: "reading the runs" not in shown(app))
        assert [len(line.series) for line in screen.query_one(Chart).lines] == [40, 40, 40]
        assert "the settings of x are unknown" in said(app)
        [model] = [row for row in screen.query_one(RowList).rows if row.key == "model"]
        assert model.values[:2] == ("unknown", "starter")

    play(scene)


def test_last_numbers_are_those_of_the_list_of_runs() -> None:
    """Not those of the last point, which the best step, measured anew, is not one of."""
    run = make_run("best", seconds=61.0, win_rate=0.6, win_rate_step=30)
    run.append(METRICS, [{"step": 30, "split": "kept", "win_rate": 0.6}])
    rows = {each.key: each.values for each in last_rows([RunFromFiles(run).view])}
    summary = read_summary(run.path, is_link=False)
    assert rows["time"] == (duration(summary.seconds or 0),) == ("61 s",)
    assert rows[metric("win_rate").label] == ("60 ±6 %",)
    assert summary.win_rate == 0.6
