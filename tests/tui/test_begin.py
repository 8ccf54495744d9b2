"""What begins without a key: a start that was asked for on the command line, and a resume."""

import pytest
from textual.pilot import Pilot

from engine.runs.folder import Run
from engine.settings.files import preset
from engine.settings.schema import Settings
from tests.command import Command
from tests.tui.archive import make_run
from tests.tui.stage import play, said, shown, until
from tui import run_app as app_in_terminal
from tui.app import StudioApp
from tui.setup.cost_line import CostLine
from tui.setup.data_pane import DataPane
from tui.setup.screen import SetupScreen
from tui.setup.start_line import StartLine
from tui.terminal import requirements

SMALL = preset("starter").model_copy(update={"iters": 3})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the app is asked to start, in place of starting it."""
    asked: list[Settings] = []
    monkeypatch.setattr(StudioApp, "start_run", lambda app, settings: asked.append(settings))
    return asked


def test_a_start_needs_no_key(started: list[Settings]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: started)
        await pilot.pause(0.5)
        assert started == [SMALL]  # and not once more when the cost is known better

    play(scene, settings=SMALL, start=True)


def test_a_config_alone_opens_the_form(started: list[Settings]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "needs" in shown(app))
        await pilot.pause(0.3)
        assert started == []
        assert isinstance(app.focused, StartLine)

    play(scene, settings=SMALL)


def test_what_contradicts_itself_is_shown_in_the_form(started: list[Settings]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "cannot start: num_layers 0 trains nothing" in said(app))
        screen = app.screen
        assert isinstance(screen, SetupScreen)
        assert screen.guide_topic() == "num_layers"
        await pilot.pause(0.5)
        assert started == []

    play(scene, settings=SMALL.model_copy(update={"num_layers": 0}), start=True)


def test_what_cannot_fit_is_not_started(started: list[Settings]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "cannot start: this run needs about" in said(app))
        assert started == []

    play(scene, settings=SMALL.model_copy(update={"memory_limit": 1e-5}), start=True)


@pytest.mark.parametrize(("touched", "known"), [(False, True), (True, True), (False, False)])
def test_a_start_waits_for_the_cost_and_for_nobody_to_touch_the_form(
    touched: bool, known: bool, started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CostLine, "estimate", lambda line, *_, **__: None)  # the test finds it
    monkeypatch.setattr(CostLine, "is_of", lambda *_: known)  # else more was read since

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        screen = app.screen
        assert isinstance(screen, SetupScreen)
        if touched:
            screen.replace(screen.form.with_text("beta", "0.5"))
        await until(pilot, lambda: not screen.query_one(DataPane).reading)
        screen.query_one(CostLine).post_message(CostLine.Estimated())
        await pilot.pause()
        assert started == ([SMALL] if known and not touched else [])

    play(scene, settings=SMALL, start=True)


def test_a_run_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("half", status="stopped")
    resumed: list[Run] = []
    monkeypatch.setattr(StudioApp, "resume_run", lambda app, run, **_: resumed.append(run))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: resumed == [run])

    play(scene, run=run)


def test_a_run_that_cannot_be_gone_on_with_says_why() -> None:
    run = make_run("half", status="stopped")
    (run.path / "config.yaml").write_text("beta: x")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "beta is 'x'" in said(app))

    play(scene, run=run)


# -- the command line --------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, bool, str | None]]:
    """How the app is opened, as (run name of its settings, start, run), on a good terminal."""
    asked: list[tuple[str | None, bool, str | None]] = []

    def run_app(
        settings: Settings | None = None,
        *,
        start: bool = False,
        run: Run | None = None,
        back_to: int | None = None,
    ) -> int:
        asked.append((settings.run_name if settings else None, start, run.name if run else None))
        return 0

    monkeypatch.setattr(requirements, "refusal", lambda: None)
    monkeypatch.setattr(app_in_terminal, "run_app", run_app)
    return asked


Opened = list[tuple[str | None, bool, str | None]]


def test_what_the_command_line_opens(
    command: Command, opened: Opened, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = tmp_path_factory.mktemp("configs") / "my.conf"
    config.write_text("run_name: mine")
    for arguments, expected in {
        (): (None, False, None),
        ("starter",): (None, True, None),
        ("starter-human", "--run-name", "x"): ("x", True, None),
        ("starter", "--start", "--set", "run_name=y"): ("y", True, None),
        (str(config),): ("mine", False, None),
        (str(config), "--start"): ("mine", True, None),
        ("--start", str(config)): ("mine", True, None),
    }.items():
        assert command(*arguments).status == 0
        assert opened[-1] == expected


def test_a_preset_goes_before_a_file_of_its_name(
    command: Command,
    opened: Opened,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("here")
    (folder / "starter").write_text("run_name: of the file")
    monkeypatch.chdir(folder)
    command("starter")
    assert opened[-1] == (None, True, None)
    command("./starter")
    assert opened[-1] == ("of the file", False, None)


def test_a_run_that_a_person_judges_says_how_it_goes_on(command: Command, opened: Opened) -> None:
    run = make_run("by-hand", status="stopped", settings=preset("starter-human"))
    for name in ("by-hand", str(run.path)):
        done = command("resume", name)
        assert done.status == 2
        assert f"`lora-studio resume {name} --app`" in done.err
        assert opened == []
    assert command("resume", "by-hand", "--app").status == 0
    assert opened == [(None, False, "by-hand")]
    assert command("resume", "by-hand", "--app", "--json").status == 2
    with run.lock():
        done = command("resume", "by-hand", "--app")
    assert done.status == 2
    assert "is in use by" in done.err
    run.update(status="untrained")
    assert "is untrained" in command("resume", "by-hand", "--app").err


@pytest.mark.parametrize(
    ("judge", "advice"),
    [
        ("starter", "the app needs a terminal; `lora-studio resume ended` goes on without the app"),
        ("starter-human", "the app needs a terminal; a person judges the run 'ended', which needs"),
    ],
)
def test_a_resume_without_a_terminal_says_how_that_run_goes_on(
    judge: str, advice: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_in_terminal, "refusal", lambda: "the app needs a terminal")
    make_run("ended", status="stopped", settings=preset(judge))
    done = command("resume", "ended", "--app")
    assert done.status == 2
    assert advice in done.err
    assert "train" not in done.err


def test_the_usage_of_a_start_names_no_command_that_nobody_types(command: Command) -> None:
    done = command("starter", "--start", "--x")
    assert done.status == 2
    assert "[OPTIONS] [starter|CONFIG.yaml]" in done.err
    assert "begin" not in done.err
