"""Preference datasets in the layouts that are read, and what is counted in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.chat_messages import Message
from engine.data.files import Unusable
from engine.data.preference_check import Share, check
from engine.data.preferences import Preference, read_preferences
from engine.data.sources import read_splits
from engine.errors import UserError

WHY, SKY, NO = "Why is it blue?", "The sky scatters it.", "Because."
USER, GOOD, BAD = Message("user", WHY), Message("assistant", SKY), Message("assistant", NO)
SYSTEM = Message("system", "Be brief.")
PLAIN = Preference((USER,), (GOOD,), (BAD,))
EARLIER = (Message("user", "Hello"), Message("assistant", "Hi."))


def chat(*turns: Message) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def write(folder: Path, *rows: dict[str, Any]) -> str:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def read(folder: Path, *rows: dict[str, Any]) -> list[Preference | Unusable]:
    split = read_splits(write(folder, *rows))["train"]
    return [preference for _, preference in read_preferences(split)]


LAYOUTS: dict[str, tuple[dict[str, Any], Preference]] = {
    "TRL, text": ({"prompt": WHY, "chosen": SKY, "rejected": NO}, PLAIN),
    "TRL, messages": (
        {"prompt": chat(SYSTEM, USER), "chosen": chat(GOOD), "rejected": chat(BAD)},
        Preference((SYSTEM, USER), (GOOD,), (BAD,)),
    ),
    "TRL, the prompt implied": (
        {"chosen": chat(*EARLIER, USER, GOOD), "rejected": chat(*EARLIER, USER, BAD)},
        Preference((*EARLIER, USER), (GOOD,), (BAD,)),
    ),
    "UltraFeedback, binarized": (
        {
            "prompt": WHY,
            "prompt_id": "7f",
            "chosen": chat(USER, GOOD),
            "rejected": chat(USER, BAD),
            "messages": chat(USER, GOOD),
            "score_chosen": 8.0,
            "score_rejected": 3.5,
        },
        PLAIN,
    ),
    "Argilla, responses": (
        {"instruction": WHY, "chosen_response": SKY, "rejected_response": NO, "chosen_avg": 4.5},
        PLAIN,
    ),
    "Argilla, input": (
        {"system": "Be brief.", "input": WHY, "chosen": SKY, "rejected": NO, "status": "swapped"},
        Preference((SYSTEM, USER), (GOOD,), (BAD,)),
    ),
    "Argilla, a tie": (
        {"input": WHY, "chosen": SKY, "rejected": NO, "status": "tie"},
        Preference((USER,), (GOOD,), (BAD,), tie=True),
    ),
    "mlx-lm-lora": (
        {"system": "Be brief.", "prompt": WHY, "chosen": SKY, "rejected": NO},
        Preference((SYSTEM, USER), (GOOD,), (BAD,)),
    ),
    "mlx-lm-lora, messages": (
        {
            "question": WHY,
            "chosen": {"messages": chat(GOOD)},
            "rejected": {"messages": chat(BAD)},
            "preference_score": 0.8,
        },
        PLAIN,
    ),
    "mlx-lm-lora, content": (
        {"prompt": WHY, "chosen": {"content": SKY}, "rejected": [NO]},
        PLAIN,
    ),
    "Anthropic's text": (
        {
            "chosen": f"\n\nHuman: {WHY}\n\nAssistant: {SKY}",
            "rejected": f"\n\nHuman: {WHY}\n\nAssistant: {NO}",
        },
        PLAIN,
    ),
    "messages written out, as csv has them": (
        {
            "prompt": json.dumps(chat(USER)),
            "chosen": json.dumps(chat(GOOD)),
            "rejected": json.dumps(chat(BAD)),
        },
        PLAIN,
    ),
    "one conversation and an answer": (
        {"prompt": WHY, "chosen": chat(USER, GOOD), "rejected": NO},
        PLAIN,
    ),
    "the same conversation twice": (
        {"chosen": chat(USER, GOOD), "rejected": chat(USER, GOOD)},
        Preference((USER,), (GOOD,), (GOOD,)),
    ),
    "an answer that takes turns": (
        {"chosen": chat(USER, GOOD, USER, GOOD), "rejected": chat(USER, BAD)},
        Preference((USER,), (GOOD, USER, GOOD), (BAD,)),
    ),
    "the system message beside conversations": (
        {"prompt": chat(SYSTEM, USER), "chosen": chat(USER, GOOD), "rejected": chat(USER, BAD)},
        Preference((SYSTEM, USER), (GOOD,), (BAD,)),
    ),
    "an empty answer": (
        {"prompt": WHY, "chosen": SKY, "rejected": ""},
        Preference((USER,), (GOOD,), ()),
    ),
    "tools": (
        {"prompt": WHY, "chosen": SKY, "rejected": NO, "tools": '[{"name": "look"}]'},
        Preference((USER,), (GOOD,), (BAD,), tools=({"name": "look"},)),
    ),
    "LoRA Studio": (
        {"prompt": WHY, "chosen": SKY, "rejected": NO, "choice": "second", "q_orders": [0.7, 0.2]},
        Preference((USER,), (GOOD,), (BAD,), first_shown=2),
    ),
}


@pytest.mark.parametrize(("row", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_is_read(tmp_path: Path, row: dict[str, Any], expected: Preference) -> None:
    assert read(tmp_path, row) == [expected]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": SKY, "rejected": NO}, "without the prompt it is for"),
        ({"prompt": "", "chosen": SKY, "rejected": NO}, "no prompt"),
        ({"prompt": chat(SYSTEM), "chosen": SKY, "rejected": NO}, "no prompt"),
        ({"prompt": WHY, "chosen": None, "rejected": None}, "no answers"),
        ({"prompt": WHY, "chosen": [{"role": "wizard", "content": ""}], "rejected": NO}, "role"),
        (
            {"chosen": chat(USER, GOOD), "rejected": chat(SYSTEM, USER, BAD)},
            "begin differently",
        ),
    ],
)
def test_a_row_that_is_no_pair_says_why(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    [preference] = read(tmp_path, row)
    assert isinstance(preference, Unusable)
    assert reason in str(preference)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": WHY, "chosen": SKY}, "no column 'rejected'"),
        ({"prompt": WHY, "completion": SKY}, "no column 'chosen'"),
        ({"chosen_response": SKY, "rejected_response": NO}, "no column of prompts"),
    ],
)
def test_a_file_without_pairs_is_refused(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read(tmp_path, row)


def counted(folder: Path, *rows: dict[str, Any]) -> Any:
    return check(read_preferences(read_splits(write(folder, *rows))["train"]))


def row(chosen: str, rejected: str, prompt: str = WHY, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_what_is_doubtful_is_counted_with_its_first_place(tmp_path: Path) -> None:
    result = counted(
        tmp_path,
        row("longer", "short", q_orders=[0.9, 0.8]),
        row("longer", "short", q_orders=[0.9, 0.3]),  # a duplicate
        row("longer", "short", "Another?", q_orders=None),  # none: another prompt
        row("short", "longer", q_orders=[0.1, 0.6]),  # in conflict with the first two
        row("same", " same"),
        row("", "full"),
        row("whole", " \n"),
        row("a", "b", choice="tie", q_orders=[0.9, 0.1]),
        row("c", "d", ""),
    )
    assert (result.pairs, result.ties) == (7, 1)
    places = {
        name: (tally.count, tally.first)
        for name in ("unreadable", "duplicates", "identical", "empty_chosen", "empty_rejected")
        if (tally := getattr(result, name))
    }
    assert places == {
        "unreadable": (1, "pairs.jsonl, line 9"),
        "duplicates": (1, "pairs.jsonl, line 2"),
        "identical": (1, "pairs.jsonl, line 5"),
        "empty_chosen": (1, "pairs.jsonl, line 6"),
        "empty_rejected": (1, "pairs.jsonl, line 7"),
    }
    assert result.unreadable_reason == "has no prompt"
    assert result.conflicts.count == 1
    assert result.conflicts.first == "pairs.jsonl, line 4, against pairs.jsonl, line 1"
    assert result.conflicting == 3
    assert result.longer_wins == Share(4, 6)  # lines 1 to 4, 6 and 7
    assert result.first_shown_wins == Share(5, 8)


def test_every_pair_of_a_conflict_is_counted_once(tmp_path: Path) -> None:
    one, other = row("a", "b"), row("b", "a")
    for rows in ([one, other, one, other, one], [one, one, other], [other, one, one, one]):
        result = counted(tmp_path, *rows)
        assert (result.conflicts.count, result.conflicting) == (1, len(rows))


def test_what_nobody_knows_has_no_share(tmp_path: Path) -> None:
    result = counted(tmp_path, row("aa", "bb"))
    assert result.longer_wins.share is None
    assert result.first_shown_wins.share is None
    assert result.to_json()["first_shown_wins"] == {"count": 0, "of": 0, "share": None}
