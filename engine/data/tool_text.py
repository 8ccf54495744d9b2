"""Tools and the calls of them, as a chat template writes them between its own words.

Their text is data, and a template writes it in a form of its own, often as JSON. So it cannot be
tokenised apart from the template's, as the content of a message is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from engine.data.chat_messages import Message


def inert(tokenizer: Any, value: Any, marks: Iterable[str] = ()) -> Any:
    """Nested data in which no text spells a token that the tokenizer adds to its vocabulary, nor
    one of `marks`: a space breaks up each that did."""
    if not value:
        return value
    added = (str(token) for token in tokenizer.added_tokens_decoder.values())
    text = "\0".join(_strings(value))
    spellings = [each for each in (*added, *marks) if each.strip() and each in text]
    return _broken_up(value, spellings) if spellings else value


def inert_calls(tokenizer: Any, message: Message, marks: Iterable[str] = ()) -> Message:
    """A message whose calls of tools, and what else stands beside its content, are inert."""
    fields = {
        "tool_calls": message.tool_calls,
        "name": message.name,
        "tool_call_id": message.tool_call_id,
    }
    return replace(message, **inert(tokenizer, fields, marks)) if any(fields.values()) else message


def shows_calls(text: str, messages: Iterable[Message]) -> bool:
    """Whether the text that a template made of messages names every tool that they call."""
    calls = (call for message in messages for call in message.tool_calls)
    return all(call["function"]["name"] in text for call in calls)


def takes_tools(tokenizer: Any) -> bool:
    """Whether the chat template has a place for tools."""
    return "tools" in str(getattr(tokenizer, "chat_template", None))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _broken_up(value: Any, spellings: list[str]) -> Any:
    if isinstance(value, Mapping):
        pairs = value.items()
        return {_broken_up(key, spellings): _broken_up(item, spellings) for key, item in pairs}
    if isinstance(value, (list, tuple)):
        return type(value)(_broken_up(item, spellings) for item in value)
    if isinstance(value, str):
        for each in spellings:
            while each in value:
                value = value.replace(each, f"{each[0]} {each[1:]}" if each[1:].strip() else " ")
    return value
