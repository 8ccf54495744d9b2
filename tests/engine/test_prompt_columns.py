"""What of a row is its prompt: which columns belong to it, which cells are text, what is said."""

import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.data import prompts
from engine.data.chat_messages import (
    Message,
    messages_of,
    preference_of,
    text_of,
    tools_of,
    transcript,
)
from engine.data.files import Unusable
from engine.data.prompts import Prompt, PromptSet, load_prompts
from engine.errors import UserError
from engine.settings.schema import Settings

pytestmark = pytest.mark.quick


def loaded(folder: Path, rows: list[dict[str, Any]], **values: Any) -> PromptSet:
    file = folder / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_prompts(Settings(**{"data": str(file), "eval_prompts": 0, **values}))


def only(folder: Path, row: dict[str, Any], **values: Any) -> Prompt:
    [prompt] = loaded(folder, [row], **values).train
    return prompt


def said(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(*turn) for turn in turns)


# -- columns -----------------------------------------------------------------------------------


def test_alpaca_rows_that_differ_in_their_input_are_different_prompts(tmp_path: Path) -> None:
    task = "Turn the sentence into a question."
    rows = [{"instruction": task, "input": f"It is {n}.", "output": "x"} for n in range(4)]
    found = loaded(tmp_path, [*rows, {"instruction": "Name a fruit.", "input": "", "output": "y"}])
    assert sorted(prompt.text for prompt in found.train) == [
        "Name a fruit.",
        *(f"{task}\n\nIt is {n}." for n in range(4)),
    ]
    assert found.notes == ["data: prompts are made of instruction, input; columns not used: output"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"question": "Who?", "context": "Ann sang."}, "Ann sang.\n\nWho?"),
        (
            {"instruction": "Sum up.", "context": "Long.", "input": "Now."},
            "Long.\n\nSum up.\n\nNow.",
        ),
        ({"question": "Who?", "context": ["One.", "Two.", None]}, "One.\n\nTwo.\n\nWho?"),
        ({"question": "Who?", "context": {"a": [1]}}, '{"a": [1]}\n\nWho?'),
        ({"prompt": "Text: Ann sang. Who?", "context": "Ann sang."}, "Text: Ann sang. Who?"),
        ({"instruction": "Add.", "input": 7}, "Add.\n\n7"),
        ({"instruction": "Add.", "input": math.nan}, "Add."),
        ({"instruction": "Add.", "input": None}, "Add."),
        ({"instruction": "", "input": "Say hello."}, "Say hello."),
        ({"instruction": 12, "input": "Half of it?"}, "12\n\nHalf of it?"),
    ],
)
def test_what_belongs_to_a_text_prompt_stands_in_it(
    row: dict[str, Any], text: str, tmp_path: Path
) -> None:
    assert only(tmp_path, row).messages == said(("user", text))


def test_a_column_that_is_named_is_alone_and_several_are_joined(tmp_path: Path) -> None:
    row = {"instruction": "Sum up.", "input": "Now.", "a": "One.", "b": "Two."}
    assert only(tmp_path, row, prompt_feature="instruction").text == "Sum up."
    assert only(tmp_path, row, prompt_feature="b + a").text == "Two.\n\nOne."
    with pytest.raises(UserError, match=r"prompt_feature.*no column 'c'"):
        loaded(tmp_path, [row], prompt_feature="a + c")
    found = loaded(tmp_path, [row], prompt_feature="instruction")
    assert found.notes == ["data: prompts are made of instruction; columns not used: input, a, b"]


def test_a_column_that_first_stands_far_down_is_seen(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"instruction": f"Do {n}."} for n in range(300)]
    rows[250] |= {"input": "with care", "rating": 5}
    found = loaded(tmp_path, rows)
    assert "Do 250.\n\nwith care" in {prompt.text for prompt in found.train}
    assert found.notes == ["data: prompts are made of instruction, input; columns not used: rating"]


def test_rows_of_several_kinds_in_one_file_are_all_asked(tmp_path: Path) -> None:
    rows = [{"prompt": "One?"}, {"messages": [{"role": "user", "content": "Two?"}]}]
    found = loaded(tmp_path, rows)
    assert sorted(prompt.text for prompt in found.train) == ["One?", "Two?"]
    assert found.notes == []


def test_parts_beside_a_chat_are_said_to_be_unused(tmp_path: Path) -> None:
    row = {
        "messages": [{"role": "user", "content": "Who?"}],
        "context": "Ann.",
        "images": ["a.png"],
    }
    found = loaded(tmp_path, [row])
    assert found.notes == ["data: prompts are made of messages; columns not used: context, images"]


def test_names_of_columns_are_printable_and_not_endless(tmp_path: Path) -> None:
    row = {"prompt": "a", "\x1b[31m": 1, "n" * 500: 2} | {f"c{n}": n for n in range(100)}
    [note] = loaded(tmp_path, [row]).notes
    assert note.isprintable()
    assert len(note) < 600
    assert "and 72 more" in note


def test_nobody_is_told_to_make_a_prompt_of_the_answers(tmp_path: Path) -> None:
    rows = [{"ask": "a", "Answer": "b", "chosen_text": "c", "output": "d"}]
    with pytest.raises(UserError) as caught:
        loaded(tmp_path, rows)
    assert str(caught.value).startswith(
        "prompt_feature: say which column holds the prompt: ask, chosen_text "
        "(Answer, output look like answers); "
    )
    with pytest.raises(UserError, match=r"holds the prompt: none does \(answer look"):
        loaded(tmp_path, [{"answer": "b"}])


def test_systems_come_from_their_columns_and_what_is_set_aside_is_counted(tmp_path: Path) -> None:
    assert only(tmp_path, {"question": "a", "system_prompt": "Row."}).messages == said(
        ("system", "Row."), ("user", "a")
    )
    chat = [{"role": "system", "content": "Own."}, {"role": "user", "content": "a"}]
    found = loaded(tmp_path, [{"messages": chat, "system": "Column."}])
    assert found.train[0].messages == said(("system", "Own."), ("user", "a"))
    assert found.notes == [
        "data: in 1 prompt the system column gives way to a system message of the chat"
    ]


def test_earlier_turns_in_a_column_of_their_own_are_asked_too(tmp_path: Path) -> None:
    row = {"instruction": "Three?", "input": "", "history": [["One?", "1."], ["Two?", "2."]]}
    prompt = only(tmp_path, row)
    assert prompt.text == (
        "User: One?\n\nAssistant: 1.\n\nUser: Two?\n\nAssistant: 2.\n\nUser: Three?"
    )


def test_only_the_columns_of_prompts_are_read_from_a_table(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"instruction": "a", "input": "b", "output": "c", "tools": [{"name": "f", "x": None}]},
        {"instruction": "d", "input": None, "output": "c", "tools": [{"name": "g", "x": "y"}]},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = load_prompts(Settings(data=str(tmp_path / "a.parquet"), eval_prompts=0))
    tools = {prompt.text: prompt.tools for prompt in found.train}
    assert tools == {"a\n\nb": ({"name": "f"},), "d": ({"name": "g", "x": "y"},)}
    assert "columns not used: output" in found.notes[0]


# -- chats -------------------------------------------------------------------------------------


def test_a_trailing_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    ask, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    rows = [{"messages": [ask, answer]}, {"messages": [{**ask, "content": "c"}, answer, answer]}]
    found = loaded(tmp_path, [*rows, {"messages": [{**ask, "content": "d"}]}])
    assert sorted(prompt.text for prompt in found.train) == ["a", "c", "d"]
    assert found.notes == [
        "data: the assistant's last turn is left out of 2 prompts: the model writes its own"
    ]


@pytest.mark.parametrize("column", ["conversations", "conversation", "messages", "prompt"])
def test_sharegpt_chats_are_found_by_themselves(column: str, tmp_path: Path) -> None:
    chat = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "One?"},
        {"from": "chatgpt", "value": "Two."},
        {"from": "human", "value": "Three?"},
        {"from": "gpt", "value": "Four."},
    ]
    assert only(tmp_path, {column: chat}).messages == said(
        ("system", "Be brief."), ("user", "One?"), ("assistant", "Two."), ("user", "Three?")
    )


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_a_chat_that_a_table_holds_as_text_is_a_chat(write: Any, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "It's one?"}, {"role": "assistant", "content": "No."}]
    assert only(tmp_path, {"messages": write(chat)}).messages == said(("user", "It's one?"))
    [other] = messages_of('[{"a": 1}] is what it prints. Why?')
    assert other.content.startswith('[{"a": 1}]')
    assert messages_of('[{{"role": "user"}}]') == [Message("user", '[{{"role": "user"}}]')]


def test_texts_in_a_list_take_turns() -> None:
    assert messages_of(["One?", "Two.", "Three?"]) == [
        *said(("user", "One?"), ("assistant", "Two."), ("user", "Three?"))
    ]


def test_preference_pairs_of_chats_are_asked_up_to_where_they_differ(tmp_path: Path) -> None:
    shared = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    row = {
        side: [*shared, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")
    }
    expected = said(("user", "One?"), ("assistant", "Two."), ("user", "Three?"))
    assert only(tmp_path, row).messages == expected
    written = "\n\nHuman: One?\n\nAssistant: Two.\n\nHuman: Three?\n\nAssistant: "
    texts = {"chosen": written + "Yes.\n\nNo.", "rejected": written + "No."}
    assert only(tmp_path, texts).messages == expected
    with pytest.raises(UserError, match="chosen is an answer without the prompt it is for"):
        loaded(tmp_path, [{"chosen": "Yes.", "rejected": "No."}])
    assert preference_of(None, None) == []


CALL = {
    "id": "abc",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"at": "Oslo"}'},
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def test_tools_and_their_calls_stay_with_the_prompt(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "Is it cold?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "name": "weather", "tool_call_id": "abc", "content": "-3"},
    ]
    prompt = only(tmp_path, {"messages": chat, "tools": TOOLS})
    assert prompt.tools == tuple(TOOLS)
    _, call, answer = prompt.messages
    assert call.content == ""
    assert call.tool_calls[0]["function"] == {"name": "weather", "arguments": {"at": "Oslo"}}
    assert (answer.role, answer.name, answer.tool_call_id) == ("tool", "weather", "abc")
    assert prompt.text == (
        'User: Is it cold?\n\nAssistant: {"name": "weather", "arguments": {"at": "Oslo"}}'
        "\n\nTool: -3"
    )


def test_sharegpt_calls_of_tools_are_calls(tmp_path: Path) -> None:
    chat = [
        {"from": "human", "value": "Is it cold?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"at": "Oslo"}}'},
        {"from": "observation", "value": "-3"},
    ]
    prompt = only(tmp_path, {"conversations": chat, "tools": json.dumps(TOOLS)})
    assert [message.role for message in prompt.messages] == ["user", "assistant", "tool"]
    assert prompt.messages[1].tool_calls[0]["function"]["arguments"] == {"at": "Oslo"}
    assert prompt.tools == tuple(TOOLS)


def test_prompts_that_differ_in_their_tools_differ(tmp_path: Path) -> None:
    rows = [{"prompt": "Go.", "tools": tools} for tools in (TOOLS, None, [], "[]", TOOLS)]
    found = loaded(tmp_path, rows)
    assert [len(prompt.tools) for prompt in found.train].count(1) == 1
    assert (len(found.train), found.dropped["duplicate"]) == (2, 3)


def test_tools_that_are_none_are_counted_and_the_prompt_is_asked(tmp_path: Path) -> None:
    found = loaded(tmp_path, [{"prompt": "a", "functions": "none"}, {"prompt": "b", "tools": [1]}])
    assert len(found.train) == 2
    assert found.notes == [
        "data: 1 row asked without tools: functions is text that is not JSON",
        "data: 1 row asked without tools: tools is no list of mappings",
    ]
    assert tools_of({"name": "one"}) == ({"name": "one"},)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], r"part that is no text \(image_url\)"),
        ([{"type": "image", "text": None}, {"type": "text", "text": "a"}], r"no text \(image\)"),
        ([{"type": "image", "text": ""}], r"no text \(image\)"),
        ([b"\x89PNG"], r"no text \(bytes\)"),
    ],
)
def test_a_message_with_an_image_cannot_be_asked(content: Any, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        messages_of([{"role": "user", "content": content}])


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "One", "image": None}, None, "two", {"text": "three"}]
    [message] = messages_of([{"role": "user", "content": parts}])
    assert message.content == "One\ntwo\nthree"


def test_what_cannot_be_asked_is_left_out_counted_and_named(tmp_path: Path) -> None:
    image = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]}]
    rows = [
        {"messages": "fine"},
        {"messages": image},
        {"messages": True},
        {"messages": [{"role": "<|im_start|>", "content": "x"}]},
        {"messages": [{"content": "x"}]},
        {"messages": image},
    ]
    found = loaded(tmp_path, rows)
    assert [prompt.text for prompt in found.train] == ["fine"]
    assert found.dropped == {"empty": 0, "duplicate": 0, "unusable": 5}
    assert found.notes == [
        "data: 2 rows left out, the first a.jsonl, line 2: messages has a part that is no text "
        "(image)",
        "data: 1 row left out, the first a.jsonl, line 3: messages is a bool, and has to be text "
        "or a list of chat messages",
        "data: 1 row left out, the first a.jsonl, line 4: messages holds a message of a role "
        "other than system, user, assistant, tool",
        "data: 1 row left out, the first a.jsonl, line 5: messages holds a chat message that is "
        "no mapping with role and content",
    ]
    with pytest.raises(UserError, match=r"every prompt is unusable \(a\.jsonl, line 1: messages"):
        loaded(tmp_path, [{"messages": image}])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (decimal.Decimal("NaN"), ""),
        ("nan", "nan"),
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        (decimal.Decimal("1.10"), "1.10"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.datetime(2024, 2, 29, 7, 5), "2024-02-29T07:05:00"),
        ("Größe".encode(), "Größe"),
        (["a", 1, None, "b"], "a\n\n1\n\nb"),
        ([["a", None], {"b": math.nan}], '[["a", null], {"b": null}]'),
        ("a\ud800", "a\ufffd"),
    ],
)
def test_cells_of_every_kind_become_the_text_they_mean(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("value", [b"\x89PNG", object(), [object()], {"a": b"\xff"}])
def test_what_nobody_can_read_is_no_text(value: Any) -> None:
    with pytest.raises(Unusable):
        text_of(value)


def test_what_is_nested_too_deeply_is_left_out() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for read in (messages_of, text_of, tools_of):
        with pytest.raises(Unusable):
            read(
                [{"role": "user", "content": "a", "tool_calls": deep}]
                if read is messages_of
                else deep
            )


def test_a_call_that_is_none_is_named() -> None:
    with pytest.raises(Unusable, match="tool call that is no mapping"):
        messages_of([{"role": "assistant", "content": "", "tool_calls": ["weather"]}])


# -- duplicates and sizes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "twin", ["  What is  MLX? ", "what is mlx?", "What is\nMLX?\u200b", "What is MLX?\ufeff"]
)
def test_a_twin_of_a_held_out_prompt_is_not_trained_on(twin: str, tmp_path: Path) -> None:
    (tmp_path / "valid.jsonl").write_text(json.dumps({"prompt": "What is MLX?"}))
    rows = [{"prompt": twin}, {"prompt": "Another?"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_prompts(Settings(data=str(tmp_path)))
    assert [prompt.text for prompt in found.train] == ["Another?"]
    assert found.dropped["duplicate"] == 1


def test_letters_are_the_same_however_they_are_composed_and_powers_are_not(tmp_path: Path) -> None:
    rows = [{"prompt": text} for text in ("Größe?", "Gro\u0308ße?", "2²?", "22?")]
    assert loaded(tmp_path, rows).dropped["duplicate"] == 1


def test_a_prompt_as_long_as_a_library_is_cut_from_its_start(tmp_path: Path) -> None:
    found = loaded(tmp_path, [{"prompt": "x" * 3_000_000 + " Why?"}], max_seq_length=128)
    [prompt] = found.train
    assert len(prompt.text) == 128 * 64
    assert prompt.text.endswith("x Why?")
    assert found.notes == [
        "data: only the end is read of 1 prompt far longer than max_seq_length can hold"
    ]


def test_a_chat_without_end_keeps_its_system_message_and_its_last_turns(tmp_path: Path) -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}"} for n in range(5001)]
    chat = [{"role": "system", "content": "Be brief."}, *turns]
    [prompt] = loaded(tmp_path, [{"messages": chat}], max_seq_length=100).train
    assert prompt.messages[0] == Message("system", "Be brief.")
    assert [turn.content for turn in prompt.messages[1:]] == [
        f"turn {n}" for n in range(4901, 5001)
    ]
    long = [{**turn, "content": "x" * 1000} for turn in turns]
    [prompt] = loaded(tmp_path, [{"messages": long}], max_seq_length=100).train
    assert sum(len(turn.content) for turn in prompt.messages) <= 100 * 64


def test_tools_that_have_no_room_leave_their_row_out(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "tools": [{"name": "x" * 10_000}]}, {"prompt": "b"}]
    found = loaded(tmp_path, rows, max_seq_length=100, max_completion_length=10)
    assert [prompt.text for prompt in found.train] == ["b"]
    assert "tools has more than max_seq_length can hold" in found.notes[0]


def test_a_split_that_memory_cannot_hold_is_read_in_part_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "_MOST_TEXT", 10_000)
    found = loaded(tmp_path, [{"prompt": f"question {n}"} for n in range(1000)])
    assert 0 < len(found.train) < 30
    assert "more is not held in memory" in found.notes[0]


def test_a_transcript_says_all() -> None:
    turns = said(("user", "a"), ("assistant", "b"))
    assert transcript(turns) == "User: a\n\nAssistant: b"
