"""Every error that a file or a key can cause: one readable line, exit status 2, nothing left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.starter import POLICY
from tests.command import Command
from tests.end_to_end.program import SMALL, words

Refused = Callable[..., str]


@pytest.fixture
def refused(command: Command, studio_home: Path) -> Refused:
    """Runs `lora-studio`, which has to refuse and leave nothing; gives its one line."""

    def run(*arguments: str) -> str:
        done = command(*arguments)
        assert done.status == 2, done.err
        [line] = done.err.splitlines()
        assert line.startswith("lora-studio: ")
        assert line.isprintable()
        assert "Traceback" not in done.out
        assert not [*(studio_home / "runs").glob("*")]
        return line

    return run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("betaa: 1", "config.yaml: there is no setting 'betaa'; the nearest is beta"),
        ("beta: -1", "config.yaml: beta is -1, but has to be a number, above 0"),
        ("beta: [", "config.yaml, line 1"),
        ("beta: 1\nbeta: 2", "config.yaml, line 2: 'beta' is given twice"),
        ("train_type: full\nquantization: 4-bit", "cannot be trained in full"),
        ("max_completion_length: 4096", "leaves no room for a prompt"),
    ],
)
def test_a_bad_config(text: str, expected: str, refused: Refused, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert expected in refused("train", str(config))


STARTER = ["train", "starter", *words(**SMALL)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.jsonl", None, "there is no file or folder"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt"', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b'{"prompt": "\xff"}', "a.jsonl, line 1: not UTF-8"),
        ("a.jsonl", b'{"text": "a", "label": 1}', "which column holds the prompt: text"),
        ("a.jsonl", b"", "holds no prompts"),
        ("a.csv", b"prompt\n\n", "holds no prompts"),
        ("a.parquet", b"PAR1", "not a Parquet file"),
    ],
)
def test_bad_data(
    name: str, content: bytes | None, expected: str, refused: Refused, tmp_path: Path
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    assert expected in refused(*STARTER, *words(data=file))


def test_a_column_that_is_not_there(refused: Refused) -> None:
    line = refused(*STARTER, *words(prompt_feature="nope"))
    assert "prompt_feature" in line
    assert "its columns are prompt" in line


@pytest.mark.parametrize("key", ["model", "judge", "data", "reference_model_path"])
def test_a_hub_id_that_cannot_be_had_says_whether_the_hub_was_asked(
    key: str, refused: Refused
) -> None:
    line = refused(*STARTER, *words(**{key: "nobody/nothing"}))
    assert "nobody/nothing" in line
    assert "the hub was not asked" in line


@pytest.mark.parametrize(
    ("config", "expected"),
    [(None, "config.json"), ("{", "cannot be loaded"), ('{"model_type": "x"}', "cannot be loaded")],
)
def test_a_folder_that_is_no_model(
    config: str | None, expected: str, refused: Refused, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
        shutil.copyfile(POLICY / "model.safetensors", tmp_path / "model.safetensors")
    assert expected in refused(*STARTER, *words(model=tmp_path))


def test_an_output_folder_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused(*STARTER, *words(output_root=tmp_path / "file"))
    assert "output_root" in line


def test_more_memory_than_the_run_may_use(refused: Refused) -> None:
    line = refused(*STARTER, *words(memory_limit=1e-5))
    assert "memory_limit" in line
    assert "GB" in line


def test_adapters_that_are_not_there(refused: Refused) -> None:
    line = refused(*STARTER, *words(resume_adapter_file="none.safetensors"))
    assert "resume_adapter_file" in line
    assert "none.safetensors" in line
