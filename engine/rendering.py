"""A prompt -> the token ids that the policy continues.

The chat template is applied once. What a message contains is data: a fake end of turn in it is
ordinary characters, never a special token.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from engine.chat_messages import as_mapping, spoken
from engine.errors import UserError
from engine.prompts import Message, Prompt, Tools, transcript
from engine.settings import Settings
from engine.tool_text import inert, inert_calls, shows_calls

# A private-use character stands in for each message's content while the template is rendered.
_MARK = "\ue0a3{}\ue0a4"

# A system message that leaves fewer tokens than this to the question goes.
_LEAST = 16


def render_prompt(tokenizer: Any, prompt: Prompt, settings: Settings, budget: int) -> list[int]:
    """Token ids of a prompt, at most `budget` of them, ready for the answer to follow.

    A prompt that is too long loses its oldest turns first, then the start of its last message,
    never its last words nor the header of the answer; a system message goes last.

    Args:
        tokenizer: a transformers tokenizer, or mlx-lm's wrapper of one. Without a chat template
            the prompt is plain text.

    Raises:
        UserError: `budget` has no room for the template itself and one token more.
    """
    messages = [inert_calls(tokenizer, message, _MARK) for message in prompt.messages]
    tools = inert(tokenizer, prompt.tools, _MARK)
    turns = [message for message in messages if message.role != "system"]
    system = [message for message in messages if message.role == "system"]
    ids = _render(tokenizer, [*system, *turns], settings, tools)
    while len(ids) > budget and len(turns) > 1:
        turns = _without_oldest(turns)
        ids = _render(tokenizer, [*system, *turns], settings, tools)
    if len(ids) <= budget:
        return ids
    for kept, least, given in (
        ([*system, *turns], _LEAST, tools),
        (turns, 1, tools),
        (turns, 1, ()),
    ):
        if cut := _cut_last(tokenizer, kept, settings, budget, least, given):
            return cut
    raise UserError(
        f"max_seq_length: {settings.max_seq_length} less max_completion_length "
        f"{settings.max_completion_length} leaves no room for a prompt; raise it"
    )


def _without_oldest(turns: list[Message]) -> list[Message]:
    """`turns` from their second question on; the answer goes with the question it is for."""
    later = turns[1:]
    starts = [index for index, turn in enumerate(later) if turn.role == "user"]
    return later[starts[0] :] if starts else later[-1:]


def _render(tokenizer: Any, messages: list[Message], settings: Settings, tools: Tools) -> list[int]:
    """Ids of whole messages: the template's own text, tokenised in one piece where it is safe."""
    accepted = _accepted(tokenizer, messages, settings, tools)
    if accepted is None:
        return _plain(tokenizer, messages)
    messages, frame, tools = accepted
    if not any(_holds_special(tokenizer, message.content) for message in messages):
        text = _apply(tokenizer, messages, settings, tools)
        if text is not None:
            return one_bos(tokenizer, frame_ids(tokenizer, text))
    return _fill(tokenizer, frame, [data_ids(tokenizer, m.content) for m in messages])


def _cut_last(
    tokenizer: Any,
    messages: list[Message],
    settings: Settings,
    budget: int,
    least: int,
    tools: Tools,
) -> list[int] | None:
    """Ids with as much of the end of the last message as fits; None if that is below `least`."""
    accepted = _accepted(tokenizer, messages, settings, tools)
    if accepted is None:
        ids = _plain(tokenizer, messages)
        bos = ids[:1] if ids[:1] == [tokenizer.bos_token_id] else []
        room = budget - len(bos)
        return [*bos, *ids[-room:]] if room >= least else None
    messages, frame, _ = accepted
    contents = [data_ids(tokenizer, message.content) for message in messages]
    room = budget - len(_fill(tokenizer, frame, [*contents[:-1], []]))
    if room < least:
        return None
    return _fill(tokenizer, frame, [*contents[:-1], contents[-1][-room:]])


def _accepted(
    tokenizer: Any, messages: list[Message], settings: Settings, tools: Tools
) -> tuple[list[Message], list[str | int], Tools] | None:
    """The messages in the first form that the template shows in full, its frame for them, and the
    tools, unless it refuses them.

    The frame is the template's text with an index where a message's content belongs. None where
    there is no template, or it shows no form in full.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    for given in (tools, ()) if tools else ((),):
        for form in _forms(messages):
            told = [index for index, message in enumerate(form) if message.content]
            marked = [
                replace(m, content=_MARK.format(index) if m.content else "")
                for index, m in enumerate(form)
            ]
            text = _apply(tokenizer, marked, settings, given)
            if text is not None and shows_calls(text, form):
                frame = _split_frame(text, told)
                if frame:
                    return form, frame, given
    return None


def _forms(messages: list[Message]) -> Iterator[list[Message]]:
    """Ways to say the same to a template, from the faithful one to the one that all accept."""
    yield messages
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    turns = [message for message in messages if message.role != "system"]
    first, *rest = turns
    if system:
        yield [replace(first, content=f"{system}\n\n{first.content}"), *rest]
    merged = [
        Message(role, "\n\n".join(spoken(turn) for turn in group))
        for role, group in groupby(turns, key=lambda turn: turn.role)
    ]
    opening = f"{system}\n\n" if system else ""
    if merged[0].role == "user":
        yield [Message("user", opening + merged[0].content), *merged[1:]]
    yield [Message("user", opening + transcript(turns))]


def _apply(tokenizer: Any, messages: list[Message], settings: Settings, tools: Tools) -> str | None:
    """The template's text, or None where it refuses the messages."""
    try:
        return tokenizer.apply_chat_template(
            [as_mapping(message) for message in messages],
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=settings.enable_thinking,
        )
    except Exception:  # templates raise whatever they like for a role they do not know
        return None


def _split_frame(text: str, marks: list[int]) -> list[str | int] | None:
    """`text` cut at the marks of these indices; None unless each stands there once, in order."""
    frame: list[str | int] = []
    for index in marks:
        before, mark, text = text.partition(_MARK.format(index))
        if not mark:
            return None
        frame += [before, index]
    return None if _MARK[0] in text else [*frame, text]


def _fill(tokenizer: Any, frame: list[str | int], contents: list[list[int]]) -> list[int]:
    """Ids of the frame with the contents' ids in their places."""
    ids: list[int] = []
    for part in frame:
        ids += contents[part] if isinstance(part, int) else frame_ids(tokenizer, part)
    return one_bos(tokenizer, ids)


def _plain(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Ids for a model without a usable template: the text and nothing around it."""
    turns = [message for message in messages if message.role != "system"]
    body = spoken(turns[0]) if len(turns) == 1 else transcript(turns) + "\n\nAssistant:"
    system = [message.content for message in messages if message.role == "system"]
    return one_bos(tokenizer, data_ids(tokenizer, "\n\n".join([*system, body])))


def one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    """`ids` with exactly one begin-of-sequence token, or none where the tokenizer uses none."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    start = 0
    while ids[start : start + 1] == [bos]:
        start += 1
    wanted = start > 0 or list(tokenizer.encode("a"))[:1] == [bos]
    return [bos, *ids[start:]] if wanted else ids


def _holds_special(tokenizer: Any, text: str) -> bool:
    """Whether the text contains the spelling of a token that is not made of ordinary text."""
    return any(str(token) in text for token in tokenizer.added_tokens_decoder.values())


def frame_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that belongs to a template: special tokens count as such."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def data_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of untrusted text: what looks like a special token is ordinary characters."""
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))
