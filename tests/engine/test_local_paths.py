"""What settings name by a relative path is found from any folder."""

from pathlib import Path

import pytest

from engine.runs import queue
from engine.settings.files import from_mapping, preset
from engine.settings.local_paths import anchored


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files and folders of a person's own, in which the settings are made."""
    for name in ("mine.jsonl", "more.jsonl", "rules.py", "suite.jsonl", "facts"):
        (tmp_path / name).write_text("")
    for name in ("models/mine", "starter", "hybrid"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "then"),
    [
        ("data", "mine.jsonl", "{}/mine.jsonl"),
        ("data", "./mine.jsonl", "{}/mine.jsonl"),
        ("data", "org/prompts", "org/prompts"),
        ("data", "starter", "starter"),
        ("model", "models/mine", "{}/models/mine"),
        ("model", "starter", "starter"),
        ("model", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("judge", "models/mine", "{}/models/mine"),
        ("judge", "rules.py:kind", "{}/rules.py:kind"),
        ("judge", "rules.py:kind, models/mine", "{0}/rules.py:kind, {0}/models/mine"),
        ("judge", "elsewhere.py:kind", "elsewhere.py:kind"),
        ("judge", "hybrid", "hybrid"),
        ("judge", "human", "human"),
        ("judge", "rule:length", "rule:length"),
        ("judge", "http://localhost:8080/v1", "http://localhost:8080/v1"),
        ("guard_function", "rules.py:kind", "{}/rules.py:kind"),
        ("output_root", "later", "{}/later"),
        ("output_root", ".", "{}"),
        ("output_root", "~nobody-here/later", "~nobody-here/later"),
        ("model", "~nobody-here/mine", "~nobody-here/mine"),
        ("resume_adapter_file", "models/mine", "{}/models/mine"),
        ("warm_start", "mine.jsonl", "{}/mine.jsonl"),
    ],
)
def test_what_lies_here_is_named_by_its_whole_path(
    here: Path, key: str, value: str, then: str
) -> None:
    settings = preset("starter").model_copy(update={key: value})
    assert getattr(anchored(settings), key) == then.format(here)
    assert anchored(anchored(settings)) == anchored(settings)


def test_so_are_sources_and_suites(here: Path) -> None:
    values = {
        "model": "starter",
        "data": [{"data": "mine.jsonl", "weight": 2.0}, {"data": "org/prompts", "weight": 1.0}],
        "guard_suites": ["facts", "suite.jsonl"],
    }
    settings = anchored(from_mapping(values, "here"))
    assert settings.data_names == (f"{here}/mine.jsonl", "org/prompts")
    assert settings.data_mix[0]["weight"] == 2.0
    assert settings.guard_suites == ["facts", f"{here}/suite.jsonl"]
    assert from_mapping(settings.model_dump(mode="json"), "again") == settings


def test_a_run_in_the_queue_finds_its_files_wherever_the_queue_is_worked_through(
    here: Path,
) -> None:
    settings = preset("starter").model_copy(update={"data": "mine.jsonl"})
    assert queue.add_settings(settings).settings["data"] == f"{here}/mine.jsonl"
