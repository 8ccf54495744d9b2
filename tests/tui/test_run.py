"""The run screen and its chart: what they show at both sizes, and every key."""

import math
from dataclasses import replace
from typing import cast

import pytest
from textual.pilot import Pilot

from engine.events import (
    Finding,
    HealthChanged,
    Log,
    PairSampled,
    Progress,
    Report,
    RunEnded,
    RunStatus,
)
from engine.settings.files import preset
from tests.tui.archive import make_run
from tests.tui.live import LiveSession, a_run, attach, evaluated, judged, started, steps
from tests.tui.stage import COMPACT, STANDARD, Scene, play, said, shown, until
from tui.app import StudioApp
from tui.run import screen
from tui.run.card_grid import CardGrid
from tui.run.chart_screen import ChartScreen
from tui.run.header import RunHeader
from tui.run.health_screen import HealthOverlay
from tui.run.metric_chart import MetricChart
from tui.run.metric_labels import CARDS
from tui.run.pair_list import PairList
from tui.run.screen import RunScreen
from tui.shell.ask import AskChoice
from tui.widgets.chart import Chart
from tui.widgets.key_line import KeyLine


def watch(
    scene: Scene, session: LiveSession | None = None, size: tuple[int, int] = COMPACT
) -> None:
    """Play a scene on the run screen of a live run."""

    async def on_run(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, session or LiveSession(a_run()))
        await pilot.press("f3")
        await drawn(app, pilot)
        await scene(app, pilot)

    play(on_run, size)


async def drawn(app: StudioApp, pilot: Pilot[int]) -> None:
    """Until what the run has said so far is on its screen, part by part."""
    session, run = cast(LiveSession, app.session), cast(RunScreen, app.screen)
    await until(pilot, lambda: not session.events and not run._due)


def asked(app: StudioApp) -> list[str]:
    return app.session.asked  # type: ignore[union-attr]


def test_a_long_update_says_how_far_it_is() -> None:
    far = Progress(phase="updating", step=3, done=0, total=1, unit="pairs", share=0.43)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "updating 0 of 1 pairs · 43%  ━━━━━" in shown(app))

    watch(scene, LiveSession([Progress(phase="loading", step=0), far]))


@pytest.mark.parametrize(
    "size", [COMPACT, STANDARD, (60, 16), (120, 24), (80, 36), (110, 42), (80, 50)]
)
def test_everything_is_in_sight(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        wanted = ["polite", "step 40 / 100", "40%", "judging 3 of 8 pairs", "66 ±6", "? keys"]
        wanted += ["step 40  loss", "health: steady", *(card.label for card in CARDS)]
        if size != (60, 16):
            wanted += ["How do I keep basil alive?", "Basil is a herb"]
        for words in wanted:  # each part is drawn in its own time
            await until(pilot, lambda words=words: words in shown(app))
        assert max(len(line) for line in shown(app).split("\n")) <= size[0]

    watch(scene, size=size)


def test_pause_and_go_on() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("p")
        await until(pilot, lambda: "paused" in shown(app))
        await pilot.press("p")
        await until(pilot, lambda: "sampling" in shown(app))
        assert asked(app) == ["pause", "unpause"]

    watch(scene)


class SlowSession(LiveSession):
    """A session whose loop has not come to tell of what was asked of it."""

    def pause(self) -> None:
        self.asked.append("pause")

    def unpause(self) -> None:
        self.asked.append("unpause")


def test_p_does_what_the_footer_says_before_the_run_has_answered() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "p pause" in shown(app)
        await pilot.press("p", "p")
        assert asked(app) == ["pause", "unpause"]
        await pilot.press("p", "p", "p")
        assert asked(app) == ["pause", "unpause"] * 2 + ["pause"]
        app.screen.query_one(KeyLine).clear()
        await pilot.pause()
        assert "p go on" in shown(app)

    watch(scene, SlowSession(a_run()))


def test_what_is_asked_of_a_paused_run_comes_once_it_goes_on() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("p", "e")
        assert said(app) == "the win rate is measured once the run goes on: p"
        await pilot.press("w")
        assert said(app) == "a checkpoint is written once the run goes on: p"

    watch(scene, SlowSession(a_run()))


def test_a_run_that_stops_is_not_stopped_again() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("s", "s")
        assert len(app.screen_stack) == 2  # one question
        await pilot.press("enter", "s", "p")
        assert asked(app) == ["stop"]
        assert said(app) == "the run is stopping already"
        for key in ("e", "w"):  # between two steps it would hear of it no more
            app.screen.query_one(KeyLine).clear()
            await pilot.press(key)
            assert said(app) == "the run is stopping already"
        assert asked(app) == ["stop"]
        app.screen.query_one(KeyLine).clear()
        await pilot.pause()
        for offer in ("s stop", "e evaluate"):
            assert offer not in shown(app)

    watch(scene)


def test_stop_asks_first() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("s", "escape")
        assert asked(app) == []
        await pilot.press("s")
        assert isinstance(app.screen, AskChoice)
        await pilot.press("enter")
        assert asked(app) == ["stop"]
        assert isinstance(app.session, LiveSession)
        assert app.session.stopped_by == "the person"
        await until(
            pilot,
            lambda: "stopping with a checkpoint; a step" in shown(app),
        )

    watch(scene)


def test_a_stop_that_came_from_elsewhere_is_shown() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert isinstance(app.session, LiveSession)
        app.session.stop()
        app.session.events.append(Log(level="info", text="another process asked to stop"))
        await until(
            pilot,
            lambda: "stopping with a checkpoint; a step" in shown(app),
        )

    watch(scene)


def test_evaluate_and_save_are_asked_for_once_each() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("e")
        assert "after the current step" in said(app)
        await pilot.press("w")
        assert asked(app) == ["evaluate", "save"]

    watch(scene)


def test_a_person_is_not_asked_for_an_evaluation() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("e")
        assert "a person judges this run" in said(app)
        assert asked(app) == []
        await pilot.press("L")
        assert app.current_mode == "review"

    watch(scene, LiveSession(a_run(), preset("starter-human")))


def test_what_a_run_that_is_going_does_not_offer() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for key in ("B", "O", "L", "r"):
            await pilot.press(key)
            assert said(app) == "the run is still going"
        assert isinstance(app.screen, RunScreen)  # whose list of keys gives the reason, too
        assert app.screen.why_not("go_on_and_evaluate") == "the run is still going"

    watch(scene)


def test_after_the_end_the_next_steps_are_offered() -> None:
    session = LiveSession([*a_run(), evaluated(100, 0.91)])
    session.end("finished")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        text = shown(app)
        assert "Finished. Its answers beat those of the model it started from 91 ±6 %" in text
        for words in ("B try it", "i details", "O real model", "L label by hand"):
            assert words in text
        await pilot.press("p")
        assert said(app) == "the run is over: it finished"
        await pilot.press("L")
        assert app.current_mode == "setup"
        await until(pilot, lambda: "the preset starter-human" in shown(app))
        await pilot.press("f3", "O")
        await until(pilot, lambda: "the preset Qwen3-0.6B" in shown(app))

    watch(scene, session)


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_a_win_rate_of_the_start_is_not_the_end_s(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured at step 0 it is that of the model against itself."""
    resumed: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        StudioApp,
        "resume_run",
        lambda self, run, *, evaluate=False: resumed.append((run.name, evaluate)),
    )
    session = LiveSession([started(), evaluated(0, 0.41), *steps("loss", [0.5] * 47)])
    session.run = make_run("early", status="stopped")
    session.end("stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        text = " ".join(shown(app).split())
        assert "Its win rate was not measured since step 0 · e goes on and measures it." in text
        assert "e go on and evaluate" in text
        assert "Its answers" not in text
        await pilot.press("e")
        assert resumed == [("early", True)]

    watch(scene, session, size)


def test_a_win_rate_of_an_earlier_step_says_so() -> None:
    session = LiveSession([started(), evaluated(40, 0.91), *steps("loss", [0.5] * 47)])
    session.end("stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        words = "Its answers at step 40 beat those of the model it started from"
        assert words in " ".join(shown(app).split())

    watch(scene, session)


def test_a_run_that_learned_nothing_is_no_success() -> None:
    session = LiveSession([*a_run(), evaluated(100, 0.5)])
    session.end("untrained", "none of 24 pairs could be learned from: 24 tied. Change the rubric.")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        text = shown(app)
        words = "Nothing was learned (o its settings in the form): none of 24 pairs could be "
        assert f"{words}learned from: 24 tied." in " ".join(text.split())
        assert text.splitlines()[2] == " untrained at step 40"
        assert "steady" not in text
        assert "Finished" not in text
        assert "Its answers beat" not in text
        await pilot.press("p")
        assert said(app) == "the run is over: it learned from no pair"

    watch(scene, session)


def test_a_run_that_stopped_by_itself_says_why() -> None:
    session = LiveSession(a_run())
    session.end("stopped", "stopped with a checkpoint: 9.1 GB are in use")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "stopped with a checkpoint: 9.1 GB are in use" in shown(app)
        assert "Its answers beat" not in shown(app)

    watch(scene, session)


def test_a_run_that_could_not_begin_has_nothing_to_look_at() -> None:
    session = LiveSession()
    session.end("failed", "data names /nowhere, which is not there.")
    session.has_folder = False

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert shown(app).splitlines()[2] == " failed at step 0"
        words = "(l opens the log, o the form at data): data names /nowhere, which is not there."
        assert f"It failed {words}" in " ".join(shown(app).split())
        assert "steady" not in shown(app)
        for key in ("i", "B"):
            await pilot.press(key)
            assert said(app) == "nothing was trained, so no run was kept"
        assert isinstance(app.screen, RunScreen)

    watch(scene, session)


@pytest.mark.parametrize("status", ["failed", "untrained"])
def test_the_ways_on_are_in_sight_however_long_the_reason_is(status: RunStatus) -> None:
    session = LiveSession(a_run())
    session.end(status, "why " * 150)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        text = " ".join(shown(app).split())
        assert "o its settings in the form): why why" in text
        assert ("(l opens the log, " in text) is (status == "failed")

    watch(scene, session)


def test_a_failed_run_says_why_and_the_app_stays() -> None:
    session = LiveSession(a_run())
    session.end("failed", "the model [b]x[/b] is not there: \x1b[31mgive its folder")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        text = shown(app)
        words = ": the model [b]x[/b] is not there: ␛[31mgive its folder"
        assert words in " ".join(text.split())
        await pilot.press("l")
        assert "✗ the model [b]x[/b]" in shown(app)

    watch(scene, session)


def test_cards_open_as_charts() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        grid = app.screen.query_one(CardGrid)
        await pilot.press("up", "left")  # nowhere to go
        assert grid.metric.name == "loss"
        await pilot.press("right", "down", "down", "left", "right")
        assert grid.metric.name == "completion_tokens"
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ChartScreen)
        assert "length" in shown(app)
        await pilot.press("escape", "home", "c")
        assert app.screen.metric.name == "completion_tokens"  # type: ignore[attr-defined]
        app.navigator.open_run_detail(str(make_run("earlier").path))
        await pilot.press("f2")
        app.control.start = lambda settings: None  # type: ignore[method-assign]
        app.start_run(preset("starter"))
        await until(pilot, lambda: isinstance(app.screen, RunScreen))  # no look at one before it

    watch(scene)


def test_the_pair_and_the_log_can_have_all_the_room() -> None:
    long = judged("Why?\nReally?", "word " * 120 + "END", "no")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "END" not in shown(app)
        await pilot.press("A")
        await pilot.pause()
        assert "END" in shown(app)
        assert "Really?" in shown(app)
        assert "accuracy" not in shown(app)
        await pilot.press("l")
        await pilot.pause()
        assert "END" not in shown(app)
        assert shown(app).count("step ") > 4
        await pilot.press("escape")
        await pilot.pause()
        assert "accuracy" in shown(app)

    watch(scene, LiveSession([*a_run(), long]))


def test_health_is_explained() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "80% of pairs are ties" in shown(app))
        await pilot.press("H")
        assert isinstance(app.screen, HealthOverlay)
        assert "Raise temperature" in shown(app)
        await pilot.press("escape")

    advice = "Raise temperature or use a stronger judge."
    finding = Finding("warning", "80% of pairs are ties", "Slow.", advice, "tie_rate")
    watch(scene, LiveSession([started(), HealthChanged(step=20, findings=(finding,))]))


def test_a_steady_run_says_what_that_means() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("H")
        await pilot.pause()
        assert "Nothing unusual" in shown(app)
        await pilot.press("H")
        assert isinstance(app.screen, RunScreen)

    watch(scene)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, 0.0, 1e-300])
def test_no_value_breaks_the_screen(value: float) -> None:
    metrics = {card.name: value for card in CARDS} | {"win_rate_low": value, "win_rate_high": value}
    events = [started(total=3)]
    for step in (1, 2, 3):
        events.append(Report(step=step, metrics=metrics))  # type: ignore[arg-type]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "loss" in shown(app)
        await pilot.press("c")
        for key in ("S", "S", "plus", "minus", "left", "x"):
            await pilot.press(key)
        await pilot.pause()
        assert "loss" in shown(app)

    watch(scene, LiveSession(events))


def test_hostile_text_is_shown_harmlessly() -> None:
    evil = "\x1b]52;c;eA==\x07\u202e[red]x[/] " * 3
    events = [
        started(),
        *steps(evil, [0.5]),  # a metric of that name
        judged(evil, evil, evil),
        Log(level="info", text=evil),
        Progress(phase="sampling", step=1, done=1, total=2, unit=evil),
        RunEnded(status="failed", step=1, error=evil),
    ]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for key in ("A", "l", "escape", "c", "n"):
            text = shown(app)
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
            await pilot.press(key)
            await pilot.pause()
        text = shown(app)
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "[red]x[/]" in text

    watch(scene, LiveSession(events), STANDARD)  # which lists the last pairs too


def test_a_flood_of_events_is_taken_in() -> None:
    flood = [event for _ in range(20) for event in a_run(steps=100)[1:]]

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.session.events.extend(flood)  # type: ignore[union-attr]
        await until(pilot, lambda: not app.session.events)  # type: ignore[union-attr]
        await pilot.press("c")
        assert isinstance(app.screen, ChartScreen)

    watch(scene)


def test_a_run_is_seen_to_go_on_while_a_theme_is_chosen() -> None:
    session = LiveSession(a_run(40))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "step 40 / 100" in shown(app)
        await pilot.press("f8", "j")
        session.events += [each for each in a_run(41) if getattr(each, "step", 0) == 41]
        await until(pilot, lambda: "step 41 / 100" in shown(app))
        await pilot.press("escape")
        assert isinstance(app.screen, RunScreen)

    watch(scene, session)


def test_too_small_a_terminal_gets_one_line() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        grid = app.screen.query_one(CardGrid)
        assert grid.has_focus
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: "enlarge" in shown(app))
        assert "loss" not in shown(app)
        await pilot.resize_terminal(30, 6)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "loss" in shown(app))
        await until(pilot, lambda: grid.has_focus)

    watch(scene)


# -- the chart -----------------------------------------------------------------------------------


def chart(app: StudioApp) -> Chart:
    return app.screen.query_one(Chart)


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_the_cursor_reads_points(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("c")
        await pilot.pause()
        assert "step 40 · 5 min" in shown(app)
        await pilot.press("left")
        assert "step 39" in shown(app)
        await pilot.press("shift+left", "right")
        assert "step 30" in shown(app)
        await pilot.press("home")
        assert "step 1 " in shown(app)
        await pilot.press("shift+right", "shift+right", "end")
        assert "step 40" in shown(app)

    watch(scene, size=size)


def test_zoom_smoothing_and_axes() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("c")
        await pilot.pause()
        whole = chart(app).window
        await pilot.press("minus")
        assert said(app) == "all points are in sight"
        await pilot.press("plus")
        assert chart(app).window.span == pytest.approx(whole.span / 2)
        assert chart(app).window.high == whole.high
        await pilot.press("home")
        assert chart(app).window.low == whole.low
        for _ in range(8):
            await pilot.press("up")
        assert said(app) == "there are too few points to zoom in further"
        await pilot.press("z")
        assert chart(app).window == whole
        await pilot.press("S")
        assert "light smoothing" in shown(app)
        assert "smoothed)" in shown(app)
        await pilot.press("S", "S")
        assert "smoothing" not in shown(app)
        await pilot.press("x")
        assert chart(app).axis == "time"
        assert "min" in shown(app).split("\n")[-2]

    watch(scene)


def test_the_chart_goes_through_all_metrics_and_stays_live() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("c", "n")
        await pilot.pause()
        assert "win rate" in shown(app)
        await pilot.press("N", "N")
        assert app.screen.metric.name not in ("loss", "win_rate")  # type: ignore[attr-defined]
        await pilot.press("n")
        app.session.events.extend(steps("loss", [0.5] * 41)[-1:])  # type: ignore[union-attr]
        await until(pilot, lambda: "step 41" in shown(app))

    watch(scene)


def test_points_without_times_have_no_time_axis() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.view.add_metrics(1, {"loss": 1.0})  # type: ignore[union-attr]
        await pilot.press("c", "x")
        assert said(app) == "not all points of this run know their time"
        await pilot.press("right")
        await until(pilot, lambda: said(app) == "the cursor is on the newest point")
        for step in range(12):
            app.view.add_metrics(step, {"margin": 1.0, "loss": 1.0}, step)  # type: ignore[union-attr]
        app.view.add_metrics(0, {"win_rate": 0.5})  # type: ignore[union-attr]
        for step in range(2, 12):
            app.view.add_metrics(step, {"win_rate": 0.5}, step)  # type: ignore[union-attr]
        await pilot.press("n", "n", "x", "N", "shift+left", "shift+left", "plus")
        assert app.screen.query_one(Chart).axis == "step"
        assert "win rate" in shown(app)

    watch(scene, LiveSession([Progress(phase="loading", step=0)]))


def test_a_chart_of_100000_points_answers() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for step in range(100_000):
            app.view.add_metrics(step, {"loss": math.sin(step / 1000)}, float(step))  # type: ignore[union-attr]
        await pilot.press("c", "S", "left", "plus")
        await pilot.pause()
        assert "step 98," in shown(app)

    watch(scene, LiveSession([Progress(phase="loading", step=0)]))


def test_keys_at_an_end_say_so() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for key in ("left", "up"):
            await pilot.press(key)
            assert said(app) == "there is no card there"
        await pilot.press("escape")
        assert "all parts are in sight" in said(app)
        await pilot.press("c")
        for key, reason in {
            "right": "the cursor is on the newest point",
            "end": "the cursor is on the newest point",
            "z": "all points are in sight",
        }.items():
            await pilot.press(key)
            await until(pilot, lambda reason=reason: said(app) == reason)
        await pilot.press("home", "left")
        await until(pilot, lambda: said(app) == "the cursor is on the first point")

    watch(scene)


def test_where_there_is_no_run_nothing_is_said_of_one() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f3")
        await until(pilot, lambda: "no run yet" in shown(app))
        await until(pilot, lambda: "no pair was judged yet" in shown(app))
        assert "the first pair comes" not in shown(app)
        assert "steady" not in shown(app)

    play(scene)


def test_a_long_name_leaves_the_other_lines_of_the_head_theirs() -> None:
    named = replace(started(), name="a-long-name-" * 20)
    phase = Progress(phase="judging", step=0, done=3, total=8, unit="pairs")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "judging 3 of 8 pairs" in shown(app))
        assert shown(app).splitlines()[0].endswith("…  step 0 / 100")

    watch(scene, LiveSession([named, phase]))


def test_a_pair_that_waits_for_a_person_is_announced() -> None:
    session = LiveSession([started()], preset("starter-human"))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "the first pair comes" in shown(app)
        session.pairs = [cast(PairSampled, object())]
        session.events.append(Progress(phase="waiting", step=0))
        await until(pilot, lambda: "a pair waits for you: L shows it" in shown(app))

    watch(scene, session)


def test_what_a_run_tells_while_the_app_closes_is_not_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The screen's parts go one after the other, and a tick may come between two of them."""
    session = LiveSession(a_run())

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await app.screen.query_one(RunHeader).remove()
        with monkeypatch.context() as closing:
            closing.setattr(StudioApp, "is_running", False)
            session.events += steps("loss", [0.5])
            app.drain()
        assert not session.events

    watch(scene, session)


def test_a_large_terminal_has_the_chart_of_the_card_under_the_cursor() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        chart = app.screen.query_one(MetricChart)
        await until(pilot, lambda: CARDS[0].meaning in shown(app))
        await pilot.press("down")
        await until(pilot, lambda: CARDS[1].meaning in shown(app))
        assert chart.size.width > 40
        assert not chart.query_one(Chart).has_focus
        await pilot.press("l")
        await until(pilot, lambda: CARDS[1].meaning not in shown(app))

    watch(scene, size=STANDARD)


@pytest.mark.parametrize("size", [COMPACT, (120, 40)])
def test_there_is_no_such_chart_where_it_has_no_room(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert not app.screen.query_one(MetricChart).display
        assert not app.screen.query_one(PairList).display
        cast(LiveSession, app.session).end("finished")  # so that nothing draws anew by itself
        await until(pilot, lambda: "Finished" in shown(app))
        await pilot.resize_terminal(*STANDARD)
        await until(pilot, lambda: CARDS[0].meaning in shown(app))

    watch(scene, size=size)


def test_the_last_pairs_are_listed_and_one_of_them_is_shown() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = cast(LiveSession, app.session)
        session.events += [judged(f"Question {n}?", first=f"Answer {n}.") for n in range(5)]
        await until(pilot, lambda: "Answer 4." in shown(app))
        pairs = app.screen.query_one(PairList)
        assert [each.prompt for each in pairs.rows][:2] == ["Question 4?", "Question 3?"]
        await pilot.press("A", "down", "down")
        await until(pilot, lambda: "Answer 2." in shown(app))
        session.events.append(judged("One more?", first="Another."))
        await until(pilot, lambda: "One more?" in shown(app))
        assert "Answer 2." in shown(app)  # the cursor stays with its pair
        await pilot.press("A")
        cards = app.screen.query_one(CardGrid)
        await until(pilot, lambda: not cards.display)  # list and pair have all the room
        assert "Answer 2." in shown(app)
        await pilot.press("A")
        await until(pilot, lambda: cards.display and cards.has_focus)

    watch(scene, size=STANDARD)


def test_a_report_is_a_line_of_the_log() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = cast(LiveSession, app.session)
        metrics = {"loss": 0.5, "margin": 1.25, "speed": 3.0}
        session.events.append(Report(time=0.0, step=1_050, metrics=metrics))
        await until(pilot, lambda: "step 1,050  loss 0.500  margin 1.25" in shown(app))

    watch(scene, size=STANDARD)


def test_what_is_new_is_drawn_a_part_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    session = LiveSession(a_run(3))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f2", "f3")
        await until(pilot, lambda: "How do I keep basil alive?" in shown(app))
        await until(pilot, lambda: "step 3" in shown(app))
        await drawn(app, pilot)
        monkeypatch.setattr(screen, "NEXT_PART", 1_000.0)
        session.events = [*steps("loss", [0.6] * 4)[-1:], judged("And mint?")]
        await until(pilot, lambda: "step 4 / 4" in shown(app))
        assert "And mint?" not in shown(app)

    watch(scene, session)


def test_what_came_while_another_screen_was_in_front_is_drawn_on_coming_back() -> None:
    session = LiveSession(a_run(3))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f2", "f3")
        await until(pilot, lambda: "How do I keep basil alive?" in shown(app))
        session.events.append(judged("And dill?"))
        await pilot.press("f2")  # perhaps in the middle of the parts
        session.events += [*steps("loss", [0.6] * 4)[-1:], judged("And mint?")]
        await until(pilot, lambda: not session.events)
        await pilot.press("f3")
        await until(pilot, lambda: "step 4 / 4" in shown(app) and "And mint?" in shown(app))

    watch(scene, session)
