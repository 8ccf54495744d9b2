"""Run detail: its parts, the browser of pairs, and changing labels."""

import threading
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.runs.folder import CHAT_PAIRS, LOG, METRICS, PAIRS, UNDECIDED, Run
from engine.settings.files import preset
from tests.tui.archive import make_run, metrics
from tests.tui.stage import STANDARD, TIMEOUT, play, said, shown, until, workers_done
from tui.app import StudioApp
from tui.archive import detail_screen
from tui.archive.detail_screen import RunDetailScreen
from tui.run.chart_screen import ChartScreen
from tui.run.health_screen import HealthOverlay
from tui.setup.screen import SetupScreen
from tui.shell.ask import AskChoice
from tui.state.run_from_files import RunFromFiles
from tui.widgets.key_line import KeyLine


async def opened(app: StudioApp, pilot: Pilot[int], run: Run) -> RunDetailScreen:
    """The detail of a run, read."""
    app.navigator.open_run_detail(str(run.path))
    await until(pilot, lambda: isinstance(app.screen, RunDetailScreen))
    screen = app.screen
    assert isinstance(screen, RunDetailScreen)
    await until(pilot, lambda: screen._source is not None and screen.pairs.list.rows)
    return screen


def choices(run: Run) -> dict[str, str]:
    return {
        str(line["pair_id"]): str(line["choice"])
        for file in (PAIRS, UNDECIDED)
        for line in run.read(file)
    }


def only_start_measured(name: str, **state: Any) -> Run:
    """A run that was stopped at step 47, and measured at step 0 alone."""
    run = make_run(name, steps=0, status="stopped", **state)
    rates = {"win_rate": 0.41, "win_rate_low": 0.3, "win_rate_high": 0.52}
    run.append(METRICS, [{"step": 0, **rates}, {"step": 40, "loss": 0.5}])
    run.update(step=47, **rates)
    return run


@pytest.mark.parametrize("state", [{"win_rate_step": 0}, {}])
def test_a_win_rate_of_the_start_is_not_the_end_s(
    state: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool] = []
    monkeypatch.setattr(
        StudioApp, "resume_run", lambda self, run, *, evaluate=False: resumed.append(evaluate)
    )
    run = only_start_measured("early", **state)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        words = "Its win rate was not measured since step 0 · e goes on and measures it."
        assert words in " ".join(shown(app).split())
        await pilot.press("e")
        assert resumed == [True]

    play(scene)


def test_its_parts() -> None:
    run = make_run("polite", settings=preset("starter").model_copy(update={"beta": 0.77}))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, run)
        text = shown(app)
        assert "polite" in text
        assert "step 40 / 80" in text
        assert "loss" in text
        assert "grad norm" in text
        await pilot.press("A")
        assert "What is the capital of France (0)?" in shown(app)
        assert "It is Paris, dear friend (0)." in shown(app)
        await pilot.press("Y")
        await pilot.press("pagedown")
        assert "beta: 0.77" in shown(app) + _config(screen)
        await pilot.press("l")
        await until(pilot, lambda: "judge says the same in both orders" in shown(app))
        await pilot.press("tab")
        assert screen.part == "metrics"
        await pilot.press("tab")
        assert screen.part == "pairs"
        await pilot.press("c", "escape")
        assert not isinstance(app.screen, RunDetailScreen)

    play(scene)
    play(scene, STANDARD)


def _config(screen: RunDetailScreen) -> str:
    return str(screen.query_one("#settings").render())


def test_long_files_are_read_beside_the_screen_which_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run("polite", steps=2_000)
    may_read, readers = threading.Event(), set[threading.Thread]()

    def read(run: Run) -> RunFromFiles:
        readers.add(threading.current_thread())
        assert may_read.wait(TIMEOUT)
        return RunFromFiles(run)

    monkeypatch.setattr(detail_screen, "RunFromFiles", read)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_run_detail(str(run.path))
        await until(pilot, lambda: "reading its files, " in shown(app))
        assert "polite" in shown(app)
        assert "kB …" in shown(app)
        await pilot.press("l", "c")  # the keys work meanwhile
        await pilot.press("enter")
        assert said(app) == "the run's files are still being read"
        app.screen.query_one(KeyLine).clear()
        may_read.set()
        await until(pilot, lambda: "step 2,000" in shown(app))
        assert "r resume" not in shown(app)  # it is finished, as is known by now
        assert readers
        assert threading.main_thread() not in readers

    play(scene)


@pytest.mark.parametrize(
    ("file", "head"), [(METRICS, "it cannot be read"), (CHAT_PAIRS, "finished at step 40")]
)
def test_files_that_cannot_be_read_are_said_to_be_so(file: str, head: str) -> None:
    run = make_run("odd")
    (run.path / file).unlink(missing_ok=True)
    (run.path / file).mkdir()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_run_detail("odd")
        await until(pilot, lambda: f"{file} cannot be read: not a regular file" in said(app))
        await workers_done(app)
        if file == METRICS:
            await pilot.press("enter")
            assert said(app) == "the run's files cannot be read"
        await pilot.press("A")
        assert head in shown(app)
        assert "the pairs cannot be read" in shown(app)
        assert "reading" not in shown(app)

    play(scene)


def test_a_card_opens_its_chart() -> None:
    run = make_run("polite")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("enter")
        assert isinstance(app.screen, ChartScreen)
        assert app.screen.metric.name == "loss"

    play(scene)


def test_pairs_are_filtered_and_searched() -> None:
    run = make_run("polite", pairs=40)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, run)
        await pilot.press("A", "v")
        assert isinstance(app.screen, AskChoice)
        assert "flagged" in shown(app)
        await pilot.press("j", "j", "j", "enter")  # ties
        await until(pilot, lambda: len(screen.pairs.list.rows) == 10)
        assert "ties · 10 of 40" in shown(app)
        await pilot.press("slash", *"(6)", "enter")
        assert len(screen.pairs.list.rows) == 1
        assert "What is the capital of France (6)?" in shown(app)
        await pilot.press("escape")
        assert len(screen.pairs.list.rows) == 10
        await pilot.press("slash", *"atlantis", "enter", "1", "f")
        assert "no such pair" in shown(app)
        assert "the first pair comes" not in shown(app)
        assert "there is no pair here" in said(app)

    play(scene)


@pytest.mark.parametrize(
    ("key", "choice"), [("1", "first"), ("2", "second"), ("t", "tie"), ("b", "both_bad")]
)
def test_a_label_is_changed(key: str, choice: str) -> None:
    run = make_run("polite", pairs=4)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, run)
        await pilot.press("A")
        for _ in range(4):
            await pilot.press(key, "down")
        assert set(choices(run).values()) == {choice}
        assert len(choices(run)) == 4
        assert screen.pairs.list.cursor == 3
        await pilot.press(key)
        assert "that already" in said(app)
        at = next(place for place, line in enumerate(screen.pairs.list.rows) if line.get("was"))
        screen.pairs.list.cursor = at
        await pilot.pause()
        assert "label changed: starter had said" in shown(app)
        assert " changed by hand" in (run.path / LOG).read_text()

    play(scene)


def test_a_changed_label_has_no_probability_of_the_judge_s() -> None:
    run = make_run("polite", pairs=1)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("A")
        await until(pilot, lambda: "judge 0.91 for the first" in shown(app))
        await pilot.press("2")
        await until(pilot, lambda: "you: the one with ✓" in shown(app))
        assert "for the second" not in shown(app)

    play(scene)


def test_a_flag() -> None:
    run = make_run("polite", pairs=1)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("A", "f")
        assert "⚑" in shown(app)
        assert next(run.read(PAIRS))["flagged"] is True
        await pilot.press("f")
        assert next(run.read(PAIRS))["flagged"] is False

    play(scene)


def test_a_run_in_training_is_followed_and_its_labels_are_left_alone() -> None:
    run = make_run("live", status="running", steps=5, pairs=2)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        with run.lock():
            await opened(app, pilot, run)
            assert "step 5 / 80" in shown(app)
            Run(run.path).append(METRICS, list(metrics(6))[5:])
            Run(run.path).update(step=6)
            await until(pilot, lambda: "step 6 / 80" in shown(app))
            await pilot.press("A", "2")
            assert "trains this run: its labels can be changed once it ends" in said(app)
        assert list(choices(run).values()) == ["first", "second"]

    play(scene)


def test_keys_about_pairs_do_nothing_elsewhere() -> None:
    run = make_run("polite", pairs=4)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        before = choices(run)
        for key in ("1", "2", "t", "b", "f", "v", "slash"):
            await pilot.press(key)
            assert said(app) == "that is for a pair: A shows them"
        assert choices(run) == before
        await pilot.press("c")
        assert said(app) == "this is metrics already"

    play(scene)


def test_a_pair_can_be_read_whole() -> None:
    run = make_run("polite", pairs=4)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, run)
        await pilot.press("A", "enter")
        assert not screen.query_one("#left").display or "pairs ──" not in shown(app)
        assert "Rome. Why ask (0)?" in shown(app)
        await pilot.press("escape")
        assert "pairs ──" in shown(app)

    play(scene)


def test_what_a_judge_wrote_is_there_to_be_read() -> None:
    run = make_run("polite", pairs=1)
    wrote = ["It is shorter. 1", "2 \x1b[31m"]
    run.rewrite(PAIRS, lambda line: {**line, "rationale": wrote})

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("A")
        assert "enter shows what the judge wrote" in shown(app)
        assert "as is: It is shorter. 1" not in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "as is: It is shorter. 1" in shown(app))
        assert "swapped: 2 ␛[31m" in shown(app)

    play(scene)


def test_what_is_wrong_with_a_run_is_said() -> None:
    why = "none of 24 pairs could be learned from: 24 tied"
    health = [{"level": "bad", "text": why, "means": "M\x1b[31m", "advice": "A", "metric": "m"}]
    run = make_run("nothing", status="untrained", error=why, health=[*health, "\x1b", {}])

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        words = f"Nothing was learned (o its settings in the form): {why}"
        assert words in " ".join(shown(app).split())
        assert f"health: ✗ {why}"[:60] in shown(app)
        await pilot.press("H")
        assert isinstance(app.screen, HealthOverlay)
        assert "M␛[31m" in shown(app)
        await pilot.press("escape", "r")
        assert "this run is untrained" in said(app)

    play(scene)


def test_from_a_run_to_the_form_and_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("half", status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        done: list[str] = []
        monkeypatch.setattr(app, "resume_run", lambda run, **_: done.append(f"resume {run.name}"))
        monkeypatch.setattr(
            app.navigator, "open_try_it", lambda run: done.append(f"try {run.name}")
        )
        monkeypatch.setattr(app, "copy_to_clipboard", done.append)
        await opened(app, pilot, run)
        await pilot.press("r", "B", "y")
        assert done == ["resume half", "try half", str(run.path)]
        await pilot.press("o")
        assert isinstance(app.screen, SetupScreen)

    play(scene)


def test_what_was_trained_meanwhile_shows_on_the_way_back() -> None:
    """The run may have gone on, and ended again, while another screen was in front."""
    run = make_run("half", status="stopped", steps=40)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f5")
        await until(pilot, lambda: "half" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "stopped at step 40" in shown(app))
        await pilot.press("f2")
        run.append(METRICS, [{"step": 50, "loss": 0.123}])
        run.update(step=50)
        await pilot.press("f5")
        await until(pilot, lambda: "stopped at step 50" in shown(app))
        assert "0.123" in shown(app)

    play(scene)


def test_a_config_that_cannot_be_opened_is_said() -> None:
    run = make_run("lost")
    (run.path / "config.yaml").unlink()

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, run)
        await pilot.press("o")
        await until(pilot, lambda: "config.yaml is not there" in said(app))
        assert app.screen is screen

    play(scene)


def test_hostile_pairs_are_shown_harmlessly() -> None:
    evil = "\x1b]0;title\x07[red]\u202e" + "x" * 100_000
    run = make_run("polite", pairs=1)
    line = next(run.read(PAIRS))
    run.append(PAIRS, [{**line, "pair_id": "e", "prompt": evil, "chosen": evil, "note": evil}])
    run.append(PAIRS, [{"pair_id": None, "step": "x", "q": [], "choice": {}, "q_orders": 7}])

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await opened(app, pilot, run)
        await pilot.press("A", "end", "enter")
        assert "\x1b" not in shown(app)
        await pilot.press("escape", "up", "up", "enter")
        assert "\u202e" not in shown(app)

    play(scene)
