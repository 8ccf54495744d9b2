"""How a pair is put before a judge on a server: as chat messages, since only the server has its
tokenizer.

Each line of data follows a mark, so that none can equal a line of the frame. A server finds control
tokens in whatever text spells them, which nobody can keep it from; the spellings of common models
are broken up, visibly.
"""

import json
import re
from itertools import groupby
from operator import itemgetter

from engine.data.chat_messages import clean, spoken
from engine.judges.presentation import (
    FIRST_LABEL,
    INSTRUCTION,
    PROMPT_LABEL,
    QUESTION,
    RUBRIC_LABEL,
    SECOND_LABEL,
    WRITE,
    Request,
    fair_share,
    request_text,
)
from engine.judges.quoting import quoted

# Where no tokenizer can count, so many characters stand for a token.
CHARACTERS = 4
# What tokenizers of common models read as a control token: <|im_end|>, <｜User｜>, [INST], <<SYS>>,
# </s>, <start_of_turn>, <think> and their like. The first character is what stands apart.
_CONTROL = re.compile(
    r"<(?=[|｜][^|｜<>\s]{1,40}[|｜]>)"
    r"|<(?=</?sys>>)"
    r"|\[(?=/?(?:inst|system_prompt|available_tools|tool_calls|tool_results|think)\])"
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|cls|sep|think|tool_call|tool_response|tools"
    r"|(?:begin|start|end|fim)_[a-z_]{1,30})>)",
    re.IGNORECASE,
)

Messages = list[dict[str, str]]
Line = tuple[int, str, str]


def chat_messages(
    rubric: str, prompt: Request, first: str, second: str, most: int
) -> tuple[Messages, bool]:
    """The messages that ask for the better answer of a pair, and whether the pair was cut.

    Args:
        most: tokens of the prompt and both answers, `CHARACTERS` each. Of a text that is too long
            an answer keeps its start, a prompt its end.
    """
    lines = _prompt_lines(prompt)
    length = sum(len(line) + 1 for *_, line in lines)
    room = fair_share([length, len(first), len(second)], CHARACTERS * most)
    pair = (
        PROMPT_LABEL
        + _quoted_end(lines, room)
        + (FIRST_LABEL + quote(first[:room], "1"))
        + (SECOND_LABEL + quote(second[:room], "2"))
    )
    return [
        {"role": "system", "content": INSTRUCTION + clean(rubric)},
        {"role": "user", "content": pair + RUBRIC_LABEL + clean(rubric) + QUESTION + WRITE},
    ], max(length, len(first), len(second)) > room


def quote(text: str, number: str = "") -> str:
    """Text as data: each line behind the mark, and no control token spelled in it."""
    return quoted("\n".join(break_controls(clean(text)).splitlines()), number)


def break_controls(text: str) -> str:
    """Text with a space in what spells a control token: `<|im_end|>` becomes `< |im_end|>`."""
    return _CONTROL.sub(lambda match: match.group() + " ", text)


def _prompt_lines(prompt: Request) -> list[Line]:
    """The lines of a prompt, each with the number and the heading of its turn; the heading is empty
    where the prompt is one turn of a user."""
    if isinstance(prompt, str) or not prompt.conversation:
        return [(0, "", line) for line in request_text(prompt).splitlines() or [""]]
    turns = [(message.role, spoken(message)) for message in prompt.conversation]
    if prompt.tools:
        tools = [json.dumps(tool, ensure_ascii=False) for tool in prompt.tools]
        turns.insert(0, ("tools", "\n".join(tools)))
    return [
        (number, f"{role.capitalize()}:", line)
        for number, (role, text) in enumerate(turns)
        for line in text.splitlines()
    ]


def _quoted_end(lines: list[Line], room: int) -> str:
    """The last lines of a prompt, in about `room` characters, under the headings of their turns."""
    tail: list[Line] = []
    for number, heading, line in reversed(lines):
        if room <= 0:
            break
        tail.append((number, heading, line[-room:]))
        room -= len(line) + 1
    text: list[str] = []
    for (_, heading), own in groupby(reversed(tail), key=itemgetter(0, 1)):
        text += [*filter(None, [heading]), *(quote(line) for *_, line in own)]
    return "\n".join(text)
