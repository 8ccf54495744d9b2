"""The learning curves of a run as one picture in SVG, which the hub shows in a card."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.json_number import finite
from engine.runs.folder import METRICS, Run

PICTURE = "learning_curves.svg"
WIDTH, HEIGHT, GAP, TOP = 300, 150, 48, 26  # of one panel, in pixels
# Metric, title, and the metrics of its interval.
PANELS = (
    ("win_rate", "held-out win rate", ("win_rate_low", "win_rate_high")),
    ("loss", "loss", None),
    ("margin", "margin", None),
    ("kl", "kl, nats", None),
)
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line, and the band of its interval where it has one."""

    title: str
    line: list[Point]
    low: list[Point]
    high: list[Point]


def curves(run: Run) -> str | None:
    """The picture; None where nothing was measured twice."""
    records = [each for each in run.read(METRICS) if each.get("split") in (None, "valid")]

    def points(name: str) -> list[Point]:
        values = ((finite(each.get("step")), finite(each.get(name))) for each in records)
        return [(step, value) for step, value in values if step is not None and value is not None]

    drawn = [
        Curve(title, line, *(map(points, bounds) if bounds else ([], [])))
        for name, title, bounds in PANELS
        if len(line := points(name)) > 1
    ]
    return _picture(drawn) if drawn else None


def _picture(drawn: Sequence[Curve]) -> str:
    columns = min(2, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    width, height = columns * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP + TOP) + GAP // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#444">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, curve in enumerate(drawn):
        left = GAP + index % columns * (WIDTH + GAP)
        top = TOP + index // columns * (HEIGHT + GAP + TOP)
        parts.append(f'<g transform="translate({left},{top})">{_panel(curve)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(curve: Curve) -> str:
    everything = [*curve.line, *curve.low, *curve.high]
    (left, right), (low, high) = (
        _range([point[axis] for point in everything]) for axis in range(2)
    )

    def place(point: Point) -> str:
        x = (point[0] - left) / (right - left) * WIDTH
        y = HEIGHT - (point[1] - low) / (high - low) * HEIGHT
        return f"{x:.1f},{y:.1f}"

    band = " ".join(map(place, [*curve.low, *reversed(curve.high)]))
    line = " ".join(map(place, curve.line))
    last = curve.line[-1][1]
    return "".join(
        [
            f'<text x="0" y="-8" font-size="13" fill="#000">{html.escape(curve.title)}</text>',
            f'<text x="{WIDTH}" y="-8" text-anchor="end">{last:.3g} at the end</text>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
            f'<polygon points="{band}" fill="#1f77b4" opacity="0.18"/>' if curve.low else "",
            f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="2"/>',
            f'<text x="-6" y="10" text-anchor="end">{high:.3g}</text>',
            f'<text x="-6" y="{HEIGHT}" text-anchor="end">{low:.3g}</text>',
            f'<text x="0" y="{HEIGHT + 16}">{left:,.0f}</text>',
            f'<text x="{WIDTH}" y="{HEIGHT + 16}" text-anchor="end">step {right:,.0f}</text>',
        ]
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
