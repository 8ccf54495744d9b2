"""Where a form begins."""

from pathlib import Path

import pytest

from engine.errors import UserError
from engine.settings import files
from engine.settings.presets import PRESETS
from engine.settings.schema import Settings
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
