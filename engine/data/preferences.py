"""Rows of a preference dataset -> pairs of answers, of which one is preferred.

Read are the layouts of TRL, Argilla, UltraFeedback (binarized) and mlx-lm-lora: `chosen` and
`rejected` beside a prompt, as text or messages, or as whole conversations that have the prompt in
common.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.data.chat_messages import Message, Tools, conversation_of
from engine.data.columns import CHOSEN, PROMPTS, REJECTED, PromptColumns
from engine.data.files import Unusable
from engine.data.sources import Split
from engine.errors import UserError

# Other names of the columns: Argilla's for the answers, and for a prompt where none is usual.
_RESPONSES = {CHOSEN: "chosen_response", REJECTED: "rejected_response"}
_INPUT = "input"
# Columns that may say that neither answer is better.
_TIES = ("choice", "status")
# LoRA Studio's: the probability that the first answer is better, shown first and shown second.
_READINGS = "q_orders"


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt and two answers to it, each the turns that follow the prompt: as a rule one of the
    assistant, none for an empty answer.

    `tie`: neither is better. `first_shown` is how many of a judge's two readings, one in each
    order, picked the answer that was shown first; None where that is not known.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: Tools = ()
    tie: bool = False
    first_shown: int | None = None


# A pair, or why a row is none, and where it stands, such as "train.jsonl, line 3".
PlacedPreference = tuple[str, Preference | Unusable]


def read_preferences(
    split: Split, prompt: str | None = None, system: str | None = None
) -> Iterator[PlacedPreference]:
    """The pairs of a split, read one at a time.

    Args:
        prompt: the column of the prompt, as the setting `prompt_feature`; None: the usual ones.
        system: the column of a system message, as the setting `system_feature`.

    Raises:
        UserError: the split has no chosen and rejected answers, or cannot be read.
    """
    names = {column: _name_of(column, split) for column in (CHOSEN, REJECTED)}
    columns = {*split.columns}
    if prompt is None and columns and columns.isdisjoint(PROMPTS):
        if _INPUT in columns:
            prompt = _INPUT
        elif CHOSEN not in columns:
            raise UserError(
                f"{split.name} has no column of prompts, such as {', '.join(PROMPTS[:3])}"
            )
    prompts = PromptColumns(split, prompt, system)
    more = [each for each in (*_TIES, _READINGS) if each in columns]
    to_read = [*prompts.to_read, *names.values(), *more]
    for place, row in split.rows(list(dict.fromkeys(to_read))):
        if isinstance(row, Unusable):
            yield place, row
            continue
        try:
            yield place, _preference(row, names, prompts)
        except Unusable as reason:
            yield place, reason


def _name_of(column: str, split: Split) -> str:
    """What the split calls the column of the chosen or the rejected answers."""
    for name in (column, _RESPONSES[column]):
        if name in split.columns or not split.columns:
            return name
    raise UserError(
        f"{split.name} has no column {column!r}: a preference dataset has a chosen and a rejected "
        "answer in each row"
    )


def _preference(
    row: Mapping[str, Any], names: Mapping[str, str], prompts: PromptColumns
) -> Preference:
    row = {**row, **{column: _bare(row.get(name)) for column, name in names.items()}}
    if row[CHOSEN] is None and row[REJECTED] is None:
        raise Unusable("has no answers")
    chosen, rejected = _answer(row, CHOSEN), _answer(row, REJECTED)
    request = prompts.prompt_of(row)
    prompt, chosen, rejected = _split(request.messages, chosen, rejected)
    if not any(turn.role in ("user", "tool") and turn.content.strip() for turn in prompt):
        raise Unusable("has no prompt")
    if request.system.strip() and prompt[0].role != "system":
        prompt = [Message("system", request.system), *prompt]
    return Preference(
        tuple(prompt),
        tuple(chosen),
        tuple(rejected),
        request.tools,
        tie=any(row.get(key) == "tie" for key in _TIES),
        first_shown=first_shown(row.get(_READINGS)),
    )


def first_shown(readings: object) -> int | None:
    """How many of two readings picked the answer shown first, by the probability that the first
    answer is better when it is shown first and when it is shown second."""
    match readings:
        case [int() | float() as shown_first, int() | float() as shown_second]:
            return (shown_first > 0.5) + (shown_second < 0.5)
        case _:
            return None


def _bare(cell: Any) -> Any:
    """A cell without what mlx-lm-lora allows around an answer: a mapping with its messages or its
    content, a list of one text."""
    if isinstance(cell, Mapping):
        if "messages" in cell:
            return cell["messages"]
        return [cell] if "role" in cell or "from" in cell else cell.get("content")
    if isinstance(cell, list | tuple) and len(cell) == 1 and isinstance(cell[0], str):
        return cell[0]
    return cell


def _answer(row: Mapping[str, Any], column: str) -> list[Message]:
    """The turns of an answer, or of a whole conversation."""
    cell = row[column]
    try:
        turns = conversation_of(cell)
    except Unusable as reason:
        raise Unusable(f"{column} {reason}") from reason
    if len(turns) == 1 and not isinstance(cell, list | tuple):
        return [replace(turns[0], role="assistant")]  # bare text
    return turns


def _split(
    prompt: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """The prompt and what follows it in either answer, of which each, one or none repeats it."""
    whole = [side for side in (chosen, rejected) if side and _asks(side[0])]
    if not whole:
        return prompt, chosen, rejected
    length = _common(*whole) if len(whole) == 2 else _before_answer(whole[0])
    if length == 0:
        raise Unusable("has two conversations that begin differently")
    implied = whole[0][:length]
    chosen, rejected = (
        side[length:] if side and _asks(side[0]) else side for side in (chosen, rejected)
    )
    if prompt and prompt[0].role == "system" and implied[0].role != "system":
        implied = [prompt[0], *implied]
    return implied, chosen, rejected


def _common(first: list[Message], second: list[Message]) -> int:
    """How many turns two conversations share before their answers."""
    both = zip(first, second, strict=False)
    length = sum(1 for _ in itertools.takewhile(lambda turns: turns[0] == turns[1], both))
    ends = length in (len(first), len(second))
    return _before_answer(first[:length]) if ends else length


def _before_answer(turns: list[Message]) -> int:
    """How many turns stand before the last answer of the assistant."""
    length = len(turns)
    while length and turns[length - 1].role == "assistant":
        length -= 1
    return length


def _asks(turn: Message) -> bool:
    return turn.role in ("system", "user")
