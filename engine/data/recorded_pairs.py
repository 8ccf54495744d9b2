"""A judged pair as a line of a run's files tells of it."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.data.chat_messages import Message, message_of, spoken, transcript
from engine.data.files import Unusable
from engine.data.pairs import Verdict, completion_fields
from engine.json_number import real, whole


@dataclass(frozen=True, slots=True)
class RecordedPair:
    """What a line of a run's files tells of a judged pair: texts, since it has no token ids.

    Anybody may have changed the line, so its `choice` may be none that is known.
    """

    pair_id: str
    step: int
    prompt: str
    messages: tuple[Message, ...]  # none where the prompt is written as text
    first: str
    second: str
    verdict: Verdict
    judge: str

    @classmethod
    def from_record(cls, line: Mapping[str, Any]) -> "RecordedPair":
        """The pair that `JudgedPair.to_record` wrote, in either layout."""
        choice: Any = str(line.get("choice"))
        first, second = completion_fields(choice) if "chosen" in line else ("first", "second")
        return cls(
            pair_id=str(line.get("pair_id", "")),
            step=whole(line.get("step")),
            prompt=text_of(line.get("prompt")),
            messages=messages_of(line.get("prompt")),
            first=text_of(line.get(first)),
            second=text_of(line.get(second)),
            verdict=Verdict(
                choice=choice,
                q=real(line.get("q")),
                q_orders=_q_orders(line),
                note=line.get("note") or "",
                flagged=bool(line.get("flagged")),
                cut=bool(line.get("cut")),
                rationale=_texts(line.get("rationale")),
                model=_model_verdict(line.get("model")),
            ),
            judge=str(line.get("judge", "")),
        )


def text_of(value: Any) -> str:
    """What a line of `to_record` has under prompt, chosen, rejected, first or second, as plain text
    in either layout."""
    if not isinstance(value, list):
        return "" if value is None else str(value)
    messages = messages_of(value)
    return spoken(messages[0]) if len(messages) == 1 else transcript(messages)


def messages_of(value: Any) -> tuple[Message, ...]:
    """The messages of a list in a line of `to_record`; entries that are none are left out."""
    messages: list[Message] = []
    for each in value if isinstance(value, list) else []:
        with contextlib.suppress(Unusable):
            messages.append(message_of(each, "user"))
    return tuple(messages)


def _q_orders(line: Mapping[str, Any]) -> tuple[float, float] | None:
    match line.get("q_orders"):
        case [int() | float() as shown_first, int() | float() as shown_second]:
            return shown_first, shown_second
        case _:
            return None


def _model_verdict(value: Any) -> Verdict | None:
    """What a line has of a model beside a person."""
    if not isinstance(value, dict):
        return None
    choice: Any = str(value.get("choice"))
    return Verdict(
        choice,
        real(value.get("q")),
        _q_orders(value),
        rationale=_texts(value.get("rationale")),
        judge=str(value.get("judge", "")),
        audit=bool(value.get("audit")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
