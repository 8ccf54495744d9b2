"""A metric as a card: its label, latest value with unit, and a sparkline."""

from textual.content import Content

from tui.run.metric_labels import Metric
from tui.state.run_view import RunView
from tui.widgets.sparkline import sparkline

LABEL = 11  # cells
VALUE = 7
IN_A_LINE = 2  # lines of a card that has its sparkline beside the value
SPACE = 3  # between two cards of several lines


def card(
    metric: Metric,
    view: RunView | None,
    width: int,
    height: int,
    focused: bool,
    label_width: int = LABEL,
) -> list[Content]:
    """The lines of a card. `label_width`: cells for the label, so that values stand in a column.

    In one line the sparkline follows the value, and a second one is empty; in more it stands
    below, and the last is empty.
    """
    series = view.series.get(metric.name) if view else None
    value, unit = reading(metric, view)
    label = Content.assemble(
        (metric.label, "$accent bold underline" if focused else "$muted"),
        " " * max(1, label_width - len(metric.label)),
    )
    spark_style = "$accent" if focused else "$muted"
    values = series.values if series else ()
    if height <= IN_A_LINE:
        gap = "  " if width > 30 else " "
        figure = Content.assemble((f"{value:>{VALUE}}", "$foreground"), (f" {unit:<5}", "$muted"))
        room = width - label_width - figure.cell_length - 1
        spark = sparkline(values, room, least=metric.least_span)[0]
        line = _fill(Content.assemble(label, figure, " ", (spark, spark_style)), width, gap)
        return [line, Content(" " * width)][:height]
    figure = Content.assemble((value, "$foreground bold"), (f" {unit}" if unit else "", "$muted"))
    lines = [_fill(Content.assemble(label, figure), width)]
    lines += [
        _fill(Content.styled(row, spark_style), width)
        for row in sparkline(values, width - SPACE, height - 2, metric.least_span)
    ]
    return [*lines, Content(" " * width)]


def reading(metric: Metric, view: RunView | None) -> tuple[str, str]:
    """The latest value of a metric and its unit, as text."""
    value = view.latest(metric.name) if view else None
    if value is None:
        return "–", ""
    if metric.name in ("win_rate", "eval_win_rate") and view:
        low, high = view.latest(f"{metric.name}_low"), view.latest(f"{metric.name}_high")
        rate = f"{100 * value:.0f}"
        evaluator = view.latest("eval_win_rate")
        if metric.name == "win_rate" and evaluator is not None:  # its chart has the intervals
            return f"{rate} · {100 * evaluator:.0f}", metric.unit
        if low is not None and high is not None:
            rate += f" ±{50 * (high - low):.0f}"
        return rate, metric.unit
    return metric.show(value), metric.unit


def _fill(line: Content, width: int, gap: str = "") -> Content:
    line = line.truncate(max(0, width - len(gap)))
    return line + Content(" " * max(0, width - line.cell_length))
