"""Setup: every key, the widget for every kind of setting, the cost, and what cannot start."""

from pathlib import Path

import pytest
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from engine.errors import UserError
from engine.settings import files
from engine.settings.schema import SECTIONS, Settings
from tests.tui.stage import STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.setup.cost_line import CostLine
from tui.setup.form import FIELDS
from tui.setup.screen import SetupScreen
from tui.setup.setting_field import SettingField
from tui.setup.setting_list import Fields
from tui.setup.setting_search import matching_settings
from tui.setup.start_line import StartLine
from tui.setup.yaml_pane import YamlPane
from tui.shell.ask import AskChoice, AskText
from tui.widgets.safe_editors import TextEditor

STEPS = files.preset("starter").iters


def setup(app: StudioApp) -> SetupScreen:
    return next(each for each in app.screen_stack if isinstance(each, SetupScreen))


def focused(app: StudioApp) -> str | None:
    return setup(app).guide_topic()


async def go_to(app: StudioApp, pilot: Pilot[int], key: str) -> SettingField:
    """Put the cursor on a setting, by its search."""
    setup(app).go_to(key)
    await pilot.pause()
    assert focused(app) == key
    return next(each for each in setup(app).query(SettingField) if each.key == key)


def starts(app: StudioApp, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the app is asked to start, in place of starting it."""
    started: list[Settings] = []
    monkeypatch.setattr(app, "start_run", started.append)
    return started


def test_a_newcomer_starts_the_starter_with_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        assert "starter" in shown(app)
        assert f"trains the bundled model for {STEPS} steps" in shown(app)
        assert isinstance(app.focused, StartLine)
        await pilot.press("enter")
        assert started == [files.preset("starter")]

    play(scene)


def test_the_form_opens_on_what_was_started_last(monkeypatch: pytest.MonkeyPatch) -> None:
    async def first(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "7", "enter", "s")
        assert started[0].beta == 0.7

    async def second(app: StudioApp, pilot: Pilot[int]) -> None:
        assert setup(app).form.settings.beta == 0.7

    play(first)
    play(second)


def test_every_setting_can_be_reached_and_says_what_it_does() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        reached: list[str] = []
        await pilot.press("a")
        for section in SECTIONS:
            fields = setup(app).query_one(Fields).visible_fields()
            assert {each.setting.section for each in fields} == {section}
            fields[0].focus()
            await pilot.pause()
            for field in fields:
                assert focused(app) == field.key
                visible = shown(app)
                assert field.key in visible
                assert " ".join(field.setting.help.split()[:4]) in " ".join(visible.split())
                reached.append(field.key)
                await pilot.press("down")
            assert isinstance(app.focused, StartLine)
            await pilot.press("right_square_bracket")
        assert reached == list(FIELDS)

    play(scene)


def test_the_first_setting_and_the_last() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for keys in ((), ("a",)):
            await pilot.press(*keys)
            listed = setup(app).query_one(Fields).visible_fields()
            for key, at in (("G", -1), ("g", 0), ("end", -1), ("home", 0)):
                await pilot.press(key)
                assert focused(app) == listed[at].key

    play(scene)


def test_the_sections_are_chosen_with_the_arrows() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("a")
        setup(app).query_one("#sections").focus()
        await pilot.press("down", "j", "enter")
        assert FIELDS[focused(app) or ""].section == SECTIONS[2]
        await pilot.press("up", "left_square_bracket")
        assert setup(app).query_one(Fields).visible_fields()[0].setting.section == SECTIONS[1]
        await pilot.press("pageup", "left_square_bracket")
        assert setup(app).browser.on_first_page
        await pilot.press("left_square_bracket")
        assert "first page" in said(app)

    play(scene)


def test_a_switch_a_choice_and_a_number() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = setup(app)
        await go_to(app, pilot, "fuse")
        await pilot.press("enter")
        assert screen.form.settings.fuse is False
        assert "no adapters are fused" in shown(app)  # of those without effect now
        await pilot.press("space")
        assert screen.form.settings.fuse is True

        await go_to(app, pilot, "optimizer")
        await pilot.press("right")
        assert screen.form.settings.optimizer == "adamax"
        await pilot.press("left", "left")
        assert screen.form.settings.optimizer == "adam"
        await pilot.press("enter")
        assert "rmsprop" in shown(app)
        await pilot.press("up", "enter")
        assert screen.form.settings.optimizer == "adadelta"
        assert focused(app) == "optimizer"
        await pilot.press("enter", "down", "escape")
        assert screen.form.settings.optimizer == "adadelta"
        assert focused(app) == "optimizer"

        await go_to(app, pilot, "iters")
        await pilot.press("4", "2", "enter")
        assert screen.form.settings.iters == 42
        await pilot.press("enter", "7", "escape")  # as if nothing had been typed
        assert screen.form.settings.iters == 42
        assert focused(app) == "iters"
        await pilot.press("enter", "8", "down")  # leaves towards the next setting
        assert screen.form.settings.iters == 8
        assert focused(app) == "epochs"

    play(scene, STANDARD, Settings())


def test_an_optional_choice_can_be_empty() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        field = await go_to(app, pilot, "judge_quantization")
        assert "the model's" in str(field.render())
        await pilot.press("right")
        assert setup(app).form.settings.judge_quantization == "none"
        await pilot.press("left")
        assert setup(app).form.settings.judge_quantization is None

    play(scene)


def test_the_rubric_has_an_editor_of_several_lines() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "judge_system")
        await pilot.press("enter")
        editor = app.focused
        assert isinstance(editor, TextArea)
        editor.text = ""
        await pilot.press(*"short", "enter", *"wins")
        assert setup(app).form.settings.judge_system == "short\nwins"
        editor.text = " "
        await pilot.pause()
        assert "is empty" in shown(app)
        editor.text = "a\nb\nc"
        await pilot.pause()
        await pilot.press("tab")
        assert not setup(app).query(".editor")
        assert setup(app).form.settings.judge_system == "a\nb\nc"
        assert "… 3 lines" in shown(app)

    play(scene)


def test_an_editor_that_was_taken_away_can_still_be_drawn() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await edit_rubric(app, pilot)
        await pilot.press("tab")
        assert not editor.is_attached
        assert [strip.text for strip in editor.render_lines(Region(0, 0, 4, 2))] == [" " * 4] * 2

    play(scene)


async def edit_rubric(app: StudioApp, pilot: Pilot[int]) -> TextEditor:
    """Put a word into the rubric, in its editor."""
    field = await go_to(app, pilot, "judge_system")
    await pilot.press("enter")
    await pilot.press(*"New")
    assert isinstance(field.editor, TextEditor)
    return field.editor


def test_the_rubric_editor_shows_the_key_that_keeps_the_text() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await edit_rubric(app, pilot)
        footer = shown(app).splitlines()[-1]
        for words in ("tab done", "esc as it was", "ctrl+_ undo"):
            assert words in footer
        await pilot.press("tab")
        assert isinstance(app.focused, SettingField)
        assert setup(app).form.settings.judge_system.startswith("New")

    play(scene)


@pytest.mark.parametrize(("keys", "kept"), [(["enter"], True), (["down", "enter"], False)])
def test_escape_asks_before_a_changed_rubric_is_thrown_away(keys: list[str], kept: bool) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await edit_rubric(app, pilot)
        await pilot.press("escape")
        assert isinstance(app.screen, AskChoice)
        await pilot.press("escape")  # goes on editing
        await pilot.pause()
        assert app.focused is editor
        await pilot.press("escape", *keys)
        await pilot.pause()
        assert isinstance(app.focused, SettingField)
        assert setup(app).form.settings.judge_system.startswith("New") == kept

    play(scene)


def test_escape_leaves_an_unchanged_rubric_at_once() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await edit_rubric(app, pilot)
        await pilot.press(*["backspace"] * 3, "escape")
        assert isinstance(app.focused, SettingField)
        assert setup(app).form.settings == files.preset("starter")

    play(scene)


def test_undo_and_redo_in_the_rubric_editor() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await edit_rubric(app, pilot)
        before = files.preset("starter").judge_system
        await pilot.press("ctrl+underscore")
        assert editor.text == before
        await pilot.press("ctrl+y")
        assert editor.text == f"New{before}"
        await pilot.press("alt+u")
        assert editor.text == before

    play(scene)


def test_ctrl_z_is_the_shells_in_an_editor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    suspended: list[bool] = []
    monkeypatch.setattr(StudioApp, "action_suspend_process", lambda _: suspended.append(True))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        editor = await edit_rubric(app, pilot)
        await pilot.press("ctrl+z")
        assert suspended == [True]
        assert editor.text.startswith("New")

    play(scene)


def test_changes_of_the_form_are_undone_one_by_one() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen, first = setup(app), setup(app).form
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "5", "enter")
        await go_to(app, pilot, "optimizer")
        await pilot.press("right", "right", "delete")
        await go_to(app, pilot, "judge_system")
        await pilot.press("enter", *"New", "tab")
        assert screen.form.settings.judge_system.startswith("New")
        await go_to(app, pilot, "top_p")
        await pilot.press("enter", "x", "escape")  # which is no change
        await pilot.press("u")
        assert screen.form.settings.judge_system == first.settings.judge_system
        optimizers = []
        for _ in range(3):
            await pilot.press("u")
            optimizers.append(screen.form.settings.optimizer)
        assert optimizers[2] == first.settings.optimizer
        assert len(set(optimizers)) == 3
        assert screen.form.settings.beta == 0.5
        await pilot.press("u")
        assert screen.form == first
        await pilot.press("u")
        assert "nothing was changed" in said(app)

    play(scene)


def test_a_preset_taken_over_own_settings_is_undone() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "5", "enter")
        setup(app).show(files.preset("starter-human"), "starter-human")
        await pilot.pause()
        await pilot.press("u")
        assert setup(app).form.settings.beta == 0.5
        assert "starter · edited" in shown(app)

    play(scene)


def test_a_bad_value_says_why_beside_it_and_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        await go_to(app, pilot, "temperature")
        await pilot.press("0", "enter")
        await until(pilot, lambda: "has to be a number, above 0" in shown(app))
        lines = shown(app).splitlines()
        at = next(number for number, line in enumerate(lines) if "temperature" in line)
        assert "!" in lines[at]
        assert "has to be a number, above 0" in lines[at + 1]
        assert any("cannot start" in line and "temperature" in line for line in lines)
        await pilot.press("pageup", "s")
        assert focused(app) == "temperature"
        assert "cannot start: temperature" in said(app)
        assert started == []
        await pilot.press("delete")
        assert "cannot start" not in shown(app).splitlines()[-2]
        await pilot.press("s")
        assert len(started) == 1

    play(scene)


def test_a_line_that_comes_below_leaves_the_cursor_in_sight() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "temperature")
        await pilot.press("0", "enter")
        await until(pilot, lambda: "has to be a number, above 0" in shown(app))
        setup(app).query_one(CostLine).styles.height = 3
        await pilot.pause()
        lines = shown(app).splitlines()
        at = next(number for number, line in enumerate(lines) if "! temperature" in line)
        assert "has to be a number, above 0" in lines[at + 1]

    play(scene)


def test_problems_between_settings_are_found_while_typing() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "max_completion_length")
        await pilot.press("5", "0", "0", "0", "enter")
        assert "leaves no room for a prompt" in shown(app)

    play(scene, STANDARD)


def test_a_change_carries_a_mark_its_default_and_a_reset() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "5", "enter")
        line = next(line for line in shown(app).splitlines() if " beta " in line)
        assert "•" in line
        assert "0.5" in line
        assert "default 0.1" in line
        assert "edited" in shown(app)
        await pilot.press("delete")
        line = next(line for line in shown(app).splitlines() if " beta " in line)
        assert "• beta" in line
        assert said(app) == "beta is as in starter · again: its default"
        await pilot.press("delete")
        line = next(line for line in shown(app).splitlines() if " beta " in line)
        assert "•" not in line
        await pilot.press("backspace")
        assert "at its default already" in said(app)

    play(scene)


def test_a_default_that_was_typed_goes_back_to_the_preset_s_value_first() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "1", "enter")  # the default; the preset starter has 1.0
        assert "beta" not in setup(app).form.changed
        await pilot.press("delete")
        assert setup(app).form.settings.beta == 1.0
        assert said(app) == "beta is as in starter · again: its default"
        await pilot.press("delete")
        assert setup(app).form.settings.beta == 0.1
        await pilot.press("delete")
        assert said(app) == "beta is at its default already"

    play(scene)


def test_a_value_goes_back_to_the_file_then_to_the_preset_then_to_the_default() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "5", "enter", "delete")
        assert said(app) == "beta is as in the given config · again: as in starter"
        assert setup(app).form.settings.beta == 0.7
        await pilot.press("delete")
        assert said(app) == "beta is as in starter · again: its default"
        assert setup(app).form.settings.beta == 1.0
        await pilot.press("delete")
        assert setup(app).form.settings.beta == 0.1

    play(scene, settings=files.preset("starter").model_copy(update={"beta": 0.7}))


def test_fields_without_effect_say_why() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        field = await go_to(app, pilot, "delta")
        assert "only the dpop loss has this term" in str(field.render())
        assert "no effect now" in shown(app)
        await go_to(app, pilot, "dpo_cpo_loss_type")
        await pilot.press("left")
        assert setup(app).form.settings.dpo_cpo_loss_type == "dpop"
        assert "only the dpop loss" not in shown(app)

    play(scene, STANDARD)


def test_search_finds_names_and_help_and_stays_at_what_was_found() -> None:
    assert "learning_rate" in matching_settings("breaks text sooner")
    assert matching_settings("no such words at all") == []
    assert matching_settings("data")[0] == "data"  # and not the first whose help has the word

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("slash", *"kv cache")
        assert "efficient_long_context" in shown(app)
        assert "temperature" not in shown(app)
        await pilot.press("enter", "escape")
        assert focused(app) == "efficient_long_context"
        assert not setup(app).browser.on_first_page
        assert "grad_checkpoint" in shown(app)  # its whole section
        await pilot.press("slash", *"zzz")
        assert shown(app).splitlines()[0].startswith(" zzz")  # in line with all else
        assert "no setting has these words" in shown(app)
        setup(app).show_form()  # as when the cost was worked out
        await pilot.pause()
        assert "no setting has these words" in shown(app)
        await pilot.press("enter")
        assert "no setting has these words" in said(app)
        await pilot.press("escape")
        assert setup(app).query_one(Fields).visible_fields()

    play(scene)


def test_n_goes_round_the_settings_of_a_search() -> None:
    found = matching_settings("guard")
    assert len(found) > 1

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("n")
        assert "no setting was looked for" in said(app)
        await pilot.press("slash", *"guard", "enter")
        for key, at in (("n", 1), ("N", 0), ("N", -1), ("n", 0)):
            await pilot.press(key)
            assert focused(app) == found[at]

    play(scene)


def test_yaml_and_form_are_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "5", "enter", "Y")
        text = app.focused
        assert isinstance(text, TextArea)
        assert "beta: 0.5" in text.text
        text.text = text.text.replace("beta: 0.5", "beta: 0.6").replace(
            f"iters: {STEPS}", "iters: 91"
        )
        await pilot.pause()
        assert setup(app).form.settings.beta == 0.6
        text.text += "\nbetta: 1\n"
        await pilot.pause()
        assert "betta" in shown(app)
        assert "the nearest is beta" in " ".join(shown(app).split())
        await pilot.press("escape")
        assert "the text has a mistake: leave it?" in shown(app)
        await pilot.press("enter")  # edit on
        assert app.focused is text
        assert "betta: 1" in text.text
        await pilot.press("escape", "down", "enter")
        assert "left out of the form" in said(app)
        await pilot.press("s")
        assert (started[0].beta, started[0].iters) == (0.6, 91)

    play(scene)


def test_what_is_no_value_is_named_beside_the_text_and_outlives_its_edits() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press(*"1x", "enter", "Y")
        assert "beta: 1x" in shown(app)
        text = setup(app).query_one(YamlPane)
        text.text = text.text.replace(f"iters: {STEPS}", "iters: 91")
        await pilot.pause()
        form = setup(app).form
        assert (form.settings.iters, form.text("beta")) == (91, "1x")
        text.text = text.text.replace("beta: 1.0", "beta: 0.5")
        await pilot.pause()
        form = setup(app).form
        assert (form.text("beta"), dict(form.refused)) == ("0.5", {})
        assert "beta: 1x" not in shown(app)

    play(scene)


@pytest.mark.parametrize("text", ["- 1", "a: [", "beta: -1", "train_type: {}", "\x00"])
def test_bad_yaml_is_said_and_changes_nothing(text: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        before = setup(app).form.settings
        await pilot.press("Y")
        setup(app).query_one(YamlPane).text = text
        await pilot.pause()
        assert setup(app).form.settings == before
        assert "the text" in shown(app)

    play(scene)


def test_presets(studio_home: Path) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("O")
        assert isinstance(app.screen, AskChoice)
        assert shown(app).index("starter") < shown(app).index("Qwen3-0.6B")  # no hub in tests
        await pilot.press("j", "down", "up", "enter")
        await until(pilot, lambda: setup(app).form.settings == files.preset("starter-human"))
        assert "starter-human" in shown(app)
        await pilot.press("O", "escape")
        assert setup(app).form.settings == files.preset("starter-human")
        await pilot.press("O", *["down"] * 3, "enter")
        await until(pilot, lambda: setup(app).form.settings == files.preset("smollm2-human"))
        await pilot.press("O", *["down"] * 4, "enter")
        await until(pilot, lambda: setup(app).form.settings == Settings())
        (studio_home / "last-start.yaml").write_text("of_tomorrow: 1")
        await pilot.press("O", "end", "enter")
        await until(pilot, lambda: "there is no setting 'of_tomorrow'" in said(app))

    play(scene)


def test_save_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press("0", ".", "5", "enter", "w")
        assert isinstance(app.screen, AskText)
        await pilot.press("enter")
        await until(pilot, lambda: "saved" in said(app))
        assert files.load("my.yaml").beta == 0.5
        await pilot.press("w", "enter")
        assert "is there already: replace it?" in shown(app)
        line = app.screen.query_one(Input)
        line.value = "a" * 300
        await pilot.press("enter")
        assert "no file of that name can be written" in shown(app)
        line.value = "my.yaml"
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))

        Path("other.yaml").write_text("beta: 0.9\nwandb: x\n")
        await pilot.press("o", *"nothing.yaml", "enter")
        assert "is not there" in shown(app)
        line = app.screen.query_one(Input)
        line.value = "ot"
        await pilot.pause()
        assert "other.yaml" in shown(app)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: setup(app).form.settings.beta == 0.9)
        assert "wandb has no effect here" in said(app)
        assert "other.yaml" in shown(app)

    play(scene)


def test_nothing_is_saved_while_a_value_is_bad(tmp_path: Path) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "beta")
        await pilot.press("minus", "enter", "w")
        assert "mend what is marked" in said(app)

    play(scene)


def test_models_and_data_complete_from_the_hub_cache_and_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for name in ("models--org--small-chat", "models--org--other", "datasets--org--questions"):
        (cache / name).mkdir(parents=True)
    (tmp_path / "prompts.txt").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "model")
        await pilot.press("enter", *"small")
        assert "org/small-chat" in shown(app)
        assert "org/other" not in shown(app)
        await pilot.press("down", "enter")
        assert setup(app).form.settings.model == "org/small-chat"
        assert focused(app) == "model"

        await go_to(app, pilot, "data")
        await pilot.press("enter")
        editor = app.focused
        assert isinstance(editor, Input)
        editor.value = f"{tmp_path}/pro"
        await pilot.pause()
        await pilot.press("tab")
        assert setup(app).form.settings.data == f"{tmp_path}/prompts.txt"

        await go_to(app, pilot, "judge")
        await pilot.press("enter")
        assert "human" in shown(app)
        await pilot.press("h", "u", "enter")
        assert setup(app).form.settings.judge == "hu"  # what is typed wins over what is offered

    play(scene)


def test_the_cost_is_always_in_sight_and_its_parts_one_key_away() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "needs" in shown(app))
        assert f"{STEPS} steps" in shown(app)
        assert "optimizer" not in shown(app)
        await pilot.press("i")
        assert "optimizer" in shown(app)
        assert "policy" in shown(app)
        await pilot.press("escape")
        assert "optimizer" not in shown(app)

    async def wide(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "optimizer" in shown(app))
        await pilot.press("i")
        assert "on the right" in said(app)

    play(scene)
    play(wide, STANDARD)


def test_a_warning_of_the_rate_is_whole_in_the_line_and_in_the_parts() -> None:
    judge = "HuggingFaceTB/SmolLM2-135M-Instruct"
    many = {"learning_rate": 1e-4, "completions": 4, "judge": judge, "max_seq_length": 8000}

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        end = "worked for SmolLM2-135M in 64 updates"
        await until(pilot, lambda: "is likely to break the text" in " ".join(shown(app).split()))
        assert "judgements a prompt" in " ".join(shown(app).split())
        assert end in " ".join(shown(app).split())
        assert end in setup(app).query_one(CostLine).parts().plain

    play(scene, settings=files.preset("smollm2").model_copy(update=many))


def test_updates_of_a_run_over_all_prompts_are_those_of_the_data(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(f'{{"prompt": "Why {n}?"}}\n' for n in range(150)))
    settings = files.preset("starter").model_copy(
        update={"data": str(file), "epochs": 2.0, "eval_prompts": 50, "batch_size": 16}
    )

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "13 updates" in shown(app))  # 2 x 100 of 150, by 16

    play(scene, settings=settings)


def test_what_does_not_fit_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        started = starts(app, monkeypatch)
        await go_to(app, pilot, "memory_limit")
        await pilot.press("1", "e", "minus", "5", "enter")
        await until(pilot, lambda: "will not fit" in shown(app))
        await pilot.press("s")
        assert "cannot start: this run needs about" in said(app)
        assert started == []

    play(scene)


def test_a_run_that_cannot_begin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        def refuse(settings: Settings) -> None:
            raise UserError("polite-qwen is still going")

        monkeypatch.setattr(app, "start_run", refuse)
        await pilot.press("s")
        assert "cannot start: polite-qwen is still going" in said(app)

    play(scene)


def test_the_guide_opens_at_the_setting_under_the_cursor() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "lora_parameters.rank")
        await pilot.press("f1")
        await until(pilot, lambda: "8 is enough for tone" in " ".join(shown(app).split()))

    play(scene)


def test_mouse_clicks_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.click("#field-learning_rate")
        assert focused(app) == "learning_rate"
        started = starts(app, monkeypatch)
        await pilot.click(StartLine)
        assert len(started) == 1

    play(scene)


def test_dangerous_settings_are_shown_as_such() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await go_to(app, pilot, "trust_remote_code")
        assert "dangerous" in shown(app)

    play(scene)


def test_hostile_values_are_shown_harmlessly() -> None:
    evil = "a\x1b]52;c;eA==\x07[red]b\u202e"
    settings = Settings(model=evil, data=evil, system_prompt=f"{evil}\n{evil}", run_name=evil)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        for key in ("model", "system_prompt", "run_name"):
            await go_to(app, pilot, key)
            visible = shown(app)
            assert "\x1b" not in visible
            assert "\u202e" not in visible
            assert "[red]" in visible
            await pilot.press("enter")
            assert "\x1b" not in shown(app)
            await pilot.press("escape")
        await pilot.press("Y")
        assert "\x1b" not in shown(app)

    play(scene, settings=settings)
