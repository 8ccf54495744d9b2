"""A prompt as a person reads it: the system message and the turn to answer, then the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from engine.data.chat_messages import Message, spoken
from tui.text.safe_text import LIMIT, safe

EARLIER = "before that, oldest first"


@dataclass(frozen=True, slots=True)
class PromptParts:
    """The parts of a prompt in the order in which they are shown; texts are untrusted."""

    system: str
    last: str
    earlier: tuple[Message, ...] = ()


def prompt_parts(text: str, messages: Sequence[Message]) -> PromptParts:
    """The parts of a prompt; `messages` are none where `text` is all of it."""
    turns = [message for message in messages if message.role != "system"]
    if not turns:
        return PromptParts("", text)
    system = "\n\n".join(spoken(message) for message in messages if message.role == "system")
    return PromptParts(system, spoken(turns[-1]), tuple(turns[:-1]))


def prompt_line(text: str, messages: Sequence[Message]) -> str:
    """What tells a prompt from others on one line: the turn to answer, then the system message."""
    prompt = prompt_parts(text, messages)
    return f"{prompt.last} · system: {prompt.system}" if prompt.system else prompt.last


def prompt_content(text: str, messages: Sequence[Message]) -> Content:
    """A whole prompt. Roles are told apart by their style, which no text has."""
    prompt = prompt_parts(text, messages)
    lines = [("system ", prompt.system)] if prompt.system else []
    lines += [("> ", prompt.last)]
    parts = [Content.assemble((mark, "$muted"), safe(part)) for mark, part in lines]
    if prompt.earlier:
        parts += [Content(""), Content.styled(EARLIER, "$muted")]
        room = LIMIT
        for turn in prompt.earlier:
            part = safe(spoken(turn), max(0, room))
            room -= len(part)
            parts.append(Content.assemble((f"{turn.role} ", "$muted"), part))
    return Content("\n").join(parts)
