"""What a cell of a dataset holds -> text or chat messages, in the many spellings there are."""

import ast
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from engine.data.files import Unusable
from engine.message import ROLES, Message, Role

# The names that chat datasets give the same roles and keys.
_NAMES: dict[str, Role] = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "developer": "system",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
_ROLE_KEYS, _CONTENT_KEYS = ("role", "from"), ("content", "value")
# Parts of a message that are text, by their type.
_TEXT_PARTS = (None, "text", "input_text", "output_text")

# How Anthropic's hh-rlhf writes a chat as text.
_TURN = re.compile(r"\n\n(Human|Assistant):")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_WRITTEN_OUT = re.compile(r"\s*\[\s*\{")
# A chat that is written out as text is longer than this only by mistake.
_LONGEST_WRITTEN = 2**20


# Descriptions of tools, JSON-like.
Tools = tuple[Mapping[str, Any], ...]


def messages_of(value: Any) -> list[Message]:
    """The chat that a cell holds, whole; empty where it asks nothing.

    Text is one user message, a list of texts takes turns.

    Raises:
        Unusable: it is no text and no chat, or a part of it is no text, such as an image.
    """
    if isinstance(value, str):
        value = _written_out(value)
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, (list, tuple)):
        turns = [item for item in value if item is not None]
        return [message_of(item, ("user", "assistant")[at % 2]) for at, item in enumerate(turns)]
    if isinstance(value, bool):
        raise Unusable("is a bool, and has to be text or a list of chat messages")
    text = text_of(value)
    return [Message("user", text)] if text.strip() else []


def message_of(item: Any, role_of_text: str) -> Message:
    """One message of a chat; bare text has the role `role_of_text`.

    Raises:
        Unusable: it has no role, or a part of it is no text.
    """
    if isinstance(item, str):
        return Message(role_of_text, clean(item))
    role = _first_of(item, _ROLE_KEYS) if isinstance(item, Mapping) else None
    if not isinstance(role, str):
        raise Unusable("holds a chat message that is no mapping with role and content")
    spelled = clean(role).strip().lower()
    known = _NAMES.get(spelled, spelled)
    if known not in ROLES:
        raise Unusable(f"holds a message of a role other than {', '.join(ROLES)}")
    content = _first_of(item, _CONTENT_KEYS)
    calls = item.get("tool_calls") or item.get("function_call")
    if spelled == "function_call" and (call := from_json(content)) is not None:
        content, calls = None, calls or call
    return Message(
        known,
        _content(content),
        tool_calls=_calls(calls),
        name=text_of(item.get("name")),
        tool_call_id=text_of(item.get("tool_call_id")),
    )


def _first_of(item: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _content(content: Any) -> str:
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, (list, tuple)):
        return "\n".join(_part(part) for part in content if part is not None)
    return text_of(content)


def _part(part: Any) -> str:
    """The text of one part of a message."""
    text = part.get("text") if isinstance(part, Mapping) else part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(text, str) and kind in _TEXT_PARTS:
        return clean(text)
    raise Unusable(f"has a part that is no text ({printable(kind or type(part).__name__)})")


def _calls(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Tool calls as OpenAI's format has them; a template wants their arguments as a mapping."""
    value = from_json(value) if isinstance(value, str) else json_value(value)
    calls: list[Mapping[str, Any]] = []
    for call in value if isinstance(value, list) else [value] if value else []:
        bare = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(bare, Mapping) or not isinstance(bare.get("name"), str):
            raise Unusable("has a tool call that is no mapping with name and arguments")
        arguments = bare.get("arguments")
        if isinstance(arguments, str):
            parsed = from_json(arguments)
            arguments = parsed if isinstance(parsed, Mapping) else arguments
        function = {**bare, "arguments": {} if arguments is None else arguments}
        outer = {key: item for key, item in call.items() if key == "id"}
        calls.append({**outer, "type": "function", "function": function})
    return tuple(calls)


def tools_of(value: Any) -> Tools:
    """The tools of a cell: a list of their descriptions, or the same as JSON text.

    Raises:
        Unusable: it is neither.
    """
    if isinstance(value, str):
        value = from_json(value or "[]")
        if value is None:
            raise Unusable("is text that is not JSON")
    value = json_value(value)
    tools = [value] if isinstance(value, Mapping) and value else value or []
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise Unusable("is no list of mappings")
    return tuple(tools)


def preference_of(chosen: Any, rejected: Any) -> list[Message]:
    """The turns that a chosen and a rejected chat have in common, or all of the only one.

    Raises:
        Unusable: they are bare answers, without what they answer.
    """
    first, *others = [_preferred(side) for side in (chosen, rejected) if side] or [[]]
    for other in others:
        same = itertools.takewhile(lambda both: both[0] == both[1], zip(first, other, strict=False))
        first = [turn for turn, _ in same]
    return first


def _preferred(value: Any) -> list[Message]:
    messages = conversation_of(value)
    if isinstance(value, str) and len(messages) == 1:
        raise Unusable("is an answer without the prompt it is for; say which column holds that")
    return messages


def conversation_of(value: Any) -> list[Message]:
    """`messages_of` a cell whose text may also be a chat as Anthropic's hh-rlhf writes it.

    Raises:
        Unusable: as `messages_of`.
    """
    if isinstance(value, str) and _TURN.match(value):
        _, *parts = _TURN.split(value)
        turns = zip(parts[::2], parts[1::2], strict=True)
        value = [{"role": role, "content": text.strip()} for role, text in turns]
    return messages_of(value)


def history_of(value: Any) -> list[Message]:
    """Earlier turns: a list of [question, answer], or a chat.

    Raises:
        Unusable: it is neither.
    """
    if isinstance(value, (list, tuple)) and all(isinstance(turn, (list, tuple)) for turn in value):
        value = [text_of(text) for turn in value for text in turn]
    return messages_of(value)


def text_of(value: Any) -> str:
    """The text of a cell that is meant as text; empty for null and for what is not a number.

    Raises:
        Unusable: nobody can read it, such as the bytes of an image.
    """
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):
        try:
            return clean(value.decode())
        except UnicodeDecodeError as error:
            raise Unusable("holds bytes that are no text") from error
    if isinstance(value, (list, tuple)) and not any(_nested(item) for item in value):
        return "\n\n".join(text for item in value if (text := text_of(item)).strip())
    if _nested(value):
        return clean(json.dumps(json_value(value), ensure_ascii=False))
    raise Unusable(f"is a {type(value).__name__}, and has to be text")


def _nested(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def json_value(value: Any) -> Any:
    """Nested data as JSON has it, without the nulls that a table's columns put into mappings.

    Raises:
        Unusable: it is nested too deeply, or holds what is no text.
    """
    try:
        return _json_value(value)
    except RecursionError as error:
        raise Unusable("is nested too deeply") from error


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        items = ((clean(str(key)), item) for key, item in value.items() if item is not None)
        return {key: _json_value(item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else text_of(value)


def from_json(text: Any) -> Any:
    """What JSON text holds, plain; None where it is no JSON."""
    try:
        return json_value(json.loads(text)) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def _written_out(text: str) -> Any:
    """The chat that tables without nested columns hold as JSON, or as Python writes it; else the
    text."""
    if len(text) > _LONGEST_WRITTEN or not _WRITTEN_OUT.match(text):
        return text
    value = from_json(text)
    if value is None:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return text
    chat = isinstance(value, list) and all(
        isinstance(item, Mapping) and _first_of(item, _ROLE_KEYS) for item in value
    )
    return value if chat else text


def as_mapping(message: Message) -> dict[str, Any]:
    """A message as chat templates read it."""
    more = {
        "tool_calls": list(message.tool_calls),
        "name": message.name,
        "tool_call_id": message.tool_call_id,
    }
    filled = {key: value for key, value in more.items() if value}
    return {"role": message.role, "content": message.content, **filled}


def transcript(turns: Iterable[Message]) -> str:
    """Several turns as plain text, one after the other, each after its role."""
    return "\n\n".join(f"{turn.role.capitalize()}: {spoken(turn)}" for turn in turns)


def spoken(turn: Message) -> str:
    """All that a message says, as text: its content and the calls of tools that follow it."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in turn.tool_calls]
    return "\n".join(text for text in (turn.content, *calls) if text)


def clean(text: str) -> str:
    """Text that can be written as UTF-8: a lone surrogate becomes a replacement character."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def printable(name: object) -> str:
    """A name from outside, short and harmless to print."""
    text = repr(str(name))[1:-1]
    return text if len(text) <= 60 else text[:57] + "..."
