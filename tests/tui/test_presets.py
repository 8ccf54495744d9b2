"""Where a form begins."""

from pathlib import Path

import pytest

from engine.errors import UserError
from engine.model import files as files_of_models
from engine.settings import files
from engine.settings.presets import PRESETS
from engine.settings.schema import Settings
from engine.starter import POLICY
from tui.setup import presets

pytestmark = pytest.mark.quick


def test_every_preset_has_settings_and_is_described() -> None:
    for each in presets.all_presets():
        assert isinstance(presets.settings_of(each.name), Settings)
        assert each.what != "bundled"
    assert {each.name for each in presets.all_presets()} == {*PRESETS, presets.QWEN}


def test_the_starter_is_first_without_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert presets.all_presets(hub=False)[0].name == "starter"
    assert presets.all_presets(hub=True)[0].name == presets.QWEN
    (tmp_path / "models--Qwen--Qwen3-0.6B").mkdir()
    assert presets.all_presets(hub=False)[0].name == presets.QWEN


def test_the_language_models_of_this_machine_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_of_models, "find", lambda name, role: tmp_path / name)
    monkeypatch.setattr("tui.setup.completions.cached", lambda _: ["mine/chat", "mine/embedder"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/chat").symlink_to(POLICY)
    (tmp_path / "mine/embedder").mkdir()
    names = [each.name for each in presets.all_presets()]
    assert "mine/chat" in names
    assert "mine/embedder" not in names
    settings = presets.settings_of("mine/chat")
    assert (settings.model, settings.judge, settings.data) == ("mine/chat", "mine/chat", "starter")


def test_what_has_to_be_fetched_is_told() -> None:
    known = {each.name: each.what for each in presets.all_presets(hub=False)}
    assert known[presets.QWEN].endswith("not here, and the hub is out of reach")
    assert "hub" not in known["starter"]
    known = {each.name: each.what for each in presets.all_presets()}
    assert known[presets.QWEN].endswith("a download")


def test_a_newcomer_begins_with_the_starter() -> None:
    assert presets.first() == ("starter", files.preset("starter"))


def test_what_was_started_last_comes_back_without_its_name(studio_home: Path) -> None:
    started = Settings(beta=0.3, run_name="mine", judge_system="a\nb")
    presets.remember(started)
    name, settings = presets.first()
    assert name == presets.LAST
    assert settings == started.model_copy(update={"run_name": None})
    assert presets.all_presets()[-1].name == presets.LAST
    next(studio_home.glob("*.yaml")).write_text("{")
    assert presets.first()[0] == "starter"
    with pytest.raises(UserError):
        presets.settings_of(presets.LAST)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(), "trains Qwen3-0.6B for 1,000 steps, which judges its own answers"),
        (Settings(judge="human", iters=1), "for 1 step, you pick"),
        (Settings(judge="org/big", epochs=2), "for 2 passes over the prompts, judged by big"),
    ],
)
def test_a_start_in_one_sentence(settings: Settings, words: str) -> None:
    assert words in presets.describe(settings)
    assert presets.prospect(settings)
