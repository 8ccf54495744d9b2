"""Keys that people know from other programs, and ways that lead where one wants to go."""

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot

from engine.errors import RunError
from engine.settings.files import preset
from tests.tui.archive import make_run
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.archive.detail_screen import RunDetailScreen
from tui.archive.runs_screen import RunsScreen
from tui.run.screen import RunScreen
from tui.setup.screen import SetupScreen
from tui.shell import palette
from tui.text.fault import setting_at_fault


async def runs(app: StudioApp, pilot: Pilot[int], count: int) -> RunsScreen:
    await pilot.press("f5")
    await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.ready)
    screen = app.screen
    assert isinstance(screen, RunsScreen)
    await until(pilot, lambda: len(screen.table.rows) == count)
    return screen


def test_the_first_the_last_and_half_a_page() -> None:
    for number in range(30):
        make_run(f"run-{number:02}", steps=1, pairs=0)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        table = (await runs(app, pilot, 30)).table
        await pilot.press("G")
        assert table.cursor == 29
        await pilot.press("g", "g")
        assert table.cursor == 0
        await pilot.press("ctrl+d")
        half = table.cursor
        assert 4 <= half <= table.size.height // 2
        await pilot.press("ctrl+d", "ctrl+u", "ctrl+u")
        assert table.cursor == 0

    play(scene)


def test_a_colon_opens_the_commands_but_where_one_types() -> None:
    make_run("mine", steps=1)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await runs(app, pilot, 1)
        await pilot.press("slash", "colon")
        assert app.screen is screen
        assert "/ :" in shown(app)
        await pilot.press("escape", "colon")
        assert isinstance(app.screen, CommandPalette)

    play(scene)


def test_the_commands_lead_to_every_run_and_setting() -> None:
    make_run("polite-otter", steps=1)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("colon", *"polite-otter")
        await until(pilot, lambda: "open run polite-otter" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunDetailScreen) and app.screen.ready)
        await pilot.press("colon", *"setting beta")
        await until(pilot, lambda: "Online preference" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await until(pilot, lambda: app.screen.guide_topic() == "beta")  # type: ignore[attr-defined]
        names = {command.name for command in palette.commands(app, app.screen)}
        assert {"theme light", "open run polite-otter", "setting lora_parameters.rank"} <= names

    play(scene, STANDARD)


def test_undo_is_offered_as_long_as_something_was_deleted() -> None:
    make_run("one", steps=1)
    make_run("two", steps=1)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await runs(app, pilot, 2)
        assert "u undo delete" not in shown(app)
        await pilot.press("d")  # is no key that loses anything
        assert len(screen.table.rows) == 2
        await pilot.press("delete")
        await until(pilot, lambda: "u brings it back" in said(app))
        app.say("", 0)
        await until(pilot, lambda: "u undo delete" in shown(app))
        await pilot.press("u")
        await until(pilot, lambda: len(screen.table.rows) == 2)
        app.say("", 0)
        await until(pilot, lambda: "u undo delete" not in shown(app))

    play(scene, STANDARD)


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("the prompts need 9,000 tokens: lower max_completion_length or batch_size", "max_"),
        ("set lora_parameters.rank lower", "lora_parameters.rank"),
        ("beta: has to be above 0", "beta"),
        ("No space is left; free some.", None),
    ],
)
def test_the_setting_that_a_message_speaks_of(message: str, key: str | None) -> None:
    named = setting_at_fault(message)
    assert named is None if key is None else (named or "").startswith(key)


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_a_failed_run_leads_to_the_setting_at_fault(size: tuple[int, int]) -> None:
    error = str(RunError("the longest prompt has 900 tokens: raise max_seq_length"))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run(), preset("starter").model_copy(update={"beta": 0.7}))
        attach(app, session)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.ready)
        await pilot.press("o")
        assert said(app) == "the run is still going"
        session.end("failed", error)
        await until(pilot, lambda: "o the form at max_seq_length" in " ".join(shown(app).split()))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        form = app.screen
        assert isinstance(form, SetupScreen)
        await until(pilot, lambda: form.guide_topic() == "max_seq_length")
        assert form.form.settings.beta == 0.7

    play(scene, size)


def test_a_saved_run_that_failed_does_so_too() -> None:
    make_run("broken", status="failed", error="raise max_seq_length", steps=4)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        app.navigator.open_run_detail("broken")
        await until(pilot, lambda: "o the form at max_seq_length" in shown(app))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await until(
            pilot,
            lambda: app.screen.guide_topic() == "max_seq_length",  # type: ignore[attr-defined]
        )

    play(scene, STANDARD)


def test_a_name_that_cannot_stay_as_it_is_says_how_it_is_kept() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        form = app.screen
        assert isinstance(form, SetupScreen)
        form.go_to("run_name")
        await pilot.pause()
        await pilot.press("enter", *"../evil run", "enter")
        await until(pilot, lambda: "kept as evil-run" in shown(app))

    play(scene, (120, 40))
