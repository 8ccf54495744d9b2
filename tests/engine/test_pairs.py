"""Pairs and verdicts, and the lines that keep them."""

import json
import math
from typing import Any

import pytest

from engine.pairs import Pair, Verdict, record, verdict_from, verdict_of
from tests.engine.small_models import pair

NAN = math.nan


@pytest.mark.parametrize(
    ("orders", "margin", "choice"),
    [
        ((0.9, 0.8), 0.0, "first"),
        ((0.1, 0.2), 0.0, "second"),
        ((1.0, 1.0), 0.0, "first"),
        ((0.0, 0.0), 0.0, "second"),
        ((0.9, 0.2), 0.0, "tie"),  # the orders disagree, however sure one is
        ((0.2, 0.9), 0.0, "tie"),
        ((0.5, 0.5), 0.0, "tie"),
        ((0.5, 0.9), 0.0, "tie"),
        ((0.9, 0.5), 0.0, "tie"),
        ((0.5 + 1e-9, 0.5 + 1e-9), 0.0, "first"),
        ((0.5 - 1e-9, 0.5 - 1e-9), 0.0, "second"),
        ((0.7, 0.7), 0.2 + 1e-9, "tie"),
        ((0.7, 0.7), 0.2 - 1e-9, "first"),
        ((0.3, 0.3), 0.2 - 1e-9, "second"),
        ((NAN, 0.9), 0.0, "invalid"),
        ((0.9, NAN), 0.0, "invalid"),
        ((NAN, NAN), 0.0, "invalid"),
        ((math.inf, 0.9), 0.0, "invalid"),
        ((1.1, 0.9), 0.0, "invalid"),
        ((0.9, -0.1), 0.0, "invalid"),
    ],
)
def test_verdict_of_two_orders(orders: tuple[float, float], margin: float, choice: str) -> None:
    verdict = verdict_of(orders, margin)
    assert verdict.choice == choice
    assert verdict.decided == (choice in ("first", "second"))
    if choice == "invalid":
        assert (verdict.q, verdict.q_orders) == (None, None)
    else:
        assert verdict.q == pytest.approx(sum(orders) / 2)
        assert verdict.q_orders == orders


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
    assert pair(**changes).undecidable() == choice


def test_a_pair_survives_json() -> None:
    each = pair(3, step=12, prompt='é "{}"\n\x00', first="漢字")
    assert Pair.from_json(json.loads(json.dumps(each.to_json()))) == each


@pytest.mark.parametrize(("choice", "chosen"), [("first", "It is so."), ("second", "No idea")])
def test_a_decided_line_is_training_data(choice: Any, chosen: str) -> None:
    each = pair()
    line = record(each, Verdict(choice, 0.7, (0.6, 0.8)), "a judge")
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
    line = record(pair(), Verdict(choice), "human")
    assert {"chosen", "rejected"}.isdisjoint(line)
    assert (line["first"], line["second"]) == ("It is so.", "No idea")


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict("first", 0.7, (0.6, 0.8)),
        Verdict("second"),
        Verdict("tie", note="both fine", flagged=True),
        Verdict("invalid"),
    ],
)
def test_a_line_gives_its_verdict_back(verdict: Verdict) -> None:
    line = json.loads(json.dumps(record(pair(), verdict, "judge")))
    assert verdict_from(line) == verdict
