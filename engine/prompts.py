"""A dataset's rows -> prompts: which column, chat or text, what is dropped, what is held out.

Where the rows come from is the subject of `engine.dataset_rows`, and how a prompt becomes token
ids that of `engine.rendering`.
"""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.dataset_rows import Split, read_splits
from engine.errors import UserError
from engine.settings import Settings

PROMPT_COLUMNS = ("prompt", "question", "instruction", "messages")
SYSTEM_COLUMN = "system"

# The names that chat datasets give the same roles and keys.
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_ROLE_KEYS, _CONTENT_KEYS = ("role", "from"), ("content", "value")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `role` is system, user, assistant or what the dataset says."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the policy is asked. `messages` end with the turn to answer.

    `text` is the raw prompt as a judge and pairs.jsonl see it: the content of a single user
    message, else a transcript.
    """

    messages: tuple[Message, ...]
    text: str


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
    splits = read_splits(settings.data)
    dropped = {"empty": 0, "duplicate": 0}
    seen: set[tuple[Message, ...]] = set()

    def prompts_of(name: str) -> list[Prompt]:
        found = _prompts(splits[name], settings, seen, dropped) if name in splits else []
        random.Random(settings.seed).shuffle(found)
        return found

    # Held-out prompts are read first, so that one that is also in the training split is held out.
    test = prompts_of("test")
    held_out = prompts_of("valid")
    train = prompts_of("train")
    notes: list[str] = []
    if settings.max_prompts:
        train = train[: settings.max_prompts]
    wanted = settings.eval_prompts
    if "valid" in splits:
        held_out = held_out[:wanted]
    elif not settings.human_judge:
        # Half is kept for training at least: a win rate says little about a starved policy.
        count = min(wanted, len(train) // 2)
        if count < wanted:
            notes.append(
                f"eval_prompts: {count} of {len(train)} prompts are held out, not {wanted}, so "
                "that enough are left to train on"
            )
        held_out, train = train[:count], train[count:]
    if not train:
        what = f"every prompt is {_reason(dropped)}" if any(dropped.values()) else "it has no rows"
        raise UserError(f"data: {settings.data} holds no prompts to train on: {what}")
    if settings.test and not test and not settings.human_judge:
        notes.append("test: there is no test split, so the held-out prompts are used")
        test = held_out
    return PromptSet(train, held_out, test, dropped, notes)


def _reason(dropped: Mapping[str, int]) -> str:
    return " or ".join(reason for reason, count in dropped.items() if count)


def _prompts(
    split: Split,
    settings: Settings,
    seen: set[tuple[Message, ...]],
    dropped: dict[str, int],
) -> list[Prompt]:
    """The distinct prompts of a split; counts what it leaves out in `dropped`."""
    prompt_column = _prompt_column(split, settings.prompt_feature)
    system_column = _system_column(split, settings.system_feature)
    found: list[Prompt] = []
    columns = [prompt_column, system_column] if system_column else [prompt_column]
    for place, row in split.rows(columns):
        system = row.get(system_column) if system_column else None
        messages = _messages(row.get(prompt_column), f"{place}: {prompt_column}")
        messages = _with_system(messages, system, settings.system_prompt)
        if not messages:
            dropped["empty"] += 1
        elif messages in seen:
            dropped["duplicate"] += 1
        else:
            seen.add(messages)
            found.append(Prompt(messages, _as_text(messages)))
    return found


def _prompt_column(split: Split, wanted: str | None) -> str:
    candidates = (wanted,) if wanted else PROMPT_COLUMNS
    for name in candidates:
        if name in split.columns:
            return name
    if not split.columns:
        return candidates[0]
    there = ", ".join(repr(column)[1:-1] for column in split.columns[:30])
    if wanted:
        raise UserError(
            f"prompt_feature: {split.name} has no column {wanted!r}; its columns are {there}"
        )
    raise UserError(
        f"prompt_feature: {split.name} has none of {', '.join(PROMPT_COLUMNS)}; say which of its "
        f"columns holds the prompt: {there}"
    )


def _system_column(split: Split, wanted: str | None) -> str | None:
    if wanted is None:
        return SYSTEM_COLUMN if SYSTEM_COLUMN in split.columns else None
    if split.columns and wanted not in split.columns:
        there = ", ".join(repr(column)[1:-1] for column in split.columns[:30])
        raise UserError(
            f"system_feature: {split.name} has no column {wanted!r}; its columns are {there}"
        )
    return wanted


def _messages(value: Any, place: str) -> tuple[Message, ...]:
    """The chat that a cell holds, up to the turn to answer; empty where there is none."""
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list):
        messages = [_message(item, place) for item in value]
        while messages and messages[-1].role == "assistant":
            messages.pop()
        kept = [message for message in messages if message.content.strip()]
        # A chat whose last turn is blank, or that has only a system message, asks nothing.
        answerable = kept and kept[-1] is messages[-1] and kept[-1].role != "system"
        return tuple(kept) if answerable else ()
    text = _text(value, place)
    return (Message("user", text),) if text.strip() else ()


def _message(item: Any, place: str) -> Message:
    if isinstance(item, str):
        return Message("user", clean(item))
    if isinstance(item, Mapping):
        role = next((item[key] for key in _ROLE_KEYS if isinstance(item.get(key), str)), None)
        content = next((item[key] for key in _CONTENT_KEYS if item.get(key) is not None), "")
        if role is not None:
            if isinstance(content, list):
                content = "\n".join(_part(part) for part in content)
            role = clean(role).strip().lower()
            return Message(_ROLES.get(role, role), _text(content, place))
    raise UserError(f"{place}: a chat message has to be a mapping with role and content")


def _part(part: Any) -> str:
    """The text of one part of a message; parts of other kinds (images) have none."""
    text = part.get("text") if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def _text(value: Any, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f"{place} is a {type(value).__name__}, but has to be text or a list of chat messages"
    )


def _with_system(
    messages: tuple[Message, ...], system: Any, default: str | None
) -> tuple[Message, ...]:
    """`messages` with a system message first, unless they bring one."""
    if not messages or messages[0].role == "system":
        return messages
    text = system if isinstance(system, str) and system.strip() else default
    return (Message("system", clean(text)), *messages) if text and text.strip() else messages


def _as_text(messages: Iterable[Message]) -> str:
    turns = [message for message in messages if message.role != "system"]
    return turns[0].content if len(turns) == 1 else transcript(turns)


def transcript(turns: Iterable[Message]) -> str:
    """Several turns as plain text, one after the other, each after its role."""
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)


def clean(text: str) -> str:
    """Text that can be written as UTF-8: a lone surrogate becomes a replacement character."""
    return _LONE_SURROGATE.sub("\ufffd", text)


class PromptOrder:
    """Indices of prompts, epoch by epoch: each epoch is a new shuffle, without replacement.

    The order depends on `size` and `seed` alone, so a state of two numbers restores it exactly.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError("there is nothing to draw from")
        self._size, self._seed = size, seed
        self._position = 0
        self._start(0)

    @property
    def epoch(self) -> int:
        """Epochs that have been begun before this one."""
        return self._epoch

    def next(self, count: int) -> list[int]:
        """The next `count` indices; a batch larger than what is left reaches into new epochs."""
        drawn: list[int] = []
        while len(drawn) < count:
            if self._position == self._size:
                self._start(self._epoch + 1)
            taken = self._order[self._position : self._position + count - len(drawn)]
            self._position += len(taken)
            drawn += taken
        return drawn

    def state(self) -> dict[str, int]:
        """What `restore` needs."""
        return {"size": self._size, "epoch": self._epoch, "position": self._position}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on where `state` was taken.

        Raises:
            UserError: the state is of another number of prompts.
        """
        if state["size"] != self._size:
            raise UserError(
                f"data: this run began with {state['size']} prompts to train on and there are "
                f"{self._size} now; give it the data it began with"
            )
        self._start(state["epoch"])
        self._position = state["position"]

    def _start(self, epoch: int) -> None:
        self._epoch, self._position = epoch, 0
        self._order = list(range(self._size))
        random.Random(f"{self._seed}/{epoch}").shuffle(self._order)
