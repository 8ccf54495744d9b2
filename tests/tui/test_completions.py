"""What completes the text of a field."""

from pathlib import Path

import pytest

from tui.setup.completions import LIMIT, datasets, for_setting, hub_cache, models, paths

pytestmark = pytest.mark.quick


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with two models and a data set."""
    for name in ("models--org--chat-small", "models--solo", "datasets--org--chat", ".locks"):
        (tmp_path / "hub" / name).mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_names_from_the_hub_cache(cache: Path) -> None:
    assert models("") == ["org/chat-small", "solo"]
    assert models("SOL") == ["solo"]
    assert models("chat") == ["org/chat-small"]  # anywhere in the name
    assert datasets("") == ["starter", "org/chat"]
    judge = for_setting("judge")
    assert judge
    assert judge("")[:3] == ["human", "hybrid", "starter"]
    assert for_setting("beta") is None


def test_files_and_folders(cache: Path) -> None:
    (cache / "prompts.txt").touch()
    (cache / "prompts").mkdir()
    (cache / ".hidden").touch()
    (cache / "evil\x1b[2J").touch()
    assert paths(f"{cache}/pro") == [f"{cache}/prompts.txt", f"{cache}/prompts/"] or paths(
        f"{cache}/pro"
    ) == [f"{cache}/prompts/", f"{cache}/prompts.txt"]
    assert f"{cache}/.hidden" not in paths(f"{cache}/")
    assert paths(f"{cache}/.h") == [f"{cache}/.hidden"]
    assert not any("\x1b" in path for path in paths(f"{cache}/"))
    assert models(f"{cache}/pro") == [f"{cache}/prompts/"]  # a file is no model
    assert models(f"{cache}/pro", files=True) == paths(f"{cache}/pro")  # but may judge


def test_relative_and_home_paths(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "my.yaml").touch()
    monkeypatch.chdir(cache)
    monkeypatch.setenv("HOME", str(cache))
    assert paths("my") == ["my.yaml"]
    assert paths("./my") == ["./my.yaml"]
    assert paths("~/my") == ["~/my.yaml"]


@pytest.mark.parametrize("text", ["/no/such/folder/x", "\x00", "~nobody-here/x", "/" * 5000])
def test_nothing_where_nothing_is(text: str) -> None:
    assert len(paths(text)) <= LIMIT


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_cache() == Path("~/.cache/huggingface/hub").expanduser()
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert hub_cache() == Path("/data/hf/hub")
