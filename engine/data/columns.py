"""Which columns of a dataset make its prompts, and what a row of them asks.

The usual names are known: a text prompt with the columns that belong to it (`instruction` and
`input`, `question` and `context`), chats, preference pairs of chats, and beside each of them a
system message, earlier turns and tools.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.data.chat_messages import (
    Message,
    Tools,
    history_of,
    messages_of,
    preference_of,
    printable,
    text_of,
    tools_of,
)
from engine.data.files import MOST_COLUMNS, Unusable
from engine.data.sources import Split
from engine.errors import UserError

PROMPTS = ("prompt", "question", "instruction", "messages", "conversations", "conversation")
CHOSEN, REJECTED = "chosen", "rejected"
# Columns that belong to a text prompt whose column was not named: what stands before it and after.
BEFORE, AFTER = ("context",), ("input",)
HISTORY = "history"
SYSTEMS = ("system", "system_prompt")
TOOLS = ("tools", "functions")
# Columns that hold answers: who makes a prompt of one trains on what is to be found.
ANSWERS = ("answer", "answers", "output", "response", "completion", "solution", CHOSEN, REJECTED)

_MOST_SHOWN = 30

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """What a row asks: its chat as it stands there, and what stands beside it."""

    messages: list[Message]
    system: str
    tools: Tools


class PromptColumns:
    """The columns of a split that prompts are made of.

    Raises:
        UserError: a column that was asked for is not there, or none is known.
    """

    def __init__(self, split: Split, prompt: str | None, system: str | None) -> None:
        self._name = split.name
        self._columns = dict.fromkeys(split.columns)
        self._others: set[str] = set()
        self._ignored: set[str] = set()
        self._no_tools: dict[str, tuple[int, str]] = {}  # column -> rows, and the first reason
        self._prompt = self._named(prompt) if prompt else self._guessed()
        self._guess = prompt is None
        self._system = self._checked("system_feature", [system]) if system else list(SYSTEMS)
        beside = [*BEFORE, *AFTER, HISTORY] if self._guess else []
        chosen = [REJECTED] if self._prompt == [CHOSEN] else []
        self._to_read = [*self._prompt, *chosen, *self._system, *TOOLS, *beside]

    @property
    def to_read(self) -> list[str]:
        """The columns to read."""
        return [name for name in self._to_read if name in self._columns or not self._columns]

    def prompt_of(self, row: Mapping[str, Any]) -> RowPrompt:
        """What a row asks.

        Raises:
            Unusable: a cell of it cannot be read; the text begins with the column.
        """
        if row.keys() - self._columns.keys() and len(self._columns) < MOST_COLUMNS:
            self._columns |= dict.fromkeys(row)
        system = (_cell(row, name, text_of) for name in self._system)
        return RowPrompt(
            self._messages(row),
            next((text for text in system if text.strip()), ""),
            self._tools(row),
        )

    def _messages(self, row: Mapping[str, Any]) -> list[Message]:
        if self._prompt == [CHOSEN]:
            rejected = row.get(REJECTED)
            return _cell(row, CHOSEN, lambda chosen: preference_of(chosen, rejected))
        if len(self._prompt) > 1:
            return _user(_cell(row, name, text_of) for name in self._prompt)
        [name] = self._prompt
        if self._guess and row.get(name) is None:
            # Files that were put together hold rows of several kinds.
            name = next((other for other in PROMPTS if row.get(other) is not None), name)
            self._others |= {name} - {*self._prompt}
        messages = _cell(row, name, messages_of)
        beside = [key for key in (*BEFORE, *AFTER, HISTORY) if self._guess and row.get(key)]
        if beside and not isinstance(row.get(name), (list, tuple, Mapping)) and len(messages) < 2:
            return self._with_parts(row, messages[0].content if messages else "")
        self._ignored |= {*beside}
        return messages

    def _with_parts(self, row: Mapping[str, Any], text: str) -> list[Message]:
        """A text prompt with what stands beside it, less what it holds already."""
        before, after = (
            [part for key in keys if (part := _cell(row, key, text_of)) not in text]
            for keys in (BEFORE, AFTER)
        )
        question = _user([*before, text, *after]) if text.strip() or after else []
        return [*_cell(row, HISTORY, history_of), *question]

    def _tools(self, row: Mapping[str, Any]) -> Tools:
        for name in TOOLS:
            try:
                if tools := tools_of(row.get(name)):
                    return tools
            except Unusable as reason:
                count, first = self._no_tools.get(name, (0, str(reason)))
                self._no_tools[name] = (count + 1, first)
        return ()

    @property
    def names(self) -> list[str]:
        """All columns that are known so far."""
        return list(self._columns)

    def used(self) -> list[str]:
        """The columns that prompts are made of."""
        known = ({*self._to_read} | self._others) - self._ignored
        return [name for name in self._columns if name in known]

    def notes(self) -> list[str]:
        """What of the columns is not used, in sentences."""
        used = self.used()
        unused = listed(name for name in self._columns if name not in used)
        made_of = f"data: prompts are made of {listed(used)}; columns not used: {unused}"
        notes = [made_of] if unused else []
        for name, (count, reason) in self._no_tools.items():
            notes.append(f"data: {counted(count, 'row')} asked without tools: {name} {reason}")
        return notes

    def _named(self, setting: str) -> list[str]:
        """The columns that the setting names: one, or several as `context + question`."""
        several = [setting] if setting in self._columns else setting.split(" + ")
        return self._checked("prompt_feature", [name.strip() for name in several])

    def _checked(self, key: str, names: list[str]) -> list[str]:
        for name in names:
            if self._columns and name not in self._columns:
                raise UserError(
                    f"{key}: {self._name} has no column {name!r}; its columns are "
                    f"{listed(self._columns)}"
                )
        return names

    def _guessed(self) -> list[str]:
        for name in (*PROMPTS, CHOSEN):
            if name in self._columns:
                return [name]
        if not self._columns:
            return [PROMPTS[0]]
        others = [name for name in self._columns if str(name).strip().lower() not in ANSWERS]
        answers = [name for name in self._columns if name not in others]
        aside = f" ({listed(answers)} look like answers)" if answers else ""
        raise UserError(
            "prompt_feature: say which column holds the prompt: "
            f"{listed(others) or 'none does'}{aside}; {self._name} has none of {', '.join(PROMPTS)}"
        )


def _cell(row: Mapping[str, Any], name: str, read: Callable[[Any], Content]) -> Content:
    try:
        return read(row.get(name))
    except Unusable as reason:
        raise Unusable(f"{printable(name)} {reason}") from reason


def _user(parts: Iterable[str]) -> list[Message]:
    text = "\n\n".join(part for part in parts if part.strip())
    return [Message("user", text)] if text else []


def listed(names: Iterable[str]) -> str:
    """Names of columns in words, the first of them where there are many."""
    names = list(names)
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(printable(name) for name in names[:_MOST_SHOWN]) + more


def counted(count: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
