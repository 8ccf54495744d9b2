"""A conversation as an LLM judge reads it: turns whose lines nothing in them can make up.

Each turn follows a line with its role, and each line of a turn begins with "> ":

    System:
    > Answer in one word.
    User:
    > Is it raining?
"""

import json
from bisect import bisect_left
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from engine.data.chat_messages import spoken
from engine.data.prompts import Prompt
from engine.data.tokens import CHARACTERS_PER_TOKEN, data_ids
from engine.judges.quoting import QUOTE, lines_of

_TOOLS = "tools"

Line = tuple[int, str]  # the number of its turn, and what it says


def conversation_ids(tokenizer: Any, prompt: Prompt, most: int) -> tuple[list[int], bool]:
    """Ids of a conversation, `most` at the most, and whether it had more.

    Of one that is too long the last lines stay, under the labels of their turns, and before them
    what comes before the first question, where that leaves at least half of the room.
    """
    turns: list[tuple[str, list[str]]] = [
        (message.role, lines_of(spoken(message))) for message in prompt.conversation
    ]
    if prompt.tools:
        tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in prompt.tools)
        turns.insert(0, (_TOOLS, lines_of(tools)))
    lines = [(number, line) for number, (_, lines) in enumerate(turns) for line in lines]

    def ids_of(lines: Iterable[Line]) -> list[int]:
        text: list[str] = []
        for number, own in groupby(lines, key=itemgetter(0)):
            text += [f"{turns[number][0].capitalize()}:", "".join(QUOTE + line for _, line in own)]
        return data_ids(tokenizer, "\n".join(text))

    read = CHARACTERS_PER_TOKEN * most
    if _size(lines) <= read and len(ids := ids_of(lines)) <= most:
        return ids, False
    opening = [each for each in lines[:-1] if turns[each[0]][0] in (_TOOLS, "system")]
    rest = lines[len(opening) :]
    if _size(opening) > read or len(ids_of(opening)) > most // 2:
        opening = []
    while len(rest) > 1 and _size(rest) > read:
        rest = rest[(len(rest) + 1) // 2 :]
    start = bisect_left(
        range(len(rest)), True, key=lambda at: len(ids_of([*opening, *rest[at:]])) <= most
    )
    if start < len(rest):
        return ids_of([*opening, *rest[start:]]), True
    number, last = lines[-1]  # alone it is too long
    before = ids_of([*opening, (number, "")])
    end = data_ids(tokenizer, last[-read:])
    return [*before, *end[max(0, len(end) + len(before) - most) :]][:most], True


def _size(lines: Iterable[Line]) -> int:
    """Characters of some lines."""
    return sum(len(line) + 1 for _, line in lines)
