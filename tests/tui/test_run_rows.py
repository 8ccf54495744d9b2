"""The rows of the list of runs: order, filter, columns."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.runs.folder import METRICS
from engine.runs.run_summary import RunSummary, read_summary
from tests.tui.archive import make_run
from tui.archive.run_filter import matching, mistaken, needs_settings
from tui.archive.run_rows import (
    COLUMNS,
    TAIL,
    Glance,
    Order,
    about,
    column_at,
    columns,
    glance,
    header,
    row,
)

pytestmark = pytest.mark.quick


def run(name: str, **facts: Any) -> RunSummary:
    known = {"path": Path("/runs") / name, "status": "finished", **facts}
    return RunSummary(name=name, **known)


RUNS = [
    run("b", step=10, loss=0.5, updated=datetime(2026, 9, 1, tzinfo=UTC), tags=("keep",)),
    run("a", step=300, win_rate=0.587, updated=datetime(2026, 9, 3, tzinfo=UTC), model="org/Qwen"),
    run("c", step=None, loss=0.2, updated=None, status="failed", error="no space"),
]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (Order(), "abc"),
        (Order("age", flipped=True), "bac"),
        (Order("name"), "abc"),
        (Order("name", flipped=True), "cba"),
        (Order("steps"), "abc"),
        (Order("steps", flipped=True), "bac"),
        (Order("loss"), "cba"),
        (Order("loss", flipped=True), "bca"),
        (Order("tags"), "bac"),
        (Order("tags", flipped=True), "bac"),
        (Order("model"), "abc"),
    ],
)
def test_order(order: Order, names: str) -> None:
    assert "".join(each.name for each in order.sort(RUNS)) == names


def test_models_stand_in_the_order_of_what_the_column_shows() -> None:
    models = {"a": "zoo/Alpha", "b": "lab/beta", "c": "org/Gamma"}
    runs = [run(name, model=model) for name, model in models.items()]
    assert [each.name for each in Order("model").sort(runs)] == ["a", "b", "c"]


def test_a_run_that_loads_is_not_called_paused() -> None:
    assert " loading " in row(run("new", status="paused"), 80, Glance(), ()).plain
    assert " paused " in row(run("old", status="paused", total_steps=9), 80, Glance(), ()).plain


def test_every_column_can_be_sorted_by() -> None:
    order = Order()
    for _ in COLUMNS:
        assert sorted(each.name for each in order.sort(RUNS)) == ["a", "b", "c"]
        order = order.next()
    assert order == Order()


def test_filter_looks_into_name_model_status_and_tags() -> None:
    assert names("KEEP") == "b"
    assert names("qwen finished") == "a"
    assert names("qwen failed") == ""
    assert names(" ") == "bac"


SETTINGS = {
    "a": {"lora_parameters.rank": 8, "fuse": True, "lora_parameters.keys": ["q_proj", "v_proj"]},
    "b": {"lora_parameters.rank": 16, "fuse": False},
}


def names(text: str) -> str:
    values = lambda run: SETTINGS.get(run.name, {})  # noqa: E731
    return "".join(each.name for each in matching(RUNS, text, values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rank=8", "a"),
        ("rank>=8", "ba"),
        ("lora_parameters.rank<16", "a"),
        ("fuse=on", "a"),
        ("keys:q_", "a"),
        ("tag:ke", "b"),
        ("tag=ke", ""),
        ("status!=failed", "ba"),
        ("loss<0.3", "c"),
        ("loss<30%", "c"),
        ("win=59%", "a"),  # 0.587, as it is shown
        ("win!=59%", ""),
        ("win=58.7%", "a"),
        ("win=0.58", ""),
        ("loss>0.1 steps=10 keep", "b"),
        ("steps=x", ""),
        ("nothing=1", ""),  # no setting: a word like any other
        ("rank=", ""),
    ],
)
def test_conditions(text: str, expected: str) -> None:
    assert names(text) == expected


def test_only_settings_need_the_configs() -> None:
    assert needs_settings("rank=8")
    assert not needs_settings("rank win>0.6 tag:x")


def test_a_click_on_a_title_sorts_and_turns_round() -> None:
    line = header(100, Order()).plain
    assert column_at(line.index("loss"), 100) == "loss"
    assert column_at(line.index("steps") + 1, 100) == "steps"
    assert column_at(0, 100) is None
    order = Order().by("loss")
    assert order == Order("loss")
    assert order.by("loss") == Order("loss", flipped=True)


@pytest.mark.parametrize("width", [20, 80, 119, 120, 200, 300])
def test_rows_and_header_line_up(width: int) -> None:
    shown = Glance((0.7, float("nan"), 0.5))
    for each in RUNS:
        assert row(each, width, shown, []).cell_length == header(width, Order()).cell_length
    titles = [column.title for column, _ in columns(width)]
    assert ("model" in titles) == (width >= 120)


@pytest.mark.parametrize("width", [60, 70, 76, 77, 78, 79, 80, 119, 120])
def test_a_row_fits_and_its_age_is_never_cut(width: int) -> None:
    new = run("new", updated=datetime.now(UTC))
    line = row(new, width, Glance(), [])
    assert line.cell_length <= width
    assert " now " in line.plain


def test_a_win_rate_of_the_start_is_no_win_rate() -> None:
    early = run("early", step=47, win_rate=0.41, win_rate_low=0.31, win_rate_high=0.51)
    assert "41" not in row(early, 80, Glance(measured=0), []).plain
    assert "41 ±10 %" in row(early, 80, Glance(measured=40), []).plain


def test_an_interval_stays_however_long_ago_it_was_measured() -> None:
    long = make_run("long")
    long.append(METRICS, [{"step": 40 + step, "loss": 0.4} for step in range(1, 2 * TAIL)])
    summary = read_summary(long.path, is_link=False)
    assert glance(summary).measured is None
    assert " 71 ±6 % " in row(summary, 80, glance(summary), []).plain


def test_a_damaged_run_shows_its_reason() -> None:
    damaged = run("d", status="damaged", damaged="run.json holds no JSON object.")
    assert "holds no JSON" in row(damaged, 100, Glance(), []).plain
    assert "holds no JSON" in about(damaged).plain


def test_hostile_names_are_harmless_and_keep_the_columns() -> None:
    evil = run("\x1b]0;x\x07[bold]名前\u202e", model="\x1b[2J", tags=("\r",))
    for width in (80, 200):
        line = row(evil, width, Glance(), [evil.path])
        assert line.cell_length == header(width, Order()).cell_length
        assert not any(ord(char) < 32 for char in line.plain)
    assert not any(ord(char) < 32 for char in about(evil).plain.replace("\n", ""))


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    for name in ("starter-lora-online-dpo-20261122-181330", "名前" * 40):
        line = row(run(name), 80, Glance(), []).plain
        assert name[:4] in line
        assert name[-4:] in line
        assert "…" in line
        assert row(run(name), 80, Glance(), []).cell_length == header(80, Order()).cell_length


def test_a_glance_at_the_metrics() -> None:
    seen = glance(next(iter_summaries()))
    assert len(seen.losses) == 40
    assert seen.losses[0] > seen.losses[-1]
    assert seen.measured == 40


def iter_summaries() -> Any:
    from engine.runs.archive import list_runs

    make_run("a-run")
    yield from list_runs()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("words http://host rank=8 win>60% beta<=1e-1 tag:x", ""),
        (
            "learn_rate>0.5",
            "there is no column or setting learn_rate, the nearest is learning_rate",
        ),
        ("qqqq=1", "there is no column or setting qqqq"),
        ("win>high", "high is no number"),
    ],
)
def test_a_condition_that_no_run_can_hold_is_named(text: str, why: str) -> None:
    assert mistaken(text) == why
