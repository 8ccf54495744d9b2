"""A model folder with a wrong value anywhere: one sentence, in bounded memory and time."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.model.adapters import add_adapters
from tests.command import Command
from tests.engine.small_models import QWEN3, settings, write_model, write_prompts
from tests.engine.test_model_config import folder_of, loaded

NEW = {name: value for name, value in QWEN3.items() if name != "rope_theta"} | {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}
}
BROKEN: list[tuple[str, Any]] = [
    ("hidden_size", 0),
    ("hidden_size", 10**12),
    ("hidden_size", "wide"),
    ("num_attention_heads", 0),
    ("num_attention_heads", None),
    ("num_key_value_heads", 0),
    ("num_key_value_heads", 3),
    ("num_hidden_layers", 10**12),
    ("num_hidden_layers", 1e308),
    ("num_hidden_layers", -1),
    ("num_labels", 10**9),
    ("head_dim", 0),
    ("head_dim", -8),
    ("vocab_size", 10**30),
    ("intermediate_size", {}),
    ("rms_norm_eps", "small"),
    ("rms_norm_eps", math.nan),
    ("model_type", "os.path"),
    ("model_type", "olmo"),  # mlx-lm's module for it ends the program
    ("model_type", ["qwen3"]),
    ("model_type", None),
    ("rope_parameters", {"rope_type": "default", "rope_theta": math.nan}),
    ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
    ("rope_parameters", {"rope_type": "spiral", "rope_theta": 1e4}),
    ("rope_parameters", {"rope_type": "linear", "rope_theta": 1e4, "factor": 0}),
    ("text_config", {"num_hidden_layers": 10**12}),
    ("quantization", {"bits": 0}),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "whole", NEW)


def broken(whole: Path, place: Path, file: str, **changes: Any) -> Path:
    """The same folder with other values in one of its files."""
    place.mkdir()
    for each in whole.iterdir():
        (place / each.name).symlink_to(each)
    values = json.loads((place / file).read_text()) | changes
    (place / file).unlink()
    (place / file).write_text(json.dumps(values))
    return place


@pytest.mark.parametrize(("key", "value"), BROKEN)
def test_a_wrong_value_in_a_config_is_one_sentence(
    whole: Path, tmp_path: Path, key: str, value: Any
) -> None:
    folder = broken(whole, tmp_path / "model", "config.json", **{key: value})
    with pytest.raises(UserError) as refused:
        loaded(folder)
    text = str(refused.value)
    assert text.startswith(f"model: {folder} cannot be loaded: ")
    assert text.isprintable()
    assert len(text) < len(str(folder)) + 400


@pytest.mark.parametrize("content", ["[]", "null", "7", '"qwen3"', "{}", "{", "[" * 10_000, "\0"])
def test_a_config_that_is_none_is_one_sentence(whole: Path, tmp_path: Path, content: str) -> None:
    folder = broken(whole, tmp_path / "model", "config.json")
    (folder / "config.json").write_text(content)
    with pytest.raises(UserError, match="cannot be loaded"):
        loaded(folder)


def test_an_endless_config_is_not_read(whole: Path, tmp_path: Path) -> None:
    folder = broken(whole, tmp_path / "model", "config.json")
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(UserError, match="bytes"):
        loaded(folder)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"hidden_size": 0}),
        ("tokenizer_config.json", {"chat_template_type": "os.path"}),
        ("tokenizer_config.json", {"tool_parser_type": "os.path"}),
    ],
)
def test_a_run_on_a_broken_model_ends_with_status_2_and_one_line(
    command: Command, whole: Path, tmp_path: Path, file: str, changes: dict[str, Any]
) -> None:
    folder = broken(whole, tmp_path / "model", file, **changes)
    config = tmp_path / "config.yaml"
    prompts = write_prompts(tmp_path / "prompts.jsonl")
    config.write_text(
        f"model: {folder}\njudge: {whole}\ndata: {prompts}\nquantization: none\nnum_layers: 1\n"
    )
    done = command("train", str(config))
    assert done.status == 2
    [line] = done.err.splitlines()
    assert line.startswith("lora-studio: model: ")


def test_what_has_no_dora_is_said_with_one_full_stop(tmp_path: Path) -> None:
    model, _, _ = loaded(folder_of("qwen3_moe", tmp_path / "model"))
    with pytest.raises(UserError, match=r"doesn't support DoRA yet; choose lora\.$"):
        add_adapters(model, settings(train_type="dora"))
