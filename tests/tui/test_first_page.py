"""The first page of the form: what a run needs and what was changed; the rest on a key."""

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.plan.preview import read_preview
from engine.settings.files import preset
from engine.settings.presets import PRESETS
from engine.settings.schema import Settings
from tests.tui.archive import make_run
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tests.tui.test_setup import focused, go_to, setup, starts
from tui.app import StudioApp
from tui.setup import presets
from tui.setup.data_pane import DATA, READ_BY, DataPane
from tui.setup.first_page import HOW, WHAT
from tui.setup.setting_list import Fields
from tui.shell.ask import AskChoice

WIDE = (120, 40)


def on_page(app: StudioApp) -> list[str]:
    return [each.key for each in setup(app).query_one(Fields).visible_fields()]


def test_what_a_run_needs_then_what_was_changed_then_all() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert on_page(app) == [*WHAT, *HOW]
        assert "a all settings" in shown(app)
        await pilot.press("a")
        assert "num_layers" not in on_page(app)
        assert "system_prompt" in on_page(app)
        await go_to(app, pilot, "top_p")
        await pilot.press(*"0.5", "enter", "a")
        assert on_page(app) == [*WHAT, *HOW, "top_p"]
        assert focused(app) == "top_p"
        await until(pilot, lambda: "changed from starter" in shown(app))
        await pilot.press("delete")  # as in the preset; it stays as long as the cursor is on it
        assert on_page(app) == [*WHAT, *HOW, "top_p"]
        await pilot.press("up", "delete")
        assert "top_p" not in on_page(app) or focused(app) != "top_p"

    play(scene)


def test_what_was_changed_stays_on_the_page_once_saved_and_on_the_next_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("a")
        await go_to(app, pilot, "top_p")
        await pilot.press(*"0.5", "enter", "w", "enter")
        await until(pilot, lambda: "saved" in said(app))
        assert "edited" not in shown(app)
        await pilot.press("a", "up")
        assert on_page(app) == [*WHAT, *HOW, "top_p"]
        assert "changed from starter" in shown(app)
        presets.remember(setup(app).form.settings)

    async def next_day(app: StudioApp, pilot: Pilot[int]) -> None:
        assert presets.LAST in shown(app)
        assert on_page(app) == [*WHAT, *HOW, "top_p"]
        await until(pilot, lambda: "changed from starter" in shown(app))
        await go_to(app, pilot, "max_grad_norm")
        await pilot.press(*"0.9", "enter", "a")
        assert sorted(on_page(app)[len(WHAT) + len(HOW) :]) == ["max_grad_norm", "top_p"]
        await until(pilot, lambda: "changed from starter" in shown(app))

    play(scene, WIDE)
    play(next_day, WIDE)


@pytest.mark.parametrize("name", [*PRESETS, presets.QWEN])
def test_ready_made_settings_are_nearest_to_themselves_and_to_those_made_of_them(name: str) -> None:
    made = presets.settings_of(name)
    assert presets.nearest(made) == (name, made)
    assert presets.nearest(made.model_copy(update={"top_p": 0.5, "seed": 3}))[0] == name


def test_the_preview_is_read_anew_for_all_that_it_is_read_by(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "Why?"}\n')
    asked: set[str] = set()

    class Asked:
        """Settings that remember what they were asked of."""

        def __getattr__(self, name: str) -> object:
            asked.add(name)
            return getattr(settings, name)

    settings = preset("starter").model_copy(update={"data": str(tmp_path)})
    *_, last = read_preview(Asked())  # type: ignore[arg-type]
    assert last.whole
    # The preview reads no stream, whose order alone the seed is of.
    assert asked - {"data_streaming", "seed"} <= set(READ_BY)
    assert {"data_split", "data_config", "text_prompts", "data_mix"} <= asked & set(DATA)


def test_what_has_to_be_mended_is_on_the_page() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        assert "judge_words" in on_page(app)
        assert "rule:avoid needs words" in shown(app)

    play(scene, settings=preset("starter").model_copy(update={"judge": "rule:avoid"}))


@pytest.mark.parametrize("size", [COMPACT, WIDE, STANDARD])
def test_what_the_data_holds_is_seen_before_a_run(size: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"ask": f"Why is {n} so?", "tell": "So."} for n in range(5)]
    file.write_text("\n".join(map(json.dumps, rows)))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "cannot start  prompt_feature" in shown(app))
        assert "column holds the prompt: ask" in " ".join(shown(app).split())
        await pilot.press("s")
        assert focused(app) == "prompt_feature"
        await pilot.press("enter", "down", "enter")  # the first column of the list
        assert setup(app).form.settings.prompt_feature == "ask"
        await until(pilot, lambda: "▶ start" in shown(app))
        await until(pilot, lambda: "5 prompts" in shown(app))
        if size == COMPACT:
            assert "Why is 4 so?" not in shown(app)
            await pilot.press("D")
        text = " ".join(shown(app).split())
        for words in ("Why is 4 so?", "of ask · not used: tell", "12 to 12 characters"):
            assert words in text
        assert "ask" in shown(app)

    play(scene, size, preset("starter").model_copy(update={"data": str(file)}))


def test_a_file_in_the_place_of_a_model_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Why?"}\n')

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        setup(app).show(preset("starter").model_copy(update={"model": str(file)}), "x")
        await until(pilot, lambda: "is a file; give the folder" in shown(app))
        await pilot.press("s")
        assert "cannot start: model" in said(app)
        assert focused(app) == "model"
        assert started == []

    play(scene, STANDARD)


def test_memory_is_told_for_the_data_and_for_what_settings_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = preset("starter").model_copy(
        update={"train_type": "full", "max_seq_length": 100_000, "quantization": "none"}
    )

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        await until(pilot, lambda: "by max_seq_length)" in shown(app))
        assert "will not fit" not in shown(app)
        await pilot.press("s")
        assert started == [long]

    play(scene, STANDARD, long)


def test_a_file_that_ends_the_process_that_reads_it_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.plan.preview_process.SMALL", 0)
    file = tmp_path / "mine.parquet"
    file.write_bytes(b"PAR1" + b"\xff" * 400 + b"PAR1")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: not setup(app).query_one(DataPane).reading)
        await until(pilot, lambda: "cannot start  data" in shown(app))

    play(scene, WIDE, preset("starter").model_copy(update={"data": str(file)}))


def test_values_of_earlier_runs_are_there_to_choose_from() -> None:
    rubrics = ("Shorter is better.", "Truth\nbefore all.")
    for number, rubric in enumerate(rubrics):
        settings = preset("starter").model_copy(update={"judge_system": rubric, "data": "mine/own"})
        make_run(f"run-{number}", settings=settings, steps=1)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: setup(app).suggestions.runs)
        await go_to(app, pilot, "judge_system")
        assert "h earlier ones" in shown(app)
        await pilot.press("h")
        assert isinstance(app.screen, AskChoice)
        assert "run-1" in shown(app)
        at = next(i for i, r in enumerate(("Truth", "Shorter")) if r in shown(app))
        await pilot.press(*["down"] * at, "enter")
        assert setup(app).form.settings.judge_system in rubrics
        await go_to(app, pilot, "data")
        await pilot.press("enter")
        await until(pilot, lambda: "mine/own" in shown(app))
        await pilot.press("escape")
        await go_to(app, pilot, "iters")
        assert "earlier ones" not in shown(app)

    play(scene, STANDARD, Settings(model="starter", data="starter", judge="starter"))


def test_a_long_choice_goes_on_below_where_it_began() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await app.push_screen(AskChoice("which?", [("one", "word " * 30), ("eleven", "short")]))
        await until(pilot, lambda: "eleven" in shown(app))
        first, *others = [line for line in shown(app).splitlines() if "word" in line]
        assert others
        assert {line.index("word") for line in others} == {first.index("word")}

    play(scene, COMPACT)
