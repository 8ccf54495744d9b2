"""A prompt -> the token ids that the policy continues.

The chat template is applied once. What a message contains is data: a fake end of turn in it is
ordinary characters, never a control token.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import Any

from engine.data import chat_template
from engine.data.chat_messages import Message, Tools, as_mapping, spoken, transcript
from engine.data.prompts import Prompt
from engine.data.tokens import CHARACTERS_PER_TOKEN, control_ids, data_ids, frame_ids, one_bos
from engine.data.tool_text import inert_calls, shows_calls
from engine.errors import UserError
from engine.settings.schema import Settings

# Between two private-use characters a name stands in for data while the template is rendered.
_OPEN, _CLOSE = "\ue0a3", "\ue0a4"
_MARK = re.compile(f"{_OPEN}([a-z0-9]+){_CLOSE}")

# A system message that leaves fewer tokens than this to the question goes.
_LEAST = 16


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """Token ids of a prompt, and what was left out of it: so many of its oldest turns, and
    whether the start of its last one or the system message."""

    ids: list[int]
    dropped: int = 0
    cut: bool = False


def render_prompt(tokenizer: Any, prompt: Prompt, settings: Settings, budget: int) -> list[int]:
    """The ids of `fit_prompt`."""
    return fit_prompt(tokenizer, prompt, settings, budget).ids


def fit_prompt(tokenizer: Any, prompt: Prompt, settings: Settings, budget: int) -> FittedPrompt:
    """Token ids of a prompt, at most `budget` of them, ready for the answer to follow.

    A prompt that is too long loses its oldest turns first, then the start of its last message,
    never its last words nor the header of the answer; a system message goes last.

    Args:
        tokenizer: a transformers tokenizer, or mlx-lm's wrapper of one. Without a chat template
            the prompt is plain text.

    Raises:
        UserError: `budget` has no room for the template itself and one token more.
    """
    messages = [inert_calls(tokenizer, message, (_OPEN, _CLOSE)) for message in prompt.messages]
    turns, system = _recent(messages, budget)
    template = _Template(tokenizer, settings.enable_thinking, prompt.tools)
    count = sum(message.role != "system" for message in messages)

    def rendered(start: int) -> list[int]:
        return _render(template, [*system, *turns[start:]])

    if len(ids := rendered(0)) <= budget:
        return FittedPrompt(ids, count - len(turns))
    # The first place from which all that follows fits: fewer turns never make more tokens.
    starts = _starts(turns)
    at = bisect_left(starts, True, lo=1, key=lambda start: len(rendered(start)) <= budget)
    if at < len(starts):
        return FittedPrompt(rendered(starts[at]), count - len(turns) + starts[at])
    turns = turns[starts[-1] :]
    for remaining, least, chosen in (
        ([*system, *turns], _LEAST, template),
        (turns, 1, template),
        (turns, 1, template.without_tools()),
    ):
        if cut := _cut_last(chosen, remaining, budget, least):
            return FittedPrompt(cut, count - len(turns), cut=True)
    raise UserError(
        f"max_seq_length: {settings.max_seq_length} less max_completion_length "
        f"{settings.max_completion_length} leaves no room for a prompt; raise it"
    )


def render_answered(tokenizer: Any, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
    """Token ids of a conversation that ends with its answer, of whatever length."""
    marked = [inert_calls(tokenizer, message, (_OPEN, _CLOSE)) for message in messages]
    return _render(_Template(tokenizer, False, tools, answered=True), marked)


def takes_system(tokenizer: Any) -> bool:
    """Whether the chat template shows a system message as one."""
    messages = [Message("system", "Be brief."), Message("user", "Why?")]
    accepted = _accepted(_Template(tokenizer, False), messages)
    return accepted is not None and accepted[1] == messages


class _Template:
    """A tokenizer's chat template with what it is told beside the messages.

    Tools are written by the template itself. A text in them that spells a control token, or a
    mark, gives its place to a mark; `tool_texts` has these texts in order, as JSON writes them.
    """

    def __init__(
        self, tokenizer: Any, enable_thinking: bool, tools: Tools = (), *, answered: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.controls = control_ids(tokenizer)
        self.tool_texts: list[str] = []
        self._enable_thinking = enable_thinking
        self._answered = answered
        self._tools = self._harmless(list(tools)) or None

    def without_tools(self) -> "_Template":
        """The same template, told of no tools."""
        if not self._tools:
            return self
        return _Template(self.tokenizer, self._enable_thinking, answered=self._answered)

    def apply(self, messages: Sequence[Message]) -> str | None:
        """The template's text, or None where there is none or it refuses the messages."""
        return chat_template.apply(
            self.tokenizer,
            [as_mapping(message) for message in messages],
            enable_thinking=self._enable_thinking,
            tools=self._tools,
            answered=self._answered,
        )

    def spells_control(self, text: str) -> bool:
        """Whether a tokenizer that is not told otherwise makes a control token of the text."""
        return not self.controls.isdisjoint(frame_ids(self.tokenizer, text))

    def _harmless(self, value: Any) -> Any:
        if isinstance(value, str):
            if _OPEN not in value and not self.spells_control(value):
                return value
            self.tool_texts.append(json.dumps(value, ensure_ascii=False)[1:-1])
            return _mark(f"tool{len(self.tool_texts) - 1}")
        if isinstance(value, Mapping):
            return {self._harmless(key): self._harmless(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._harmless(each) for each in value]
        return value


def _recent(messages: Sequence[Message], budget: int) -> tuple[list[Message], list[Message]]:
    """The last turns of a conversation, no more than can matter to so many tokens, and its
    system messages: what data brings may be a book."""
    most = CHARACTERS_PER_TOKEN * max(budget, 1)
    cut = [replace(each, content=each.content[-most:]) for each in messages]
    turns = [message for message in cut if message.role != "system"][-max(budget, 1) :]
    while len(turns) > 1 and sum(len(spoken(turn)) for turn in turns) > most:
        turns = turns[1:]
    return turns, [message for message in cut if message.role == "system"]


def _starts(turns: Sequence[Message]) -> list[int]:
    """Where turns may begin: with the first, with a later question, since an answer goes with the
    question it is for, and with the last."""
    questions = [at for at, turn in enumerate(turns) if at and turn.role == "user"]
    return sorted({0, *questions, len(turns) - 1})


def _render(template: _Template, messages: list[Message]) -> list[int]:
    """Ids of whole messages: the template's own text, tokenised in one piece where it is safe."""
    tokenizer, controls = template.tokenizer, template.controls
    accepted = _accepted(template, messages)
    if accepted is None:
        return _plain(tokenizer, messages)
    template, messages, frame = accepted
    if not template.tool_texts and not any(template.spells_control(m.content) for m in messages):
        text = template.apply(messages)
        ids = [] if text is None else one_bos(tokenizer, frame_ids(tokenizer, text))
        # Data may also have made a control token together with what the template puts beside it.
        alone = _fill(template, frame, [[] for _ in messages])
        if ids and [i for i in ids if i in controls] == [i for i in alone if i in controls]:
            return ids
    return _fill(template, frame, [data_ids(tokenizer, m.content) for m in messages])


def _cut_last(
    template: _Template, messages: list[Message], budget: int, least: int
) -> list[int] | None:
    """Ids with as much of the end of the last message as fits; None if that is below `least`."""
    tokenizer = template.tokenizer
    accepted = _accepted(template, messages)
    if accepted is None:
        ids = _plain(tokenizer, messages)
        bos = ids[:1] if ids[:1] == [tokenizer.bos_token_id] else []
        room = budget - len(bos)
        return [*bos, *ids[-room:]] if room >= least else None
    template, messages, frame = accepted
    contents = [data_ids(tokenizer, message.content) for message in messages]
    room = budget - len(_fill(template, frame, [*contents[:-1], []]))
    if room < least:
        return None
    return _fill(template, frame, [*contents[:-1], contents[-1][-room:]])


def _accepted(
    template: _Template, messages: list[Message]
) -> tuple[_Template, list[Message], list[str]] | None:
    """The messages in the first form that the template shows in full, and its frame for them;
    the template is told of no tools where it refuses them.

    The frame is the template's text, cut where data belongs: every second part names the data.
    None where there is no template, or it shows no form in full.
    """
    if not chat_template.has_one(template.tokenizer):
        return None
    for candidate in dict.fromkeys((template, template.without_tools())):
        for form in _forms(messages):
            names = [str(index) for index, message in enumerate(form) if message.content]
            marked = [
                replace(message, content=_mark(str(index)) if message.content else "")
                for index, message in enumerate(form)
            ]
            text = candidate.apply(marked)
            if text is None or not shows_calls(text, form):
                continue
            frame = _MARK.split(text)
            if [name for name in frame[1::2] if name.isdigit()] == names:
                return candidate, form, frame
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


def _fill(template: _Template, frame: list[str], contents: list[list[int]]) -> list[int]:
    """Ids of the frame with the contents' ids in their places."""
    tokenizer = template.tokenizer
    data = {str(index): content for index, content in enumerate(contents)}
    for index, text in enumerate(template.tool_texts):
        data[f"tool{index}"] = data_ids(tokenizer, text)
    ids: list[int] = []
    for text, name in zip_longest(frame[::2], frame[1::2]):
        ids += frame_ids(tokenizer, text)
        ids += data.get(name, []) if name else []
    return one_bos(tokenizer, ids)


def _plain(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Ids for a model without a usable template: the text and nothing around it."""
    turns = [message for message in messages if message.role != "system"]
    body = spoken(turns[0]) if len(turns) == 1 else transcript(turns) + "\n\nAssistant:"
    system = [message.content for message in messages if message.role == "system"]
    return one_bos(tokenizer, data_ids(tokenizer, "\n\n".join([*system, body])))


def _mark(name: str) -> str:
    return f"{_OPEN}{name}{_CLOSE}"
