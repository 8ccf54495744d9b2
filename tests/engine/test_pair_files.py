"""Labels of runs as a preference dataset: which of them, in what layout, and written whole."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.data.chat_messages import Message
from engine.data.pairs import JudgedPair, Verdict
from engine.data.preferences import read_preferences
from engine.data.sources import read_splits
from engine.errors import UserError
from engine.events import Choice
from engine.runs import durable, json_lines
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.labels import labels, select
from engine.runs.pair_files import KINDS, split_by_prompt, write_pairs
from engine.runs.relabel import PLANNED, relabel, relabel_own, relabelled, set_flag
from engine.runs.storage import StorageError
from tests.engine.killed_writer import killed_at
from tests.tui.archive import judged, make_run

CALL = {"type": "function", "function": {"name": "look", "arguments": {"where": "up"}}}
CHAT = (
    Message("system", "Be brief."),
    Message("user", "Hello"),
    Message("assistant", "", tool_calls=(CALL,)),
    Message("tool", "blue", name="look"),
    Message("user", "Why?"),
)
TOOLS = ({"name": "look", "parameters": {"where": {"type": "string"}}},)


def run_of(name: str, *verdicts: str | Verdict, **pair: Any) -> Run:
    """A run whose n-th pair got the n-th verdict."""
    run = make_run(name, pairs=0)
    for number, verdict in enumerate(verdicts):
        verdict = Verdict(verdict) if isinstance(verdict, str) else verdict  # type: ignore[arg-type]
        each = JudgedPair(replace(judged(number).pair, **pair), verdict)
        layout = "messages and tools" if pair.get("tools") else "text"
        layout = "messages" if pair.get("messages") and layout == "text" else layout
        run.append(PAIRS if each.decided else UNDECIDED, [each.to_record("starter", layout)])
    return run


def winners(selection: Any) -> dict[str, str]:
    return {label.pair_id: label.choice for label in selection.labels}


def key(number: int) -> str:
    return judged(number).pair.pair_id


def test_only_labels_with_a_winner_are_pairs_unless_asked() -> None:
    flagged = Verdict("first", flagged=True)
    undecided = ("tie", "both_bad", "skip", "invalid", "identical", "empty")
    run = run_of("a", "first", "second", flagged, *undecided)
    plain = select([run])
    assert winners(plain) == {key(0): "first", key(1): "second"}
    assert plain.left_out == {"ties": 1, "both bad": 1, "flagged": 1}
    assert winners(select([run], ties=True)) == {**winners(plain), key(3): "tie"}
    assert winners(select([run], flagged=True)) == {**winners(plain), key(2): "first"}
    second = plain.labels[1].preference
    assert second.chosen[0].content == judged(1).pair.second
    assert second.rejected[0].content == judged(1).pair.first


def test_a_label_that_was_taken_back_is_left_out() -> None:
    run = run_of("a", "first", "second")
    with run.lock():
        relabel_own(run, key(0), None)
    assert winners(select([run])) == {key(1): "second"}


@pytest.mark.parametrize("after", ["first", "second", "tie", "both_bad"])
def test_of_several_runs_the_label_of_the_last_one_holds(after: Choice) -> None:
    runs = [run_of("a", "first"), run_of("b", after)]
    expected = {key(0): after} if after in ("first", "second") else {}
    selection = select(runs)
    assert winners(selection) == expected
    assert selection.left_out["labelled again later"] == 1
    assert winners(select(runs[::-1])) == {key(0): "first"}


def test_the_same_answers_shown_the_other_way_round_are_the_same() -> None:
    pair = judged(0).pair
    turned = run_of("b", "first", first=pair.second, second=pair.first)
    selection = select([run_of("a", "first"), turned])
    [label] = selection.labels
    assert label.run == "b"
    assert label.preference.chosen[0].content == pair.second


def test_a_label_without_a_verdict_takes_nothing_back() -> None:
    assert winners(select([run_of("a", "first"), run_of("b", "skip")])) == {key(0): "first"}


def test_other_tools_or_prompts_make_other_pairs() -> None:
    runs = [run_of("a", "first"), run_of("b", "second", tools=TOOLS)]
    assert len(select(runs).labels) == 2
    assert len(select([run_of("c", "first"), run_of("d", "first", prompt="Why?")]).labels) == 2


def test_what_a_person_has_changed_comes_after_what_was_said_before() -> None:
    pair = {"prompt": "Why?", "first": "One", "second": "Two"}
    run = run_of("a", "first", "first", **pair)
    relabel(run, "0000001-000", "second")
    [label] = select([run]).labels
    assert (label.choice, label.judge, label.confidence) == ("second", "human", 1.0)
    set_flag(run, label.pair_id, True)
    assert select([run]).labels == []  # nor what was said of them before


def test_a_change_that_a_kill_cut_in_two_is_what_it_was_to_be() -> None:
    run = run_of("a", "tie")
    [line] = run.read(UNDECIDED)
    new = relabelled(line, "second")
    durable.write_file(run.path / PLANNED, json_lines.to_json({"line": new}) + "\n")
    with run.lock():  # so that nobody can finish it now
        assert winners(select([run])) == {key(0): "second"}
    assert winners(select([run])) == {key(0): "second"}
    assert not (run.path / PLANNED).exists()


def test_confidence_is_the_chosen_ones() -> None:
    run = run_of("a", Verdict("first", 0.9), Verdict("second", 0.2), "first", Verdict("tie", 0.52))
    confidences = [label.confidence for label in select([run], ties=True).labels]
    assert confidences == pytest.approx([0.9, 0.8, 1.0, 0.5])


@pytest.mark.parametrize("kind", KINDS)
def test_lines_that_somebody_has_changed_harm_no_other(kind: str, tmp_path: Path) -> None:
    run = run_of("a", "first")
    odd: list[dict[str, Any]] = [
        {"choice": "first", "chosen": 5, "rejected": None, "prompt": {"a": 1}},
        {"choice": "second", "chosen": [{"role": "wizard"}], "rejected": [7], "prompt": []},
        {"choice": "first", "chosen": "a", "rejected": "b", "prompt": "c", "q": 1e400, "step": "x"},
        {
            "choice": "second",
            "chosen": "a\ud800",
            "rejected": "d",
            "prompt": "c",
            "q": -3,
            "note": [1],
        },
        {"choice": ["first"], "chosen": "a", "rejected": "e", "prompt": "c"},
        {
            "choice": "first",
            "chosen": "a",
            "rejected": "f",
            "prompt": "c",
            "tools": "{",
            "pair_id": 4,
        },
        {},
    ]
    with (run.path / PAIRS).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in odd)
    selection = select([run])
    assert [label.pair_id for label in selection.labels].count("") == 4
    assert {label.confidence for label in selection.labels} <= {0.91, 1.0}
    to = tmp_path / f"pairs.{kind}"
    write_pairs(to, {"train": selection.labels}, kind, folder=False)
    again = [each for _, each in read_preferences(read_splits(str(to))["train"])]
    assert len(again) == 6
    assert replace(selection.labels[-1].preference, first_shown=None) in again


def test_parts_have_no_prompt_in_common_and_depend_on_the_seed() -> None:
    prompts = [
        run_of(f"r{number}", "first", "second", prompt=f"Ask {number}?") for number in range(20)
    ]
    spaced = run_of("spaced", "first", prompt="ask  7?")  # the same prompt to a reader
    selection = select([*prompts, spaced])
    splits = [split_by_prompt(selection.labels, 0.25, seed) for seed in (0, 0, 1)]
    for parts in splits:
        asked = {
            name: {" ".join(label.preference.prompt[0].content.lower().split()) for label in part}
            for name, part in parts.items()
        }
        assert len(asked["valid"]) == 5
        assert asked["train"].isdisjoint(asked["valid"])
        assert sum(map(len, parts.values())) == 41
    assert splits[0] == splits[1] != splits[2]


def test_each_part_has_a_prompt() -> None:
    two = select([run_of("a", "first", "first")]).labels
    for share in (0.01, 0.99):
        assert {name: len(part) for name, part in split_by_prompt(two, share, 0).items()} == {
            "train": 1,
            "valid": 1,
        }
    with pytest.raises(UserError, match="cannot be split"):
        split_by_prompt(two[:1], 0.5, 0)


MIXED: dict[str, Callable[[], list[Run]]] = {
    "text": lambda: [run_of("a", "first", "second", "tie")],
    "messages": lambda: [run_of("a", "first"), run_of("b", "second", messages=CHAT[:2])],
    "messages and tools": lambda: [
        run_of("a", "first", Verdict("second", 0.2)),
        run_of("b", "second", messages=CHAT, tools=TOOLS),
    ],
    "hostile": lambda: [
        run_of(
            "a", "first", prompt='a,"b"\n\x1b[31m\u202e é 漢字', first="=1+1\r\n;", second="\t'"
        ),
    ],
}


@pytest.mark.parametrize("layout", MIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_datasets_and_the_own_reader_read_what_is_written(
    layout: str, kind: str, tmp_path: Path
) -> None:
    import datasets

    selection = select(MIXED[layout](), ties=True)
    to = tmp_path / "out"
    write_pairs(to, {"train": selection.labels}, kind, folder=True)
    file = to / f"train.{kind}"
    builder = "json" if kind == "jsonl" else kind
    table = datasets.load_dataset(
        builder, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(table) == len(selection.labels)
    for name in ("prompt", "chosen", "rejected"):
        nested = layout.startswith("messages") and kind != "csv"
        assert all(isinstance(each, list if nested else str) for each in table[name])
    if layout == "text":
        first = selection.labels[0].preference
        assert table[0]["prompt"] == first.prompt[0].content
        assert table[0]["chosen"] == first.chosen[0].content
    expected = {(label.run, label.pair_id): label for label in selection.labels}
    order = [expected[key] for key in zip(table["run"], table["pair_id"], strict=True)]
    assert table["choice"] == [label.choice for label in order]
    assert table["confidence"] == pytest.approx([label.confidence for label in order])
    again = [each for _, each in read_preferences(read_splits(str(to))["train"])]
    assert again == [replace(label.preference, first_shown=None) for label in order]


def test_calls_of_tools_that_come_late_are_read_too(tmp_path: Path) -> None:
    """A reader takes the keys of messages in its first chunk for all that there are."""
    import datasets

    early = select([run_of("early", *["first"] * 60, messages=CHAT[:2], tools=TOOLS)]).labels
    late = select([run_of("late", "first", messages=CHAT, tools=TOOLS)]).labels
    file = tmp_path / "pairs.jsonl"
    write_pairs(file, {"train": [*early, *late]}, "jsonl", folder=False)
    table = datasets.load_dataset(
        "json",
        data_files=str(file),
        split="train",
        chunksize=2000,
        cache_dir=str(tmp_path / "cache"),
    )
    called = [row for row in table["prompt"] if any(turn.get("tool_calls") for turn in row)]
    assert (len(table), len(called)) == (61, 1)


def test_a_folder_of_parts_is_read_as_splits(tmp_path: Path) -> None:
    import datasets

    selection = select([run_of("a", *["first"] * 10)])
    parts = split_by_prompt(selection.labels, 0.3, 0)
    write_pairs(tmp_path / "out", parts, "jsonl", folder=True)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sorted(map(len, loaded.values())) == [3, 7]
    assert {
        name: len(list(read_preferences(split)))
        for name, split in read_splits(str(tmp_path / "out")).items()
    } == {"train": 7, "valid": 3}


def test_the_labels_of_a_run_survive_the_way_out_and_in(tmp_path: Path) -> None:
    run = make_run("a", pairs=8)
    write_pairs(
        tmp_path / "a.jsonl", {"train": select([run], flagged=True).labels}, "jsonl", folder=False
    )
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    of_run = {line["pair_id"]: line for line in run.read(PAIRS)}
    assert {line["pair_id"] for line in lines} == set(of_run)
    for line in lines:
        for name in ("prompt", "chosen", "rejected", "choice", "flagged", "note", "judge"):
            assert line[name] == of_run[line["pair_id"]][name]
    assert len(labels(run)) == 8


WRITES = """
from engine.runs.labels import select
from engine.runs.pair_files import split_by_prompt, write_pairs

labels = select([Run(Path(sys.argv[2]))]).labels
begin_to_die()
to = Path(sys.argv[3])
parts = {"train": labels} if to.suffix else split_by_prompt(labels, 0.5, 0)
write_pairs(to, parts, "jsonl", folder=not to.suffix)
print("acknowledged")
"""


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs"])
def test_a_writer_killed_at_any_change_leaves_the_old_or_the_new(name: str, tmp_path: Path) -> None:
    run = run_of("a", *["first"] * 6)
    old = select([run]).labels[:2]
    outcomes = set()
    for instant in itertools.count(1):
        to = tmp_path / str(instant) / name
        to.parent.mkdir()
        parts = {"train": old[:1], "valid": old[1:]} if name == "pairs" else {"train": old}
        write_pairs(to, parts, "jsonl", folder=name == "pairs")
        killed = killed_at(instant, WRITES, run.path, to)
        if name == "pairs" and not to.exists():  # between two renames: the next writer mends it
            durable.tidy_folder(to, private=False)
        files = [to] if to.is_file() else sorted(to.iterdir())
        lines = [line for file in files for line in file.read_text().splitlines()]
        assert all(json.loads(line)["chosen"] for line in lines)
        outcomes.add(len(lines))
        if killed.returncode == 0:
            assert "acknowledged" in killed.stdout
            assert [each.name for each in to.parent.iterdir()] == [name]
            break
    assert outcomes == {2, 6}


def test_what_does_not_fit_leaves_what_was_there(
    small_disk: Path, fill_disk: Callable[[], Path]
) -> None:
    selection = select([run_of("a", *["first"] * 6)])
    to = small_disk / "pairs.jsonl"
    write_pairs(to, {"train": selection.labels[:1]}, "jsonl", folder=False)
    before = to.read_bytes()
    fill_disk()
    with pytest.raises(StorageError, match="free some space"):
        write_pairs(to, {"train": selection.labels * 100}, "jsonl", folder=False)
    assert to.read_bytes() == before
    assert sorted(each.name for each in small_disk.iterdir()) == ["ballast", "pairs.jsonl"]
