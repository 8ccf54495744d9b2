"""The rows of a comparison of runs: settings that differ, the guard, and the last numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from engine.errors import UserError
from engine.events import EVAL_WIN_RATE, WIN_RATE
from engine.runs.archive import Run
from engine.settings.schema import Settings, fields, value
from tui.archive.run_rows import middle_out
from tui.run.metric_labels import CARDS, Metric
from tui.state.run_view import RunView
from tui.text.format import duration
from tui.text.safe_text import safe_line
from tui.text.setting_value import show
from tui.text.suite_changes import change_in_words, kept
from tui.text.win_rates import EVALUATOR, win_rates

NAME = 24  # cells of a run's name in a sentence about several, and at least in the head


class Row(NamedTuple):
    """A setting or a figure, and its value in each run: what a column has room for, and, where that
    leaves something out, the whole."""

    key: str
    values: tuple[str, ...]
    whole: tuple[str, ...] = ()


def settings_of(runs: Sequence[Run]) -> tuple[list[Settings | None], str]:
    """The settings of each run, None where they cannot be read, and why the first of these cannot
    be; empty where all can."""
    settings: list[Settings | None] = []
    why_not = ""
    for run in runs:
        try:
            settings.append(run.known_settings()[0])
        except (UserError, OSError) as error:
            settings.append(None)
            name = middle_out(safe_line(run.name), NAME)
            why_not = why_not or safe_line(f"the settings of {name} are unknown: {error}", 400)
    return settings, why_not


def differences(settings: Sequence[Settings | None]) -> list[Row]:
    """The settings, other than the name, that are not the same in all of the runs whose settings
    are known; None stands for those of another."""
    different: list[Row] = []
    known = [each for each in settings if each]
    for field in fields():
        values = [value(each, field.key) for each in known]
        if field.key != "run_name" and any(each != values[0] for each in values):
            shown = (show(value(each, field.key)) if each else "unknown" for each in settings)
            different.append(Row(field.key, tuple(shown)))
    return different


def last_rows(views: Sequence[RunView]) -> list[Row]:
    """What the runs took, and the metrics that any of them has, with their last values; a win rate
    is that of the list of runs, with its interval."""
    rows: list[Row] = []
    times = [view.elapsed() for view in views]
    if any(times):
        rows.append(Row("time", tuple("–" if each is None else duration(each) for each in times)))
    for each in CARDS:
        values = tuple(_last(view, each) for view in views)
        if any(values):
            rows.append(Row(each.label, tuple(value or "–" for value in values)))
    return rows


def _last(view: RunView, metric: Metric) -> str:
    """The last value of a metric with its unit; a win rate of the start alone is none."""
    if metric.name in (WIN_RATE[0], EVAL_WIN_RATE[0]):
        if view.only_start_measured:
            return ""
        rates = win_rates(view.evaluation) if view.evaluation else []
        for rate in rates:
            if (rate.who == EVALUATOR) == (metric.name == EVAL_WIN_RATE[0]):
                return rate.percent
    value = view.latest(metric.name)
    return "" if value is None else f"{metric.show(value)} {metric.unit}".strip()


def suite_rows(views: Sequence[RunView]) -> list[Row]:
    """The guard's suites that any of the runs has, and what each run kept, gained and lost."""
    changes = [{each.suite: each for each in view.suites} for view in views]
    names = dict.fromkeys(name for each in changes for name in each)
    rows: list[Row] = []
    for name in names:
        own = [each.get(name) for each in changes]
        short = tuple(kept(each) if each else "not measured" for each in own)
        whole = tuple(change_in_words(each) if each else "not measured" for each in own)
        rows.append(Row(f"guard: {name}", short, whole))
    return rows
