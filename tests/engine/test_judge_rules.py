"""The rules that come with the program, as judges."""

from typing import Any

import pytest

from engine.errors import UserError
from engine.judges.rules import avoid
from engine.settings.checks import check
from engine.settings.files import from_mapping
from tests.engine.test_judge_function import judge_of, q_of, sigmoid


def test_length() -> None:
    assert q_of("rule:length") == pytest.approx([sigmoid(-4), sigmoid(4), 0.5])
    near_two = [sigmoid(-4 + 0), sigmoid(-1 + 3), 0.5]
    assert q_of("rule:length", judge_length=2) == pytest.approx(near_two)


def test_a_regular_expression() -> None:
    q = q_of("rule:matches", judge_pattern=r"^It is\.$|so\.$|(?i:me)")
    assert q == pytest.approx([sigmoid(-5), sigmoid(-5), sigmoid(5)])


def test_json() -> None:
    with judge_of("rule:json") as judge:
        texts = [("", '{"a": [1, 2]}', "{a: 1}"), ("", "yes", " 3\n"), ("", "1", "true")]
        choices = [verdict.choice for verdict in judge.judge(texts)]
    assert choices == ["first", "second", "tie"]


def test_words_to_avoid() -> None:
    with judge_of("rule:avoid", judge_words=["very", "so to say"]) as judge:
        texts = [("", "Very, very good", "very good"), ("", "So to say", "every"), ("", "a", "b")]
        verdicts = judge.judge(texts)
    assert [verdict.q for verdict in verdicts] == pytest.approx([sigmoid(-1), sigmoid(-1), 0.5])


def test_words_that_nothing_stands_apart_from() -> None:
    words = ["!", "👍", "抱歉", "c++", ""]
    for text, uses in (("Oh!! Sure👍", 3), ("非常抱歉，很抱歉。", 2), ("C++ is no ac++", 1)):
        assert avoid("", text, words=words) == -uses


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"judge": "rule:best"}, "there is no rule:best; the rules are rule:length, rule:matches"),
        ({"judge": "rule:matches"}, "rule:matches needs a regular expression"),
        ({"judge": "rule:matches", "judge_pattern": "(a"}, "it is no regular expression"),
        ({"judge": "rule:avoid"}, "rule:avoid needs words"),
    ],
)
def test_a_rule_that_lacks_something(chosen: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match="judge") as caught:
        check(from_mapping(chosen, "the test"))
    assert told in str(caught.value)


def test_a_pattern_that_takes_for_ever_costs_its_pair_alone() -> None:
    with judge_of("rule:matches", judge_pattern="(a+)+$", judge_timeout=1) as judge:
        texts = [("", "a" * 40 + "b", "no"), ("", "aaa", "no")]
        assert [each.choice for each in judge.judge(texts)] == ["invalid", "first"]
