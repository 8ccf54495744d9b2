"""Pairs and verdicts, and the lines that keep them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.pairs import JudgedPair, Layout, Pair, Ties, Verdict, layout_for, verdict_of
from engine.data.prompts import Message, Prompt
from engine.data.recorded_pairs import RecordedPair, messages_of, text_of
from engine.events import Choice
from engine.runs.relabel import relabelled
from tests.engine.small_models import pair

pytestmark = pytest.mark.quick


CHAT = (Message("system", "Be brief."), Message("user", "Why?"))
PLAIN = (Message("user", "Why?"),)
TOOLS = ({"name": "look", "parameters": {"where": {"type": "string"}}},)

NAN, INF = math.nan, math.inf
LOGIT_07 = math.log(0.7 / 0.3)


@pytest.mark.parametrize(
    ("l1", "l2", "margin", "by_margin", "by_orders"),
    [
        (2.2, -1.4, 0.0, "first", "first"),
        (-2.2, 1.4, 0.0, "second", "second"),
        (INF, -INF, 0.0, "first", "first"),
        (-INF, INF, 0.0, "second", "second"),
        (INF, INF, 0.0, "tie", "tie"),  # the same place both times
        (-INF, -INF, 0.0, "tie", "tie"),
        (2.2, 1.4, 0.0, "first", "tie"),  # the orders disagree, however sure one is
        (1.4, 2.2, 0.0, "second", "tie"),
        (-1.4, -2.2, 0.0, "first", "tie"),
        (700.0, 699.0, 0.0, "first", "tie"),  # a place that pulls hard
        (0.0, 0.0, 0.0, "tie", "tie"),
        (2.0, 2.0, 0.0, "tie", "tie"),
        (0.0, -2.0, 0.0, "first", "tie"),
        (2.0, 0.0, 0.0, "first", "tie"),
        (1e-9, -1e-9, 0.0, "first", "first"),
        (-1e-9, 1e-9, 0.0, "second", "second"),
        (LOGIT_07, -LOGIT_07, 0.2 + 1e-9, "tie", "tie"),
        (LOGIT_07, -LOGIT_07, 0.2 - 1e-9, "first", "first"),
        (-LOGIT_07, LOGIT_07, 0.2 - 1e-9, "second", "second"),
        (NAN, 2.2, 0.0, "invalid", "invalid"),
        (2.2, NAN, 0.0, "invalid", "invalid"),
        (NAN, NAN, 0.0, "invalid", "invalid"),
    ],
)
def test_verdict_of_two_orders(
    l1: float, l2: float, margin: float, by_margin: Choice, by_orders: Choice
) -> None:
    ways: tuple[tuple[Ties, Choice], ...] = (("margin", by_margin), ("orders", by_orders))
    for ties, choice in ways:
        verdict = verdict_of(l1, l2, margin=margin, ties=ties)
        assert verdict.choice == choice
        assert verdict.decided == (choice in ("first", "second"))
        if choice == "invalid":
            assert (verdict.q, verdict.q_orders) == (None, None)
            continue
        assert verdict.q_orders == pytest.approx((probability(l1), 1 - probability(l2)))
        assert verdict.q == pytest.approx(0.5 if l1 == l2 else probability((l1 - l2) / 2))


def probability(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-np.longdouble(log_odds))))


@pytest.mark.parametrize("pull", [0.0, 0.3, -5.0, 40.0, -600.0])
def test_what_a_place_adds_to_both_orders_cancels(pull: float) -> None:
    for odds in (-3.0, -0.25, 0.5, 4.0):
        verdict = verdict_of(pull + odds, pull - odds, margin=0.0, ties="margin")
        assert verdict.q == pytest.approx(probability(odds))
        assert verdict.choice == ("first" if odds > 0 else "second")


@pytest.mark.parametrize(
    ("changes", "choice"),
    [
        ({}, None),
        ({"second": "It is so.", "second_finished": True}, "identical"),
        ({"second": "It is so.", "second_finished": False}, "identical"),  # the same to a reader
        ({"first": "", "second": ""}, "empty"),
        ({"first": " \n", "second": ""}, "empty"),
        ({"first": ""}, None),  # one empty answer can lose
    ],
)
def test_pairs_that_nobody_needs_to_look_at(changes: dict[str, Any], choice: str | None) -> None:
    assert pair(**changes).automatic_choice() == choice


@pytest.mark.parametrize(
    ("changes", "choice"),
    [
        ({"first_finished": True, "second_finished": True}, None),
        ({"first_finished": True, "second_finished": False}, "first"),
        ({"first_finished": False, "second_finished": True}, "second"),
        ({"first_finished": False, "second_finished": False}, "tie"),
        ({"first": " ", "first_finished": True, "second_finished": False}, "tie"),
        ({"second": "It is so.", "first_finished": False}, "identical"),
    ],
)
def test_an_answer_that_was_cut_off_cannot_win(changes: dict[str, Any], choice: str | None) -> None:
    each = replace(pair(**changes), cut_loses=True)
    assert each.automatic_choice() == choice
    assert Pair.from_json(json.loads(json.dumps(each.to_json()))) == each
    judged = JudgedPair(each, Verdict(each.automatic_choice() or "first"))
    assert judged.by_cut == (choice in ("first", "second"))
    assert judged.to_record("a judge")["judge"] == ("missing_eos" if judged.by_cut else "a judge")
    assert pair(**changes).automatic_choice() in (None, "identical")  # kept, it is judged


def test_a_pair_survives_json() -> None:
    each = pair(3, step=12, prompt='é "{}"\n\x00', first="漢字")
    assert Pair.from_json(json.loads(json.dumps(each.to_json()))) == each


@pytest.mark.parametrize(("choice", "chosen"), [("first", "It is so."), ("second", "No idea")])
def test_a_decided_line_is_training_data(choice: Any, chosen: str) -> None:
    each = pair()
    line = JudgedPair(each, Verdict(choice, 0.7, (0.6, 0.8))).to_record("a judge")
    texts = {each.first, each.second}
    assert line["prompt"] == each.prompt
    assert line["chosen"] == chosen
    assert {line["chosen"], line["rejected"]} == texts
    lengths = {each.first: len(each.first_ids), each.second: len(each.second_ids)}
    finished = {each.first: True, each.second: False}
    for side in ("chosen", "rejected"):
        assert line[f"{side}_tokens"] == lengths[line[side]]
        assert line[f"{side}_finished"] == finished[line[side]]
    assert {"first", "second"}.isdisjoint(line)


@pytest.mark.parametrize("choice", ["tie", "both_bad", "skip", "identical", "empty", "invalid"])
def test_an_undecided_line_is_no_training_data(choice: Any) -> None:
    line = JudgedPair(pair(), Verdict(choice)).to_record("human")
    assert {"chosen", "rejected"}.isdisjoint(line)
    assert (line["first"], line["second"]) == ("It is so.", "No idea")


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict("first", 0.7, (0.6, 0.8)),
        Verdict("second"),
        Verdict("tie", note="both fine", flagged=True),
        Verdict("invalid", note="no memory"),
        Verdict("first", 0.7, (0.6, 0.8), cut=True),
    ],
)
def test_a_line_gives_its_verdict_back(verdict: Verdict) -> None:
    line = json.loads(json.dumps(JudgedPair(pair(), verdict).to_record("judge")))
    assert RecordedPair.from_record(line).verdict == verdict


@pytest.mark.parametrize(
    ("prompts", "layout"),
    [
        ([Prompt(PLAIN, "Why?")], "text"),
        ([Prompt(PLAIN, "Why?"), Prompt(CHAT, "Why?")], "messages"),
        ([Prompt((Message("assistant", "Hm."), *PLAIN), "")], "messages"),
        ([Prompt(CHAT, "Why?"), Prompt(PLAIN, "Why?", TOOLS)], "messages and tools"),
    ],
)
def test_the_layout_is_of_all_prompts(prompts: list[Prompt], layout: str) -> None:
    assert layout_for(prompts) == layout


def chat_pair() -> Pair:
    return replace(pair(prompt="Why?"), messages=CHAT, tools=TOOLS)


def test_a_pair_of_a_conversation_survives_json() -> None:
    each = chat_pair()
    assert Pair.from_json(json.loads(json.dumps(each.to_json()))) == each
    older = {k: v for k, v in pair().to_json().items() if k not in ("messages", "tools")}
    assert Pair.from_json(older) == pair()


@pytest.mark.parametrize("each", [chat_pair(), pair(prompt="Why?")], ids=["chat", "one turn"])
def test_a_line_of_messages_is_what_trainers_read_as_a_chat(each: Pair) -> None:
    line = json.loads(
        json.dumps(JudgedPair(each, Verdict("second")).to_record("human", "messages"))
    )
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert line["prompt"] == (turns if each.messages else turns[1:])
    assert line["chosen"] == [{"role": "assistant", "content": each.second}]
    assert line["rejected"] == [{"role": "assistant", "content": each.first}]
    assert "tools" not in line
    with_tools = JudgedPair(each, Verdict("tie")).to_record("human", "messages and tools")
    assert json.loads(with_tools["tools"]) == list(each.tools)
    assert with_tools["first"] == [{"role": "assistant", "content": each.first}]


@pytest.mark.parametrize("layout", ["text", "messages", "messages and tools"])
def test_a_line_is_read_in_either_layout(layout: Layout) -> None:
    each = chat_pair()
    line = json.loads(json.dumps(JudgedPair(each, Verdict("first")).to_record("human", layout)))
    assert text_of(line["chosen"]) == each.first
    assert text_of(line["rejected"]) == each.second
    assert messages_of(line["prompt"]) == (() if layout == "text" else CHAT)
    changed = relabelled(line, "second")
    assert (text_of(changed["chosen"]), text_of(changed["rejected"])) == (each.second, each.first)
    assert text_of(relabelled(line, "tie")["first"]) == each.first


CALL = {"type": "function", "function": {"name": "look", "arguments": {"where": "Oslo"}}}


def test_calls_of_tools_stay_with_the_pair() -> None:
    turns = (
        Message("user", "Is it cold?"),
        Message("assistant", "", tool_calls=(CALL,)),
        Message("tool", "-3", name="look"),
    )
    each = replace(pair(), messages=turns, tools=TOOLS)
    assert Pair.from_json(json.loads(json.dumps(each.to_json()))) == each
    line = JudgedPair(each, Verdict("first")).to_record("judge", "messages and tools")
    [call] = line["prompt"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"where": "Oslo"}
    assert messages_of(line["prompt"]) == turns
    assert '"where": "Oslo"' in text_of(line["prompt"])
    moved = relabelled(line, "second")
    for stored in map(RecordedPair.from_record, (line, moved)):
        assert (stored.first, stored.second) == (each.first, each.second)


@pytest.mark.parametrize("foreign", [None, 3, "x", [3], [{"role": "x", "content": ""}], [{}], {}])
def test_what_is_no_list_of_messages_has_none(foreign: Any) -> None:
    assert messages_of(foreign) == ()
    assert isinstance(text_of(foreign), str)


def test_lines_of_messages_load_as_one_dataset(tmp_path: Path) -> None:
    from datasets import load_dataset

    pairs = [chat_pair(), pair(prompt="Why?"), replace(pair(), messages=CHAT)] * 3
    file = tmp_path / "pairs.jsonl"
    lines = [
        JudgedPair(each, Verdict("first")).to_record("human", "messages and tools")
        for each in pairs
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows: Any = load_dataset("json", data_files=str(file), cache_dir=str(tmp_path), split="train")
    assert [row["prompt"] for row in rows] == [line["prompt"] for line in lines]
    assert [row["chosen"] for row in rows] == [line["chosen"] for line in lines]
    assert [json.loads(row["tools"]) for row in rows] == [list(each.tools) for each in pairs]
