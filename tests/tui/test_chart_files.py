"""A chart in a file, on a log scale, and several at once."""

import csv
import io
import math
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.errors import UserError
from engine.runs.folder import Run
from tests.tui.archive import make_run
from tests.tui.live import LiveSession, attach, started, steps
from tests.tui.stage import STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.archive.compare_screen import SEVERAL, CompareScreen, SmallChart
from tui.run import chart_file
from tui.run.chart_file import NO_FONT, NO_PNG, RENDERER, has_font, to_csv, to_png, to_svg
from tui.state.series import Series
from tui.widgets import plot
from tui.widgets.chart import Chart
from tui.widgets.plot import Line, Range


def line(label: str, *values: float) -> Line:
    series = Series()
    for step, value in enumerate(values, 1):
        series.add(step, value, 2.0 * step)
    return Line(label, series)


def test_points_as_csv() -> None:
    lines = [line("a, b", 0.5, math.nan), line("c", 1e-7)]
    rows = list(csv.reader(io.StringIO(to_csv(lines))))
    assert rows[0] == ["line", "step", "seconds", "value"]
    assert rows[1] == ["a, b", "1", "2.000", "0.5"]
    assert rows[2][3] == "nan"
    assert float(rows[3][3]) == 1e-7


def test_a_step_above_a_million_is_written_whole() -> None:
    series = Series()
    series.add(1_234_567, 0.5)
    assert list(csv.reader(io.StringIO(to_csv([Line("a", series)]))))[1][1] == "1234567"


@pytest.mark.parametrize("log", [False, True])
def test_a_drawing_is_xml_with_every_line_within_its_frame(log: bool) -> None:
    lines = [line("<a> & b", 1.0, 10.0, math.nan, 100.0), line("c", 5.0, 0.0, 7.0, 8.0)]
    root = ElementTree.fromstring(to_svg(lines, Range(1, 4), "<title>", log=log))
    space = "{http://www.w3.org/2000/svg}"
    drawn = root.findall(f"{space}polyline")
    assert len(drawn) == 2
    for each in drawn:
        for point in each.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 70 <= x <= 780
            assert 40 <= y <= 380
    texts = [each.text for each in root.iter(f"{space}text")]
    assert "<a> & b" in texts
    assert "<title>" in texts
    assert "step" in texts


def test_a_point_alone_is_drawn_and_a_gap_is_left_open() -> None:
    lines = [line("one", 0.5), line("gap", 1.0, 2.0, math.nan, 3.0, 4.0, math.inf, 5.0)]
    root = ElementTree.fromstring(to_svg(lines, Range(1, 7), "title"))
    space = "{http://www.w3.org/2000/svg}"
    drawn = [each.attrib["points"].split() for each in root.findall(f"{space}polyline")]
    assert [len(points) for points in drawn] == [2, 2]
    assert len(root.findall(f"{space}circle")) == 2


def test_a_png_has_the_lines_and_the_words() -> None:
    pytest.importorskip(RENDERER)
    svg = to_svg([line("loss", 1.0, 2.0, 3.0)], Range(1, 3), "a title")
    png = to_png(svg)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (1600, 840)
    assert to_png(re.sub("<polyline[^>]*>", "", svg)) != png
    assert (to_png(re.sub("<text.*?</text>", "", svg)) != png) == has_font()


def test_a_png_without_a_font_is_said_to_have_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart_file, "to_png", lambda svg: re.sub("<text.*?</text>", "", svg))
    monkeypatch.setattr(chart_file, "find_spec", lambda name: name)
    monkeypatch.chdir(tmp_path)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession([started(), *steps("loss", [0.5, 0.4])]))
        await pilot.press("f3")
        await until(pilot, lambda: not app.session.events)  # type: ignore[union-attr]
        await pilot.press("c", "w", *["backspace"] * 3, *"png", "enter")
        await until(pilot, lambda: NO_FONT in said(app))

    play(scene, STANDARD)


def test_a_png_without_what_draws_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_file, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape(NO_PNG)):
        to_png("<svg/>")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession([started(), *steps("loss", [0.5, 0.4])]))
        await pilot.press("f3")
        await until(pilot, lambda: not app.session.events)  # type: ignore[union-attr]
        await pilot.press("c", "w", *["backspace"] * 3, *"png", "enter")
        await until(pilot, lambda: "pip install 'lora-studio[png]'" in shown(app))

    play(scene, STANDARD)


def test_logarithms_of_round_numbers() -> None:
    ticks = [10**each for each in plot.log_ticks(Range(-2.0, 0.0), 10)]
    assert ticks == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    assert [10**e for e in plot.log_ticks(Range(-4.0, 0.0), 6)] == pytest.approx(
        [1e-4, 1e-3, 1e-2, 0.1, 1]
    )
    assert len(plot.logged(line("a", 1.0, 0.0, -1.0, 10.0)).series) == 2


def test_a_log_scale_and_a_file_from_the_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        values = [10.0 ** (-n / 20) for n in range(80)]
        attach(app, LiveSession([started(), *steps("loss", values)]))
        await pilot.press("f3")
        await until(pilot, lambda: not app.session.events)  # type: ignore[union-attr]
        await pilot.press("c")
        await pilot.press("X")
        assert app.screen.query_one(Chart).log_scale
        await until(pilot, lambda: "0.001" in shown(app))
        await pilot.press("w", "enter")
        await until(pilot, lambda: "written" in said(app))
        [file] = tmp_path.glob("*.svg")
        assert "polyline" in file.read_text()
        await pilot.press("w", *["backspace"] * 3, *"csv", "enter")
        await until(pilot, lambda: list(tmp_path.glob("*.csv")))
        await pilot.press("w", *["backspace"] * 3, *"gif", "enter")
        assert "ends in .svg, .png or .csv" in shown(app)
        for name, reason in (("~nobody/a.svg", "no folder"), (f"{'a' * 300}.svg", "too long")):
            app.screen.query_one(Input).value = name
            await pilot.press("enter")
            assert reason in " ".join(shown(app).split())

    play(scene)


def test_a_log_scale_needs_values_above_0() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession([started(), *steps("loss", [0.0, -1.0])]))
        await pilot.press("f3")
        await until(pilot, lambda: not app.session.events)  # type: ignore[union-attr]
        await pilot.press("c", "X")
        await until(pilot, lambda: said(app) == "a log scale needs values above 0")

    play(scene)


def test_several_metrics_and_last_numbers_of_several_runs() -> None:
    runs: list[Run] = [make_run("one"), make_run("two", steps=60)]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await app.push_screen(CompareScreen(runs))
        await until(pilot, lambda: "finished, 60 steps" in shown(app))
        assert "0.411" in shown(app)
        assert "grad norm" in shown(app)
        await pilot.press("v")
        await until(pilot, lambda: "margin ──" in shown(app))
        charts = list(app.screen.query(SmallChart))
        assert [each.metric.name for each in charts] == list(SEVERAL)
        assert all(each.chart.size.height > 5 for each in charts)
        assert all(len(each.chart.lines) == 2 for each in charts)
        await pilot.press("v")
        await until(pilot, lambda: "margin ──" not in shown(app))

    play(scene, STANDARD)
