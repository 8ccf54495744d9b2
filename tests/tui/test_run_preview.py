"""The run under the cursor beside the list, where there is room for it."""

import pytest
from textual.pilot import Pilot

from engine.runs.folder import CONFIG, METRICS, PAIRS
from engine.settings.files import preset
from tests.tui.archive import make_run
from tests.tui.stage import COMPACT, STANDARD, play, shown, until
from tui.app import StudioApp
from tui.archive.run_preview import Preview, RunPreview, body, read
from tui.archive.runs_screen import RunsScreen


def text(app: StudioApp) -> str:
    return str(app.screen.query_one(RunPreview).visual)


async def open_runs(app: StudioApp, pilot: Pilot[int]) -> RunsScreen:
    await pilot.press("f5")
    await until(pilot, lambda: isinstance(app.screen, RunsScreen) and app.screen.table.rows)
    assert isinstance(app.screen, RunsScreen)
    return app.screen


def test_course_pair_and_settings_follow_the_cursor() -> None:
    make_run("first", steps=20, settings=preset("starter").model_copy(update={"beta": 0.35}))
    make_run("second", steps=4, status="failed", error="The disk is full.")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await open_runs(app, pilot)
        for name, words in (
            ("first", ("margin", "newest pair", "capital of France", "beta", "0.35")),
            ("second", ("The disk is full.", "loss", "settings that are not")),
        ):
            at = next(n for n, each in enumerate(screen.table.rows) if each.name == name)
            screen.table.cursor = at
            await until(pilot, lambda words=words: all(word in text(app) for word in words))
            assert text(app).startswith(name)

    play(scene, STANDARD)


def test_a_long_number_stands_apart_from_its_course() -> None:
    preview = Preview({"kl": [8.8e-4] * 100, "loss": [0.5] * 100})
    lines = {line.plain.split()[0]: line for line in body(preview, 60)}
    assert lines["kl"].plain.startswith("kl          8.8e-04 nats ")
    assert lines["kl"].cell_length == lines["loss"].cell_length == 60


def test_a_small_terminal_has_the_list_alone() -> None:
    make_run("first")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await open_runs(app, pilot)
        assert not app.screen.query_one(RunPreview).display
        assert "model starter · judge starter" in shown(app)

    play(scene, COMPACT)


@pytest.mark.parametrize("file", [CONFIG, METRICS, PAIRS])
def test_what_is_damaged_is_left_out(file: str) -> None:
    run = make_run("first")
    (run.path / file).write_bytes(b"\x00{\xff\n")
    from engine.runs import archive

    [summary] = archive.list_runs()
    preview = read(summary)
    assert bool(preview.settings) == (file != CONFIG)
    assert bool(preview.series) == (file != METRICS)
    assert (preview.pair is None) == (file == PAIRS)
