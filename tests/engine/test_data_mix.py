"""Prompts from several places at once, from the splits, configurations and streams of the hub's
library, and from folders of text files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.data.prompts import PromptSet, load_prompts
from engine.errors import UserError
from engine.runs.json_lines import to_json
from engine.settings.checks import problems
from engine.settings.files import from_mapping, to_yaml
from tests.engine.small_models import settings


def write(path: Path, name: str, count: int, column: str = "prompt") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(to_json({column: f"{name} {n}"}) + "\n" for n in range(count)))
    return str(path)


def prompts(**values: Any) -> PromptSet:
    return load_prompts(settings(**{"eval_prompts": 0, "steps_per_eval": -1, **values}))


def of(found: PromptSet, name: str) -> int:
    return sum(prompt.text.startswith(f"{name} ") for prompt in found.train)


# -- several sources -------------------------------------------------------------------------------


def test_without_weights_all_prompts_are_used(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{n}.jsonl", n, c) for n, c in (("a", 30), ("b", 7)))
    found = prompts(data=[a, {"data": b}])
    assert (of(found, "a"), of(found, "b")) == (30, 7)
    assert {prompt.text[0] for prompt in found.train[:12]} == {"a", "b"}  # mixed, not in turn
    assert [each.text for each in found.train] == [each.text for each in prompts(data=[a, b]).train]
    other = prompts(data=[a, b], seed=1)
    assert [each.text for each in found.train] != [each.text for each in other.train]


def test_weights_are_the_shares_that_the_scarcest_source_allows(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{n}.jsonl", n, c) for n, c in (("a", 100), ("b", 10)))
    found = prompts(data=[{"data": a, "weight": 3}, {"data": b, "weight": 1}])
    assert (of(found, "a"), of(found, "b")) == (30, 10)
    [note] = [note for note in found.notes if "30 of the 100 prompts" in note]
    assert note.endswith("are used, so that they are 75% of all")


def test_each_source_has_its_own_columns_and_a_prompt_counts_once(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", "same", 5)
    b = write(tmp_path / "b.jsonl", "same", 8, column="query")
    found = prompts(data_mix=[{"data": a}, {"data": b, "prompt_feature": "query"}])
    assert len(found.train) == 8
    assert found.dropped["duplicate"] == 5


def test_what_is_held_out_of_any_source_is_measured_on(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.jsonl", "a", 10)
    write(tmp_path / "a" / "valid.jsonl", "held", 4)
    b = write(tmp_path / "b.jsonl", "b", 10)
    found = prompts(data=[str(tmp_path / "a"), b], eval_prompts=64, steps_per_eval=1)
    assert {prompt.text.split()[0] for prompt in found.held_out} == {"held"}
    assert len(found.train) == 20


def test_a_mix_is_kept_in_a_config_as_it_was(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", "a", 3)
    chosen = from_mapping({"data": [{"data": a, "weight": 2}, {"data": "b", "weight": 1}]}, "x")
    assert chosen.data_names == (a, "b")
    assert chosen.data == f"{a}, b"
    import yaml

    assert from_mapping(yaml.safe_load(to_yaml(chosen)), "y") == chosen


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ([{"weight": 1}], "each source is {data: NAME"),
        ([{"data": "a", "weight": 0}], "a weight above 0"),
        ([{"data": "a", "wieght": 1}], "each source is {data: NAME"),
        ([{"data": "a", "data_split": 3}], "as texts"),
        ([{"data": "a", "weight": 1}, {"data": "b"}], "give each source a weight, or none"),
        ([{"data": "a", "data_config": "hf_abcdefghijklmnopqrstuvwxyz"}], "holds a token"),
        ([{"data": f"https://me:secret@host/{each}"} for each in "ab"], "or a password"),
    ],
)
def test_a_mix_that_is_none_is_one_sentence(mix: list[dict[str, Any]], words: str) -> None:
    [problem] = problems(settings(data_mix=mix))
    assert problem.key == "data_mix"
    assert words in problem.message


def test_a_source_without_prompts_is_named(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.jsonl", "a", 3), write(tmp_path / "b.jsonl", "b", 0)
    (tmp_path / "b.jsonl").write_text('{"prompt": ""}\n')
    with pytest.raises(UserError, match=r"data_mix: .*b\.jsonl holds no prompts"):
        prompts(data=[a, b])


# -- splits and configurations of the hub's library ------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The hub has one dataset, `me/set`, with two configurations; gives how it was asked for it."""
    import datasets

    folder = tmp_path / "set"
    for config in ("one", "two"):
        for split in ("train_sft", "train_gen", "test_sft"):
            write(folder / config / f"{split}.jsonl", f"{config}-{split}", 40)
    lines = ["configs:"]
    for config in ("one", "two"):
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in ("train_sft", "train_gen", "test_sft"):
            lines += [f"  - split: {split}", f"    path: {config}/{split}.jsonl"]
    (folder / "README.md").write_text("---\n" + "\n".join(lines) + "\n---\n")
    load: Callable[..., Any] = datasets.load_dataset
    requests: list[dict[str, Any]] = []

    def load_dataset(name: str, config: str | None = None, **options: Any) -> Any:
        assert name == "me/set"
        requests.append({"config": config, **options})
        return load(str(folder), config, cache_dir=str(tmp_path / "cache"), **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return requests


Hub = list[dict[str, Any]]


def test_a_configuration_and_a_split_are_chosen(hub: Hub) -> None:
    found = prompts(data="me/set", data_config="two", data_split="train_gen", test=True)
    assert of(found, "two-train_gen") == len(found.train) == 40
    assert {prompt.text.split()[0] for prompt in found.test} == {"two-test_sft"}
    part = prompts(data="me/set:one", data_split="train_sft[:25%]")
    assert of(part, "one-train_sft") == len(part.train) == 10


def test_a_split_or_configuration_that_is_not_there_is_named(hub: Hub) -> None:
    with pytest.raises(UserError, match="it has train_sft, train_gen, test_sft"):
        prompts(data="me/set:one", data_split="train")
    with pytest.raises(UserError, match="several configurations"):
        prompts(data="me/set")
    with pytest.raises(UserError, match="names its configuration already"):
        prompts(data="me/set:one", data_config="two")


def test_a_stream_is_read_no_further_than_needed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = 0
    read = datasets.IterableDataset.__iter__

    def counting(self: Any) -> Iterator[Any]:
        nonlocal rows
        for row in read(self):
            rows += 1
            yield row

    monkeypatch.setattr(datasets.IterableDataset, "__iter__", counting)
    chosen: dict[str, Any] = {"data": "me/set:one", "data_split": "train_gen"}
    stream = {**chosen, "data_streaming": True, "max_prompts": 12}
    found = prompts(**stream)
    assert hub[-1]["streaming"]
    assert of(found, "one-train_gen") == len(found.train) == 12
    assert 12 <= rows < 40  # its window is shuffled, of which no more is taken
    assert [each.text for each in found.train] == [each.text for each in prompts(**stream).train]
    first = {f"one-train_gen {number}" for number in range(12)}
    assert {each.text for each in found.train} != first

    def cut_off(self: Any) -> Iterator[Any]:
        yield {"prompt": "One?"}
        raise ConnectionError("the line is dead")

    monkeypatch.setattr(datasets.IterableDataset, "__iter__", cut_off)
    with pytest.raises(UserError, match=r"^data: me/set:one .* after row 1: the line is dead"):
        prompts(**stream)


def test_a_stream_is_mixed_with_a_file(hub: Hub, tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", "a", 6)
    stream = {"data": "me/set:two", "data_split": "train_sft", "weight": 1}
    found = prompts(
        data=[{"data": a, "weight": 1}, stream], data_streaming=True, max_prompts=8, seed=3
    )
    assert len(found.train) == 8
    assert 2 <= of(found, "a") <= 6  # of six of each
    assert of(found, "a") + of(found, "two-train_sft") == 8


def test_a_stream_wants_to_know_its_end(tmp_path: Path) -> None:
    [problem] = problems(settings(data_streaming=True))
    assert "max_prompts" in problem.message
    a = write(tmp_path / "a.jsonl", "a", 3)
    with pytest.raises(UserError, match=r"data_streaming: .* is on this machine"):
        prompts(data=a, data_streaming=True, max_prompts=2)


# -- folders ---------------------------------------------------------------------------------------


def test_a_split_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    for name in ("train_sft", "train_gen-00000", "train_gen-00001", "test"):
        write(tmp_path / f"{name}.jsonl", name, 4)
    found = prompts(data=str(tmp_path), data_split="train_gen", test=True)
    assert {prompt.text.split()[0] for prompt in found.train} == {
        "train_gen-00000",
        "train_gen-00001",
    }
    assert {prompt.text.split()[0] for prompt in found.test} == {"test"}
    with pytest.raises(UserError, match="no file 'train_x'; it has test, train_gen-00000"):
        prompts(data=str(tmp_path), data_split="train_x")
    with pytest.raises(UserError, match="is one file"):
        prompts(data=str(tmp_path / "test.jsonl"), data_split="train")
    with pytest.raises(UserError, match="has no configurations"):
        prompts(data=str(tmp_path), data_config="one")


def test_each_text_file_of_a_folder_may_be_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("\nWrite a poem.\n\nAbout rain.\n")
    (tmp_path / "two.md").write_text("# A task\nDo it.")
    (tmp_path / "three.txt").write_text("   \n")
    (tmp_path / "four.py").write_text("no prompt")
    found = prompts(data=str(tmp_path), text_prompts="files")
    assert {prompt.text for prompt in found.train} == {
        "Write a poem.\n\nAbout rain.",
        "# A task\nDo it.",
    }
    assert found.dropped["empty"] == 1
    assert len(prompts(data=str(tmp_path)).train) == 2  # lines, of txt files alone
    one = prompts(data=str(tmp_path / "two.md"), text_prompts="files")
    assert [prompt.text for prompt in one.train] == ["# A task\nDo it."]
    (tmp_path / "five.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"five\.txt, line 1: not"):
        prompts(data=str(tmp_path), text_prompts="files")
