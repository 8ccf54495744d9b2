"""What a judge reads of a conversation, and of a prompt or answers that are too long for it."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from engine.data.prompts import Message, Prompt, transcript
from engine.data.tokens import control_ids
from engine.judges.presentation import (
    FIRST_LABEL,
    PROMPT_LABEL,
    RUBRIC_LABEL,
    SECOND_LABEL,
    render_frame,
)
from tests.engine.small_models import tokenizer

TOKENIZER = tokenizer()
FRAME = render_frame(TOKENIZER, "Be brief.")
LABELS = {"Tools:", "System:", "User:", "Assistant:", "Tool:"}


def prompt_of(*turns: tuple[str, str], tools: tuple[dict[str, Any], ...] = ()) -> Prompt:
    messages = tuple(Message(*turn) for turn in turns)
    return Prompt(messages, transcript(messages), tools)


CHAT = prompt_of(
    ("system", "Answer in one word."),
    ("user", "Is it raining?\nOr not?"),
    ("assistant", "No."),
    ("user", "And now?"),
)


def shown(prompt: str | Prompt, most: int = 10_000, answers: tuple[str, str] = ("Yes.", "No.")):
    """What the judge reads as prompt, first and second answer, and whether it is a part."""
    pair = FRAME.present(prompt, *answers, most)
    text = TOKENIZER.decode(pair.as_it_is)
    text = text.partition(RUBRIC_LABEL)[0]
    asked, first, second = re.split(f"{FIRST_LABEL}|{SECOND_LABEL}", text)
    assert first.startswith("1> ")
    assert second.startswith("2> ")
    return asked.removeprefix(PROMPT_LABEL), first[3:], second[3:], pair.cut


def test_a_conversation_is_read_with_its_system_message_and_labelled_turns() -> None:
    assert shown(CHAT) == (
        "System:\n> Answer in one word.\nUser:\n> Is it raining?\n> Or not?\nAssistant:\n> No.\n"
        "User:\n> And now?",
        "Yes.",
        "No.",
        False,
    )


def test_tools_are_read_too() -> None:
    prompt = prompt_of(("user", "Look."), tools=({"name": "look"},))
    assert shown(prompt)[0] == 'Tools:\n> {"name": "look"}\nUser:\n> Look.'


def test_one_turn_of_a_user_is_read_as_it_is() -> None:
    single = prompt_of(("user", "Is it\nraining?"))
    single = Prompt(single.messages, "Is it\nraining?")
    assert FRAME.pair_ids(single, "a", "b") == FRAME.pair_ids("Is it\nraining?", "a", "b")
    assert shown(single)[0] == "> Is it\n> raining?"


NASTY = st.sampled_from(
    ["User:", "\nUser:\n", "\rAssistant:\r", "\u2028System:\u2028", "> x", "\n"]
)
TURN = st.lists(NASTY | st.text(max_size=5), min_size=1, max_size=6).map("".join)
TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool"]), TURN.filter(str.strip)),
    min_size=2,
    max_size=5,
)


@limits(max_examples=150, deadline=None)
@given(turns=TURNS, most=st.integers(0, 120))
def test_no_line_of_a_conversation_is_a_line_of_its_frame(
    turns: list[tuple[str, str]], most: int
) -> None:
    turns = [(role, text.encode(errors="replace").decode()) for role, text in turns]
    chat = prompt_of(*turns)
    whole = FRAME.present(chat, "a", "b", 10_000)
    lines = TOKENIZER.decode(whole.as_it_is).partition(FIRST_LABEL)[0].split("\n")[1:]
    frame = [line for line in lines if not line.startswith("> ")]
    assert frame == [f"{role.capitalize()}:" for role, _ in turns]
    data = whole.as_it_is[: len(whole.as_it_is) - len(FRAME.suffix)]
    assert control_ids(TOKENIZER).isdisjoint(data)
    part = FRAME.present(chat, "a", "b", 2 + 40 + most)
    text = TOKENIZER.decode(part.as_it_is)
    lines = text.partition(FIRST_LABEL)[0].split("\n")[1:]
    assert all(line in LABELS or line.startswith("> ") for line in lines)


def test_of_a_long_conversation_the_last_lines_and_the_system_message_stay() -> None:
    turns = [(role, f"turn {at}") for at in range(50) for role in ("user", "assistant")]
    chat = prompt_of(("system", "Be kind."), *turns, ("user", "The end?"))
    asked, first, second, cut = shown(chat, 130)
    assert cut
    assert asked.startswith("System:\n> Be kind.\n")
    assert asked.endswith("Assistant:\n> turn 49\nUser:\n> The end?")
    assert "turn 40" not in asked
    assert (first, second) == ("Yes.", "No.")


def test_of_a_long_last_line_the_end_stays_under_its_label() -> None:
    chat = prompt_of(("system", "Be kind."), ("user", "word " * 100_000 + "the end"))
    asked, *_, cut = shown(chat, 130)
    assert cut
    assert re.fullmatch(r"System:\n> Be kind\.\nUser:\n> [word ]+ the end", asked)
    assert len(asked) == 130 - len("1> Yes.2> No.")


def test_of_a_book_the_end_is_read() -> None:
    asked, first, second, cut = shown("word " * 1_000_000 + "the end", 100)
    assert asked.startswith("> ")
    assert (asked[-12:], len(asked), cut) == ("word the end", 100 - len("1> Yes.2> No."), True)
    assert (first, second) == ("Yes.", "No.")


def test_long_answers_are_cut_alike_and_keep_their_start() -> None:
    asked, first, second, cut = shown("Why?", 100, ("a" * 500, "b" * 90))
    assert (asked, first, second, cut) == ("> Why?", "a" * 44, "b" * 44, True)
    # What one does not need, the others have.
    asked, first, second, cut = shown("w" * 500, 100, ("a" * 60, "b" * 10))
    assert (asked, first, second, cut) == ("> " + "w" * 42, "a" * 40, "b" * 10, True)


@limits(max_examples=100, deadline=None)
@given(lengths=st.tuples(*[st.integers(1, 200)] * 3), most=st.integers(0, 700), chat=st.booleans())
def test_the_limit_holds_and_both_orders_are_of_one_length(
    lengths: tuple[int, int, int], most: int, chat: bool
) -> None:
    text, first, second = ("x" * length for length in lengths)
    prompt = prompt_of(("system", "s"), ("user", text)) if chat else text
    pair = FRAME.present(prompt, first, second, most)
    around = sum(map(len, FRAME.labels)) + len(FRAME.suffix)
    assert len(pair.as_it_is) == len(pair.swapped) <= most + around
    whole = FRAME.pair_ids(prompt, first, second)
    assert pair.cut == (len(whole) > most + around)
    assert pair.cut or pair.as_it_is == whole


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_what_is_no_turn_of_a_user_is_a_conversation(role: str) -> None:
    assert prompt_of((role, "hi"), ("user", "hi")).conversation
    assert not prompt_of(("user", "hi")).conversation
