"""Every screen as somebody sees it, and a world that stands still meanwhile: for the pictures that
the tests compare, and for those of the README."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from engine.data.completion import Answer
from engine.events import Example, Finding, Guarded, HealthChanged, RunEnded
from engine.machine import device, hub
from engine.plan import memory as plan_memory
from engine.publish.process import PublishListed, RepoFiles
from engine.runs import folder, queue
from engine.runs.folder import Run
from engine.runs.sweep import plan_sweep
from engine.settings.files import preset
from engine.try_it import SideBySideAnswers, SideBySideReady
from tests.tui import live
from tests.tui.archive import make_run
from tests.tui.person import PersonSession, human_settings, pair
from tests.tui.stage import shown, until, workers_done
from tests.tui.test_chat import Table, Talking
from tests.tui.test_judge_card import PAIRS, trial_pair
from tests.tui.test_judge_card import Table as JudgeTable
from tests.tui.test_publish import ADAPTER_FILES, Desk
from tests.tui.test_suite_changes import FEW, LOST
from tests.tui.test_try_it import Answering
from tests.tui.test_what_now import ended, with_adapters
from tui.app import StudioApp
from tui.archive.chat_screen import ChatScreen
from tui.archive.run_table_screen import TitleLine
from tui.archive.try_it_screen import TryItScreen
from tui.run.what_now import Ended, WhatNow
from tui.setup.data_pane import DataPane
from tui.shell.opening import OpeningScreen
from tui.state.run_view import RunView

NOW = live.START + 3_600
BASIL = (
    "Give it six hours of light, water when the top of the soil is dry, and pinch off the flowers.",
    "Basil is a herb. Water when the top of the soil is dry. It comes from India and has been "
    "grown for 5,000 years.",
    "How do I keep basil alive on a windowsill?",
)
Scene = Callable[[StudioApp, Pilot[Any]], Awaitable[None]]
SCENES: dict[str, Scene] = {}


def scene(prepare: Scene) -> Scene:
    """Have a picture taken of what `prepare` brings to the screen."""
    SCENES[prepare.__name__] = prepare
    return prepare


@scene
async def opening(app: StudioApp, pilot: Pilot[Any]) -> None:
    """The first frame, before the form has come."""
    await until(pilot, lambda: "needs" in shown(app))
    await app.push_screen(OpeningScreen())
    await until(pilot, lambda: "loading the form" in shown(app))


@scene
async def setup(app: StudioApp, pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: "needs" in shown(app))
    await until(pilot, lambda: not app.screen.query_one(DataPane).reading)


@scene
async def setup_all(app: StudioApp, pilot: Pilot[Any]) -> None:
    await setup(app, pilot)
    await pilot.press("a", "right_square_bracket")


@scene
async def setup_data(app: StudioApp, pilot: Pilot[Any]) -> None:
    await setup(app, pilot)
    await pilot.press("D")


@scene
async def setup_yaml(app: StudioApp, pilot: Pilot[Any]) -> None:
    await setup(app, pilot)
    await pilot.press("Y")
    await until(pilot, lambda: "model: starter" in shown(app))


@scene
async def palette(app: StudioApp, pilot: Pilot[Any]) -> None:
    await setup(app, pilot)
    await pilot.press("colon", *"judge")
    await until(pilot, lambda: "setting judge_system" in shown(app))


@scene
async def run(app: StudioApp, pilot: Pilot[Any]) -> None:
    session = live.LiveSession(live.a_run())
    live.attach(app, session)
    await pilot.press("f3")
    await until(pilot, lambda: not session.events and "of 26 GB" in shown(app))


@scene
async def run_failed(app: StudioApp, pilot: Pilot[Any]) -> None:
    await run(app, pilot)
    session = cast(live.LiveSession, app.session)
    session.alive = False
    error = "No space is left; free some."
    session.events.append(RunEnded(status="failed", step=40, error=error, time=NOW))
    await until(pilot, lambda: "free some" in shown(app))


@scene
async def health(app: StudioApp, pilot: Pilot[Any]) -> None:
    await run(app, pilot)
    findings = (
        Finding(
            "bad",
            "kl is 81 nats and rising",
            "The policy has left its reference behind; answers may please the judge and no one "
            "else.",
            "Raise beta, lower learning_rate, set max_kl, or stop here: step 20 is kept.",
            "kl",
        ),
        Finding(
            "warning",
            "40% of pairs are ties",
            "Nothing is learned from a tie.",
            "Make the rubric tell answers apart, or raise temperature.",
            "tie_rate",
        ),
    )
    session = cast(live.LiveSession, app.session)
    session.events += [
        Guarded(step=40, suites=(LOST, FEW)),
        HealthChanged(step=40, findings=findings),
    ]
    await until(pilot, lambda: "81 nats" in shown(app))
    await pilot.press("H")
    await until(pilot, lambda: "what it could do before" in shown(app))


@scene
async def question(app: StudioApp, pilot: Pilot[Any]) -> None:
    await run(app, pilot)
    await pilot.press("q")
    await until(pilot, lambda: "is still training" in shown(app))


@scene
async def chart(app: StudioApp, pilot: Pilot[Any]) -> None:
    await run(app, pilot)
    await pilot.press("c")


async def person(app: StudioApp, pilot: Pilot[Any], *pressed: str) -> None:
    session = PersonSession(human_settings(run_name="basil", self_check_every=0))
    app.control.session = session  # type: ignore[assignment]
    app.control.view = RunView("basil", settings=session.settings)
    session.submit(pair(1, 0, *BASIL), pair(1, 1), pair(2, 0))
    await pilot.press("f4")
    await until(pilot, lambda: "windowsill" in shown(app))
    for key in pressed:
        await pilot.press(key)
        await pilot.pause()


@scene
async def review(app: StudioApp, pilot: Pilot[Any]) -> None:
    await person(app, pilot)


@scene
async def review_four(app: StudioApp, pilot: Pilot[Any]) -> None:
    session = PersonSession(human_settings(run_name="basil", self_check_every=0, completions=4))
    app.control.session = session  # type: ignore[assignment]
    app.control.view = RunView("basil", settings=session.settings)
    others = (
        "Water it when the soil is dry, and give it light.",
        "Basil likes warmth. Put it on a windowsill that looks south, turn it every few days, and "
        "cut its tips before it flowers.",
    )
    answers = tuple(Answer(text, (5, *map(ord, text)), True) for text in others)
    session.submit(replace(pair(1, 0, *BASIL), others=answers), pair(2, 0))
    await pilot.press("f4")
    await until(pilot, lambda: "windowsill?" in shown(app) and "likes warmth" in shown(app))


@scene
async def review_before(app: StudioApp, pilot: Pilot[Any]) -> None:
    await person(app, pilot, "1")
    await until(pilot, lambda: "Answer one of 1.1." in shown(app))
    await pilot.press("h")


@scene
async def review_differences(app: StudioApp, pilot: Pilot[Any]) -> None:
    await person(app, pilot, "v", "d", "f", "n", "g", "o", "o", "d", "enter")


@scene
async def keys(app: StudioApp, pilot: Pilot[Any]) -> None:
    await person(app, pilot, "question_mark")


@scene
async def themes(app: StudioApp, pilot: Pilot[Any]) -> None:
    await person(app, pilot, "f8")


@scene
async def try_it(app: StudioApp, pilot: Pilot[Any]) -> None:
    run = make_run("polite")
    answering = Answering(run)
    await app.push_screen(TryItScreen(run, lambda run: answering))  # type: ignore[arg-type, return-value]
    await pilot.pause()
    answering.events.append(SideBySideReady("last step 40"))
    await pilot.press(*"why", "enter")
    answering.events.append(SideBySideAnswers(BASIL[2], BASIL[0], BASIL[1], True))
    await until(pilot, lambda: "Which is better" in shown(app))
    await pilot.press("1")
    await until(pilot, lambda: "✓" not in shown(app))


@scene
async def chat(app: StudioApp, pilot: Pilot[Any]) -> None:
    run = make_run("polite")
    await app.push_screen(ChatScreen(run, Talking))  # type: ignore[arg-type]
    table = Table(app, pilot, cast(ChatScreen, app.screen))
    await table.ready()
    await table.press("tab", "tab")
    await table.ask("What is basil?", "A herb with soft leaves.", "It is a herb. Basil is green.")
    await table.press("enter")
    await table.ask("How do I keep it alive?", *BASIL[:2])
    await until(pilot, lambda: "1 or 2 picks" in shown(app))


@scene
async def judge_card(app: StudioApp, pilot: Pilot[Any]) -> None:
    desk = JudgeTable(app, pilot)
    await desk.open()
    basil = trial_pair(0, first=BASIL[0], second=BASIL[1], prompt=BASIL[2])
    await desk.judge([*PAIRS[:6], basil, *PAIRS[7:]])
    await desk.press("L")
    await desk.agree(5)
    await desk.label("t")
    await desk.press("escape")
    await until(pilot, lambda: "heavy" not in str(app.screen.query_one("#left").styles.border_top))


@scene
async def judge_card_pair(app: StudioApp, pilot: Pilot[Any]) -> None:
    await judge_card(app, pilot)
    await pilot.press("L")


@scene
async def run_ended(app: StudioApp, pilot: Pilot[Any]) -> None:
    session = ended(with_adapters(make_run("polite")), examples=(Example(BASIL[2], *BASIL[1::-1]),))
    live.attach(app, session)
    await pilot.press("f3")
    await until(pilot, lambda: "kept in" in shown(app) and "of 26 GB" in shown(app))
    card = app.screen.query_one(WhatNow)
    assert card.ended
    commands = (
        "mlx_lm.generate --model owner/name --adapter-path polite/adapters --prompt 'Why?'",
        "mlx_lm.chat --model owner/name --adapter-path polite/adapters",
    )
    card.show(Ended(Path("runs/polite"), card.ended.examples, commands), card.keys)
    await until(pilot, lambda: "owner/name" in shown(app))


def archive() -> list[Run]:
    """Runs as somebody has them after a while."""
    quiet = preset("starter").model_copy(
        update={"beta": 0.05, "judge_system": "Shorter is better."}
    )
    return [
        make_run("polite"),
        make_run("polite-2", steps=60, seed=2, settings=quiet, status="stopped"),
        make_run("short-rubric", steps=4, status="failed", error="The disk is full."),
    ]


@scene
async def runs_list(app: StudioApp, pilot: Pilot[Any]) -> None:
    archive()
    await pilot.press("f5")
    await until(pilot, lambda: "short-rubric" in shown(app))
    titles, table = app.screen.query_one(TitleLine), app.screen.query_one("#table")
    await until(pilot, lambda: titles._columns_width == table.scrollable_content_region.width)


@scene
async def queue_of_runs(app: StudioApp, pilot: Pilot[Any]) -> None:
    quiet = preset("starter").model_dump(mode="json")
    grid = plan_sweep(quiet, "the test", ["beta=0.1,0.3,1.0"], "betas")
    for cell, rate, status in zip(grid.cells, (0.71, 0.64), ("finished", "stopped"), strict=False):
        run = make_run(cell.run, steps=80 if status == "finished" else 30, status=status)
        values = {"win_rate": rate, "win_rate_low": rate - 0.06, "win_rate_high": rate + 0.06}
        run.append(folder.METRICS, [{"step": 40, "split": "valid", **values}])
    queue.add_sweep(grid)
    queue.add_settings(preset("starter"))
    app.navigator.open_queue()
    await until(pilot, lambda: "1 of 4 done" in shown(app))


@scene
async def run_detail(app: StudioApp, pilot: Pilot[Any]) -> None:
    app.navigator.open_run_detail(str(archive()[0].path))
    await until(pilot, lambda: "grad norm" in shown(app) and "0.6" in shown(app))


@scene
async def run_detail_pairs(app: StudioApp, pilot: Pilot[Any]) -> None:
    await run_detail(app, pilot)
    await pilot.press("A")
    await until(pilot, lambda: "capital of France" in shown(app))


@scene
async def publish(app: StudioApp, pilot: Pilot[Any]) -> None:
    desk = Desk(app, pilot)
    await desk.open()
    await pilot.press("end", "up", "space")
    pairs = RepoFiles("dataset", (("README.md", 1_900), ("train.jsonl", 84_000)), "# polite")
    await desk.list(PublishListed("me/polite", (ADAPTER_FILES, pairs), ("dataset",)))
    await until(pilot, lambda: "nothing is sent yet" in shown(app))


@scene
async def compare(app: StudioApp, pilot: Pilot[Any]) -> None:
    from tui.archive.compare_screen import CompareScreen

    await app.push_screen(CompareScreen(archive()[:2]))
    await until(pilot, lambda: "finished, 40 steps" in shown(app))


@scene
async def guide(app: StudioApp, pilot: Pilot[Any]) -> None:
    await pilot.press("f1")
    await until(pilot, lambda: "loading the form" not in shown(app))


@scene
async def guide_metric(app: StudioApp, pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: "needs" in shown(app))
    app.navigator.open_guide("swap_consistency")
    await until(pilot, lambda: "Normal:" in shown(app))


@contextlib.contextmanager
def still() -> Iterator[None]:
    """A world in which nothing changes: not the time, not the machine, no blinking."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        patch.setattr(time, "time", lambda: NOW)
        patch.setattr(folder, "timestamp", lambda: "2026-09-21T13:00:00.000+00:00")
        patch.setattr(Run, "size", lambda run: 3_400_000)
        patch.setattr(hub, "hub_reachable", lambda *_: False)
        patch.setattr(device, "_processor_name", lambda: "a processor")
        patch.setattr(device, "memory", lambda: (24 << 30, 20 << 30))
        patch.setattr(plan_memory, "numpy_multiplies_by_mkl", lambda: True)
        patch.setattr(Input.cursor_blink, "_default", False)
        patch.setattr(TextArea.cursor_blink, "_default", False)
        yield
    time.tzset()


async def stands_still(pilot: Pilot[Any], draw: Callable[[], str]) -> str:
    """What `draw` gives once nothing moves any more, and no thread has news to bring."""
    before, now = None, ""
    while before != now:
        await workers_done(pilot.app)
        before = now
        await pilot.pause(0.3)
        now = draw()
    return now
