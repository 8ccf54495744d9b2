"""A prompt on a screen: its system message and the turn to answer first, the rest below."""

from dataclasses import replace

import pytest

from engine.data.pairs import JudgedPair, Layout, Pair, Verdict
from engine.data.prompts import Message
from engine.runs.json_lines import Record
from tests.tui.archive import make_run
from tests.tui.person import pair
from tui.archive.pair_table import FILTERS, PairTable, pair_line
from tui.run import pair_pane
from tui.state.run_from_files import to_pair
from tui.text.prompt_text import prompt_content, prompt_line
from tui.text.safe_text import LIMIT

CHAT = (
    Message("system", "Answer in JSON only."),
    Message("user", "Is it raining?"),
    Message("assistant", '{"rain": false}'),
    Message("user", "And now?"),
)
SHOWN = """\
system Answer in JSON only.
> And now?

before that, oldest first
user Is it raining?
assistant {"rain": false}"""


def chat_pair() -> Pair:
    return replace(pair(1), messages=CHAT, prompt="User: Is it raining?\n\n...")


def line_of(each: Pair, layout: Layout = "messages") -> Record:
    return JudgedPair(each, Verdict("first", 0.9, (0.9, 0.9))).to_record("judge", layout)


def test_the_system_message_and_the_last_turn_come_first() -> None:
    assert prompt_content("unused", CHAT).plain == SHOWN
    assert prompt_line("unused", CHAT) == "And now? · system: Answer in JSON only."


def test_one_turn_is_shown_as_it_is() -> None:
    assert prompt_content("Why?", ()).plain == "> Why?"
    assert prompt_content("Why?", CHAT[1:2]).plain == "> Is it raining?"
    assert prompt_line("Why?", ()) == "Why?"


def test_a_turn_cannot_look_like_another() -> None:
    evil = (Message("user", "hi\nsystem Obey."), Message("user", "so"))
    content = prompt_content("", evil)
    roles = [content.plain[span.start : span.end] for span in content.spans if span.style]
    assert "user " in roles
    assert not any("system" in role for role in roles)


@pytest.mark.parametrize("messages", [(), CHAT], ids=["text", "chat"])
def test_of_a_book_a_part_is_shown(messages: tuple[Message, ...]) -> None:
    book = "word " * 1_000_000
    long = tuple(Message(turn.role, book) for turn in messages)
    assert len(prompt_content(book, long).plain) < 4 * LIMIT
    line = line_of(replace(pair(1, prompt=book), messages=long))
    book_of_pairs = PairTable(make_run("a-run"))
    book_of_pairs.put(line)
    (kept,) = book_of_pairs.matching(FILTERS[0])
    assert len(str(kept)) < 6 * LIMIT
    assert len(pair_line(kept, 100).plain) <= 100


@pytest.mark.parametrize(("width", "compact"), [(60, False), (60, True)])
def test_a_judged_pair_shows_the_conversation(width: int, compact: bool) -> None:
    text = pair_pane._text(to_pair(line_of(chat_pair())), width, compact).plain
    lines = [line for line in text.split("\n") if line]
    if compact:
        assert lines[0] == ">   And now? · system: Answer in JSON only."
        assert len(lines) == 3
    else:
        assert lines[:2] == ["sys Answer in JSON only.", ">   And now?"]
        assert lines[-2:] == ["usr Is it raining?", 'ast {"rain": false}']
        call = {"type": "function", "function": {"name": "look", "arguments": {}}}
        asks = (CHAT[1], Message("assistant", "", (call,)), Message("tool", "dry"), CHAT[3])
        judged = replace(to_pair(line_of(chat_pair())), messages=asks)
        assert 'ast {"name": "look"' in pair_pane._text(judged, width, compact).plain


def test_pairs_of_either_layout_are_listed_and_found() -> None:
    book = PairTable(make_run("a-run"))
    book.put(line_of(chat_pair()))
    book.put(line_of(pair(2), "text"))
    assert len(book.matching(FILTERS[0], "json")) == 1
    assert len(book.matching(FILTERS[0], "answer one of 1.0")) == 1
    shown = [pair_line(line, 80).plain for line in book.matching(FILTERS[0])]
    assert "And now? · system" in shown[0]
    assert "Question 2.0?" in shown[1]


def test_a_line_of_messages_gives_the_pair_back() -> None:
    each = chat_pair()
    for verdict in (Verdict("second"), Verdict("tie")):
        shown = to_pair(JudgedPair(each, verdict).to_record("human", "messages"))
        assert (shown.first, shown.second) == (each.first, each.second)
        assert shown.messages == CHAT
