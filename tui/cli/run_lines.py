"""The archive as lines of text or JSON, for `lora-studio runs`."""

import time
from dataclasses import asdict

from engine.errors import UserError
from engine.events import EVAL_WIN_RATE, WIN_RATE
from engine.json_number import whole
from engine.runs.archive import list_runs, name_to_open, open_run
from engine.runs.checkpoints import in_words
from engine.runs.folder import METRICS, Run
from engine.runs.json_lines import Record, to_json
from engine.runs.run_summary import RunSummary
from engine.settings.schema import changed
from tui.state.run_from_files import findings_in, suites_in
from tui.state.run_view import NOT_MEASURED
from tui.text.format import age, duration
from tui.text.safe_text import safe_line
from tui.text.suite_changes import table

COLUMNS = ("name", "status", "steps", "pairs", "loss", "win rate", "age")
RIGHT = ("steps", "pairs", "loss", "win rate", "age")
TIMES = ("seconds", "elapsed_seconds")  # up to a line of metrics, beside that of the whole run
TAIL = 20  # last lines of metrics that are read: a run of days has very many


def list_lines(*, json: bool) -> list[str]:
    """All runs, the newest first: a table, or an object a line."""
    summaries = list_runs()
    if json:
        return [to_json(_record(summary)) for summary in summaries]
    if not summaries:
        return ["no runs yet; `lora-studio train starter` makes the first"]
    return _table([COLUMNS, *map(_row, summaries)])


def run_lines(name: str, *, json: bool) -> list[str]:
    """One run: its state and health, its settings that differ from the defaults, its last
    metrics."""
    run = open_run(name)
    state = run.state()
    try:
        settings, notes = run.known_settings()
    except UserError as error:  # a run is shown without its config too
        settings, notes = None, [str(error)]
    # An evaluation may be further back than the lines that are read.
    metrics = {name: state[name] for name in (*WIN_RATE, *EVAL_WIN_RATE) if name in state}
    measured = state.get("win_rate_step")
    for record in run.last(METRICS, TAIL):
        metrics.update(record)
        rated = any(record.get(name) is not None for name in ("win_rate", "eval_win_rate"))
        measured = record.get("step") if rated else measured
    best = run.best()
    if json:
        values = settings.model_dump() if settings else None
        facts = {"path": str(run.path), "settings": values, "metrics": metrics}
        facts |= {} if measured is None else {"win_rate_step": measured}
        facts |= {"best": asdict(best)} if best else {}
        facts |= {"notes_on_settings": notes} if notes else {}
        return [to_json(state | facts)]
    facts = {
        "name": run.name,
        "folder": run.path,
        **{key: state[key] for key in ("status", "error", "created", "device") if state.get(key)},
        "step": _fraction(state.get("step"), state.get("total_steps")),
        "pairs": state.get("pairs"),
        "ended": state.get("ended") or None,
        "best": in_words(best) if best else None,
        "time": duration(state["seconds"]) if isinstance(state.get("seconds"), float) else None,
    }
    values = {key: value for key, (value, _) in changed(settings).items()} if settings else {}
    suites = table(suites_in(state))
    health = [each for finding in findings_in(state) for each in (finding.text, finding.advice)]
    return [
        *_pairs(facts),
        *(["", "health"] if health else []),
        *(f"  {safe_line(each)}" for each in health),
        *(["", "what it could do before, and now"] if suites else []),
        *(f"  {each}" for each in suites),
        "",
        "settings that differ from the defaults",
        *_pairs({f"  {key}": value for key, value in values.items()}),
        *(f"  note: {safe_line(note)}" for note in notes),
        "",
        "last metrics",
        *_pairs(
            {
                f"  {key}": value
                for key, value in _dated(metrics, measured, run).items()
                if key not in TIMES
            }
        ),
    ]


def _dated(metrics: Record, measured: object, run: Run) -> Record:
    """Metrics whose win rate is of an earlier step, or only of the start, with that said."""
    step = whole(run.state().get("step"))
    if measured is None or metrics.get("win_rate") is None or whole(measured) >= step:
        return metrics
    if whole(measured) > 0:
        return metrics | {"win_rate_step": measured}
    name = name_to_open(run.path)
    offer = f"{NOT_MEASURED}; `lora-studio resume {name}` goes on, and then `lora-studio runs "
    rest = {key: value for key, value in metrics.items() if key not in (*WIN_RATE, *EVAL_WIN_RATE)}
    return rest | {"win_rate": f"{offer}evaluate {name}` measures it"}


def _pairs(facts: dict[str, object]) -> list[str]:
    known = {key: value for key, value in facts.items() if value is not None}
    width = max((len(key) for key in known), default=0)
    return [f"{safe_line(key):<{width}}  {_value(value)}" for key, value in known.items()]


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else safe_line(str(value))


def _record(summary: RunSummary) -> dict[str, object]:
    facts = asdict(summary) | {"path": str(summary.path), "tags": list(summary.tags)}
    for key in ("created", "updated"):
        facts[key] = facts[key].isoformat() if facts[key] else None
    return facts


def _row(run: RunSummary) -> tuple[str, ...]:
    rates = [rate for rate in (run.win_rate, run.eval_win_rate) if rate is not None]
    win_rate = " · ".join(f"{rate:.0%}" for rate in rates) or "–"
    return (
        safe_line(run.name),
        safe_line((run.damaged and f"damaged: {run.damaged}") or run.doing),
        _fraction(run.step, run.total_steps) or "–",
        f"{run.pairs:,}" if run.pairs is not None else "–",
        f"{run.loss:.3f}" if run.loss is not None else "–",
        win_rate,
        age(time.time() - run.updated.timestamp()) if run.updated else "–",
    )


def _fraction(step: object, total: object) -> str | None:
    if step is None:
        return None
    return f"{step}/{total}" if total else f"{step}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as aligned columns, widths measured in cells."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(COLUMNS))]

    def cell(text: str, index: int) -> str:
        space = " " * (widths[index] - cell_len(text))
        return space + text if COLUMNS[index] in RIGHT else text + space

    return ["  ".join(cell(text, i) for i, text in enumerate(row)).rstrip() for row in rows]
