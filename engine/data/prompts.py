"""A dataset's rows -> prompts: what is dropped and why, what is held out.

Where the rows come from is the subject of `engine.data.sources`, what of a row is its prompt that
of `engine.data.columns`, in which order they are drawn that of `engine.data.order`, and how a
prompt becomes token ids that of `engine.data.rendering`.
"""

import hashlib
import json
import random
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from engine.data.chat_messages import Message, Tools, message_of, spoken, transcript
from engine.data.columns import PromptColumns, RowPrompt, counted
from engine.data.files import Unusable
from engine.data.mixture import Source, in_proportion, mixed, sources_of
from engine.data.sources import Split, SplitName, read_splits
from engine.data.tokens import CHARACTERS_PER_TOKEN
from engine.errors import UserError
from engine.settings.schema import Settings

# A split is read until its prompts take this many bytes or so.
_MOST_TEXT, _OVERHEAD = 2**30, 500
# Reasons that are told of one by one.
_MOST_REASONS = 5
# Spaces of no width, which text from web pages is full of.
_WIDTHLESS = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"), " ")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the policy is asked. `messages` end with the turn to answer.

    `text` is the raw prompt as a judge and pairs.jsonl see it: the content of a single user
    message, else a transcript. `tools` are the descriptions of the tools that the answer may call,
    JSON-like, for a chat template that takes them.
    """

    messages: tuple[Message, ...]
    text: str
    tools: Tools = field(default=(), hash=False)

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages where they are more than one turn of a user, else none."""
        single = len(self.messages) == 1 and self.messages[0].role == "user" and not self.tools
        return () if single else self.messages

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Prompt":
        """The prompt that `dataclasses.asdict` took apart, perhaps by way of JSON."""
        messages = tuple(message_of(each, "user") for each in data["messages"])
        return cls(messages, data["text"], tuple(data["tools"]))


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a run, shuffled by its seed, without empty ones and duplicates.

    `dropped` counts what was left out by reason; `notes` are sentences for the log.
    """

    train: list[Prompt]
    held_out: list[Prompt]
    test: list[Prompt]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_prompts(settings: Settings) -> PromptSet:
    """The prompts that the settings ask for.

    Raises:
        UserError: the data is missing, cannot be read, lacks the column or holds no prompt; one
            sentence that names the file and, where there is one, the line.
    """
    sources = sources_of(settings)
    splits = [read_splits(source.data, source.reading) for source in sources]
    reader = PromptReader(settings)
    # A stream is read no further than it is needed.
    most = settings.max_prompts + settings.eval_prompts if settings.data_streaming else None

    def prompts_of(name: SplitName) -> list[list[Prompt]]:
        """The prompts of a split by source, each shuffled."""
        by_source = [
            list(islice(reader.prompts(split[name], source), most)) if name in split else []
            for source, split in zip(sources, splits, strict=True)
        ]
        for prompts in by_source:
            random.Random(settings.seed).shuffle(prompts)
        return by_source

    # Held-out prompts are read first, so that one that is also in the training split is held out.
    test = mixed(prompts_of("test"), settings.seed)
    held_out = mixed(prompts_of("valid"), settings.seed)
    by_source = prompts_of("train")
    for source, prompts in zip(sources, by_source, strict=True):
        if not prompts and len(sources) > 1:
            raise UserError(f"data_mix: {source.data} holds no prompts to train on: {reader.why()}")
    by_source, shares = in_proportion(sources, by_source)
    train = mixed(by_source, settings.seed)
    notes = [*reader.notes(), *shares]
    if settings.max_prompts:
        train = train[: settings.max_prompts]
    most = settings.eval_prompts
    if any("valid" in split for split in splits):
        held_out = held_out[:most]
    elif settings.measures:
        # Half is kept for training at least: a win rate says little about a starved policy.
        count = min(most, len(train) // 2)
        if count < most:
            notes.append(
                f"eval_prompts: {count} of {len(train)} prompts are held out, not {most}, so "
                "that enough are left to train on"
            )
        held_out, train = train[:count], train[count:]
    if not train:
        raise UserError(f"data: {settings.data} holds no prompts to train on: {reader.why()}")
    if settings.test and not test and settings.measures:
        notes.append("test: there is no test split, so the held-out prompts are used")
        test = held_out
    return PromptSet(train, held_out, test, reader.dropped, notes)


class PromptReader:
    """Makes prompts of rows, and remembers what was left out of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._room = settings.max_seq_length * CHARACTERS_PER_TOKEN
        self._digests: set[bytes] = set()
        self.columns: list[PromptColumns] = []  # of each split that was begun
        self.dropped = {"empty": 0, "duplicate": 0}
        self._unusable: dict[str, tuple[int, str]] = {}  # reason -> how often, where first
        self._answered = self._cut = self._own_system = 0
        self._notes: dict[str, None] = {}

    def prompts(self, split: Split, source: Source) -> Iterator[Prompt]:
        """The distinct prompts of a split, in its order."""
        columns = PromptColumns(split, source.prompt_feature, source.system_feature)
        self.columns.append(columns)
        try:
            yield from self._prompts(split, columns)
        finally:  # also where no more are wanted
            self._notes |= dict.fromkeys(columns.notes())

    def _prompts(self, split: Split, columns: PromptColumns) -> Iterator[Prompt]:
        size = 0
        for place, row in split.rows(columns.to_read):
            try:
                if isinstance(row, Unusable):
                    raise Unusable(f"the row {row}")
                prompt = self._prompt(columns.prompt_of(row))
            except Unusable as reason:
                self._leave_out(str(reason), place)
                continue
            if prompt is not None:
                size += len(prompt.text) + _OVERHEAD
                yield prompt
            if size > _MOST_TEXT:
                note = f"data: {split.name} is read up to {place}: more is not held in memory"
                self._notes[note] = None
                break

    def _prompt(self, row: RowPrompt) -> Prompt | None:
        """The prompt of a row, or None where it asks nothing or nothing new."""
        turns, tools = row.messages, row.tools
        while turns and turns[-1].role == "assistant":
            turns = turns[:-1]
        self._answered += len(turns) < len(row.messages)
        last = turns[-1:]
        messages = [turn for turn in turns if turn.content.strip() or turn.tool_calls]
        # A chat whose last turn is blank, or that has only a system message, asks nothing.
        if not messages or messages[-1:] != last or messages[-1].role == "system":
            self.dropped["empty"] += 1
            return None
        messages = self._with_system(messages, row.system)
        if tools and len(json.dumps(tools)) > self._room:
            raise Unusable("tools has more than max_seq_length can hold")
        messages = self._shortened(messages)
        if (key := prompt_digest(messages, tools)) in self._digests:
            self.dropped["duplicate"] += 1
            return None
        self._digests.add(key)
        return Prompt(tuple(messages), _as_text(messages), tools)

    def _with_system(self, messages: list[Message], system: str) -> list[Message]:
        """`messages` with a system message first, unless they bring one."""
        if messages[0].role == "system":
            self._own_system += bool(system.strip()) and system != messages[0].content
            return messages
        text = system if system.strip() else self._settings.system_prompt or ""
        return [Message("system", text), *messages] if text.strip() else messages

    def _shortened(self, messages: list[Message]) -> list[Message]:
        """`messages` less what has no room in any case: their oldest turns, and the start of the
        last one. Nothing that data decides is so long that a tokenizer takes minutes for it."""
        system = [_end(turn, self._room) for turn in messages[:1] if turn.role == "system"]
        *older, last = messages[len(system) :]
        turns = [_end(last, self._room)]
        room = self._room - len(spoken(last))
        for turn in reversed(older):
            room -= len(spoken(turn))
            if room < 0 or len(turns) == self._settings.max_seq_length:
                break
            turns.append(turn)
        short = [*system, *reversed(turns)]
        self._cut += short != messages
        return short

    def _leave_out(self, reason: str, place: str) -> None:
        self.dropped["unusable"] = self.dropped.get("unusable", 0) + 1
        count, first = self._unusable.get(reason, (0, place))
        if count or len(self._unusable) <= _MOST_REASONS:
            self._unusable[reason] = (count + 1, first)

    def notes(self) -> list[str]:
        """What was done with the data that its owner may not expect, a sentence each."""
        notes = [*self._notes]
        if self._answered:
            notes.append(
                "data: the assistant's last turn is left out of "
                f"{counted(self._answered, 'prompt')}: the model writes its own"
            )
        if self._own_system:
            notes.append(
                f"data: in {counted(self._own_system, 'prompt')} the system column gives way to a "
                "system message of the chat"
            )
        if self._cut:
            notes.append(
                f"data: only the end is read of {counted(self._cut, 'prompt')} far longer than "
                "max_seq_length can hold"
            )
        for reason, (count, place) in list(self._unusable.items())[:_MOST_REASONS]:
            notes.append(f"data: {counted(count, 'row')} left out, the first {place}: {reason}")
        if len(self._unusable) > _MOST_REASONS:
            notes.append("data: rows left out for other reasons too")
        return notes

    def why(self) -> str:
        """Why there are no prompts."""
        reasons = [reason for reason, count in self.dropped.items() if count]
        if not reasons:
            return "it has no rows"
        first = next(((place, reason) for reason, (_, place) in self._unusable.items()), None)
        detail = f" ({first[0]}: {first[1]})" if first else ""
        return f"every prompt is {' or '.join(reasons)}{detail}"


def _end(message: Message, room: int) -> Message:
    """A message with no more than the last `room` characters of its content."""
    content = message.content
    return message if len(content) <= room else replace(message, content=content[-room:])


def prompt_digest(messages: Iterable[Message], tools: object) -> bytes:
    """The same for prompts that differ only in spaces, case or the composition of letters: a
    model that has trained on one of them knows the other."""
    turns = [[turn.role, _plainest(turn.content), turn.tool_calls] for turn in messages]
    return hashlib.blake2b(json.dumps([turns, tools]).encode(), digest_size=16).digest()


def _plainest(text: str) -> str:
    text = unicodedata.normalize("NFC", text).casefold()
    return " ".join((text if text.isascii() else text.translate(_WIDTHLESS)).split())


def _as_text(messages: Iterable[Message]) -> str:
    turns = [message for message in messages if message.role != "system"]
    return turns[0].content if len(turns) == 1 else transcript(turns)
