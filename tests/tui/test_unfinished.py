"""Back after quitting: the form, the run's own screens and Review say how to go on."""

import pytest
from textual.pilot import Pilot

from engine.events import RunStatus
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.run_summary import read_summary
from engine.settings.files import preset
from tests.tui.archive import judged, make_run
from tests.tui.elsewhere import trained_elsewhere
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.setup.screen import SetupScreen
from tui.state.unfinished import how_far
from tui.widgets.key_line import KeyLine

HUMAN = preset("starter-human")


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that the app is asked to resume, in place of resuming them."""
    names: list[str] = []
    monkeypatch.setattr(StudioApp, "resume_run", lambda self, run, **_: names.append(run.name))
    return names


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
@pytest.mark.parametrize("status", ["stopped", "running"])  # one that was killed says it runs
def test_the_form_says_what_is_unfinished(
    size: tuple[int, int], status: str, resumed: list[str]
) -> None:
    make_run("earlier", status="finished")
    make_run("starter-human", settings=HUMAN, steps=18, pairs=18, status=status)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "unfinished" in shown(app))
        assert "unfinished  starter-human 18 of 100 · r resumes it" in shown(app)
        await pilot.press("r")
        assert resumed == ["starter-human"]

    play(scene, size)


def test_steps_are_counted_where_an_llm_judges() -> None:
    make_run("mine", steps=30, pairs=8, status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "unfinished  mine 30 of 80 · r resumes it" in shown(app))

    play(scene)


def test_a_person_s_verdicts_are_counted_and_not_the_pairs_that_they_make() -> None:
    picking = {"completions": 4, "pairs_per_pick": "all", "iters": 10, "batch_size": 2}
    warm = {"source": "earlier", "steps": 5}
    run = make_run(
        "mine",
        settings=HUMAN.model_copy(update=picking),
        steps=7,
        pairs=0,
        status="stopped",
        total_steps=15,
        warm_start=warm,
    )
    for number in range(3):  # three picks of the best of four
        pairs = (judged(number).to_record("human") | {"pair_id": f"000000{number}-000-0{other}"}
                 for other in (1, 2, 3))  # fmt: skip
        run.append(PAIRS, list(pairs))
    run.append(UNDECIDED, [judged(9).to_record("human")])
    run.update(pairs=10)
    assert how_far(read_summary(run.path, is_link=False)) == "4 of 20"


@pytest.mark.parametrize("last", ["finished", "untrained", "failed"])
def test_what_was_left_before_a_run_that_is_over_is_not_named(
    last: RunStatus, resumed: list[str]
) -> None:
    make_run("left", settings=HUMAN, steps=18, pairs=18, status="stopped")
    make_run("over", status=last)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: isinstance(app.screen, SetupScreen) and app.screen.ready)
        await pilot.pause(0.5)
        assert "unfinished" not in shown(app)
        await pilot.press("r")
        assert "no run was left unfinished" in said(app)
        assert resumed == []

    play(scene)


def test_it_is_resumed_from_a_field_too(resumed: list[str]) -> None:
    make_run("mine", steps=30, status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "unfinished" in shown(app))
        await pilot.press("up", "r")
        assert resumed == ["mine"]

    play(scene)


def stopped(run: Run, settings: str, status: RunStatus = "stopped") -> LiveSession:
    session = LiveSession(a_run(), preset(settings))
    session.run = run
    session.end(status)
    return session


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_the_screen_of_a_run_that_is_over_resumes_it(status: RunStatus, resumed: list[str]) -> None:
    run = make_run("mine", steps=30, status=status)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, stopped(run, "starter", status))
        await pilot.press("f3")
        await until(pilot, lambda: "r resume" in shown(app))
        await pilot.press("r")
        assert resumed == ["mine"]

    play(scene)


def test_a_finished_run_has_nothing_to_go_on_with(resumed: list[str]) -> None:
    run = make_run("mine", status="finished")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, stopped(run, "starter", "finished"))
        await pilot.press("f3")
        await until(pilot, lambda: "Finished" in shown(app))
        assert "r resume" not in shown(app)
        await pilot.press("r")
        assert resumed == []

    play(scene)


def test_review_resumes_the_run_that_was_stopped(resumed: list[str]) -> None:
    run = make_run("mine", settings=HUMAN, steps=18, status="stopped")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, stopped(run, "starter-human"))
        await pilot.press("f4")
        await until(pilot, lambda: "r goes on with it" in shown(app))

        def offered() -> bool:
            app.screen.query_one(KeyLine).clear()  # that it stopped may be said a moment later
            return "r resume" in shown(app).splitlines()[-1]

        await until(pilot, offered)
        await pilot.press("r")
        assert resumed == ["mine"]

    play(scene)


def test_the_details_of_a_run_that_was_stopped_show_the_key(resumed: list[str]) -> None:
    make_run("mine", steps=30, status="stopped")
    make_run("over", status="finished")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_run_detail("over")
        await until(pilot, lambda: "Finished" in shown(app))
        assert "r resume" not in shown(app)
        app.navigator.open_run_detail("mine")
        await until(pilot, lambda: "r resume" in shown(app))
        await pilot.press("r")
        assert resumed == ["mine"]

    play(scene)


def test_review_names_a_run_that_another_process_trains() -> None:
    run = make_run("far", settings=HUMAN, status="running")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f4")
        await until(pilot, lambda: "another process trains far" in shown(app))
        assert "No run is going." not in shown(app)

    with trained_elsewhere(run):
        play(scene)
