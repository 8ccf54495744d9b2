"""A chart as a file: its points as CSV, or a drawing of it as SVG or PNG."""

import csv
import io
import math
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from xml.sax.saxutils import escape

from engine.data_folder import at_home
from engine.errors import RunError, UserError
from engine.runs import durable
from engine.runs.run_names import safe_name
from tui.shell.ask import AskText, doubt_of_file
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line
from tui.widgets import plot
from tui.widgets.chart import Chart
from tui.widgets.plot import Line, Range

SVG = "http://www.w3.org/2000/svg"
WIDTH, HEIGHT = 800, 420  # of a drawing, in pixels; a PNG has twice as many
LEFT, TOP, RIGHT, BOTTOM = 70, 40, 20, 40  # its margins
# What draws a PNG knows no generic family, so one of each system is named.
FONTS = "Arial, Helvetica, DejaVu Sans, Liberation Sans, Noto Sans, sans-serif"
KINDS = (".svg", ".png", ".csv")
RENDERER = "resvg_py"  # of the extra `png`
NO_PNG = "a PNG needs `pip install 'lora-studio[png]'`; .svg and .csv need nothing"
NO_FONT = "without words, as no font is installed (Debian: apt install fonts-dejavu-core)"
COLORS = ("#3367d6", "#c2410c", "#15803d", "#7e22ce", "#b45309", "#0e7490")


async def write_chart(screen: StudioScreen, chart: Chart, title: str, name: str) -> None:
    """Ask for a path, and write what the chart shows there."""
    if not any(len(line.series) for line in chart.lines):
        screen.say("there are no points to write yet")
        return
    path = await screen.app.push_screen_wait(
        AskText("write the chart as (.svg, .png or .csv)", f"{safe_name(name)}.svg", check=_doubt)
    )
    if not path:
        return
    file = at_home(path)
    try:
        kind = file.suffix.lower()
        if kind == ".csv":
            durable.write_file(file, to_csv(chart.lines))
        else:
            # Over the steps, whatever the axis on the screen is.
            window = chart.window if chart.axis == "step" else plot.whole(chart.lines, "step")
            svg = to_svg(chart.lines, window, title, percent=chart.percent, log=chart.log_scale)
            durable.write_file(file, to_png(svg) if kind == ".png" else svg)
    except (UserError, RunError, OSError) as error:
        screen.say_error(error)
    else:
        missing = f"; {NO_FONT}" if kind == ".png" and not has_font() else ""
        screen.say(safe_line(f"written: {file}", 300) + missing)


def _doubt(path: str) -> str | None:
    file = at_home(path)
    if file.suffix.lower() == ".png" and find_spec(RENDERER) is None:
        return NO_PNG
    wanted = "give the name of a file that ends in .svg, .png or .csv"
    return doubt_of_file(file, wanted) if file.suffix.lower() in KINDS else wanted


def to_png(svg: str) -> bytes:
    """A drawing in pixels, in the fonts of this machine.

    Raises:
        UserError: what draws it is not installed.
    """
    if find_spec(RENDERER) is None:
        raise UserError(NO_PNG)
    return bytes(import_module(RENDERER).svg_to_bytes(svg_string=svg, zoom=2))


def has_font() -> bool:
    """Whether this machine has a font for the words of a PNG, as a bare server may not."""

    def drawn(text: str) -> bytes:
        words = f'<text y="15" font-family="{FONTS}" font-size="12">{text}</text>'
        return to_png(f'<svg xmlns="{SVG}" width="20" height="20">{words}</svg>')

    return drawn("A") != drawn("")


def to_csv(lines: Sequence[Line]) -> str:
    """The points of the lines: a row each, with the line's label, step, seconds and value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("line", "step", "seconds", "value"))
    for line in lines:
        series = line.series
        for step, at, value in zip(series.steps, series.times, series.values, strict=True):
            seconds = f"{at:.3f}" if math.isfinite(at) else ""
            writer.writerow((line.label, f"{step:.15g}", seconds, repr(value)))
    return out.getvalue()


def to_svg(
    lines: Sequence[Line],
    window: Range,
    title: str,
    *,
    percent: bool = False,
    log: bool = False,
) -> str:
    """The stretch of the lines over their steps that lies in a window, with axes and a legend."""
    drawn = [plot.logged(line) for line in lines] if log else list(lines)
    y = plot.heights(drawn, "step", window)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(step: float, value: float) -> str:
        share = (step - window.low) / window.span, (value - y.low) / y.span
        return f"{LEFT + share[0] * across:.1f},{TOP + (1 - share[1]) * down:.1f}"

    parts = [
        f'<svg xmlns="{SVG}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONTS}" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(safe_line(title, 200))}</text>',
    ]
    ticks = plot.log_ticks(y, 6) if log else plot.ticks(y, 6)
    for value in ticks:
        level = place(window.low, value).partition(",")[2]
        number = 10**value if log else value
        label = f"{100 * number:.3g} %" if percent else f"{number:.4g}"
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level}" y2="{level}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{level}" text-anchor="end" dy="4">{label}</text>'
        )
    for value in plot.ticks(window, 8, least=1.0):
        at = place(value, y.low).partition(",")[0]
        low = HEIGHT - BOTTOM + 18
        label = f'<text x="{at}" y="{low}" text-anchor="middle">{value:,.0f}</text>'
        parts.append(label)
    middle = LEFT + across // 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    for number, line in enumerate(drawn):
        color = COLORS[number % len(COLORS)]
        start, end = plot.visible(line.series.steps, window)
        steps, values = line.series.steps[start:end], line.series.values[start:end]
        for points in _stretches(steps, values):
            if len(points) == 1:  # a line of one point would not be seen
                x, _, level = place(*points[0]).partition(",")
                parts.append(f'<circle cx="{x}" cy="{level}" r="2.5" fill="{color}"/>')
                continue
            corners = " ".join(place(*point) for point in points)
            parts.append(
                f'<polyline points="{corners}" fill="none" stroke="{color}" stroke-width="1.5"/>'
            )
        name = escape(safe_line(line.label, 40))
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{20 + 14 * number}" text-anchor="end" '
            f'fill="{color}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _stretches(steps: Sequence[float], values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The points between values that are not finite, where a line is broken as on the screen."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            stretches[-1].append((step, value))
        elif stretches[-1]:
            stretches.append([])
    return [points for points in stretches if points]
