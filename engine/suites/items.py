"""Suites of questions with a rule each: read from files, and scored.

A line of a suite is a JSON object: `prompt`, `check`, `value`, and, where an answer needs another
length, `tokens`. An item without `check` is one for a function. The checks:

- equals: the answer is the value, white space aside.
- contains: the value, or each of a list of values, is in the answer, in whatever case.
- matches: the regular expression is found in the answer.
- json: the answer is JSON, in a fence or bare. A value that is an object names keys that have to be
  there, each with its value where that is not null; any other value has to be equal.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import regex

from engine.data_folder import at_home
from engine.errors import UserError
from engine.json_number import whole

Check = Literal["equals", "contains", "matches", "json"]
BUNDLED = Path(__file__).with_name("bundled")
SUFFIX = ".jsonl"
# What a language model is asked, and what the starter is, which knows its own small world alone.
GENERAL = ("arithmetic", "choice", "format", "instructions", "refusals", "repetition")
STARTER = ("facts", "sentences")

TOKENS = 64  # of an answer, where its item names no other number
MOST_TOKENS = 1_024
MOST_ITEMS = 1_000
MOST_BYTES = 10_000_000  # of a file
# A regular expression that takes longer does not match: nested repetition may take for ever.
SECONDS = 0.5  # of the process, not of the clock
_KEYS = ("prompt", "check", "value", "tokens")
_FENCE = regex.compile(r"\A\s*```\w*\s*\n(.*?)\n?\s*```\s*\Z", regex.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """A question, and the rule that says whether an answer is right; without one, a function of the
    run does."""

    prompt: str
    check: Check | None
    value: Any = None
    tokens: int = TOKENS  # of an answer, at most


@dataclass(frozen=True, slots=True)
class Suite:
    """Questions on one subject."""

    name: str
    items: tuple[Item, ...]


def load(names: tuple[str, ...] | list[str], *, function: bool = False) -> list[Suite]:
    """The suites of some names: of those that come with the program, or paths of files.

    Args:
        function: whether there is a function for items without a check.

    Raises:
        UserError: there is no such suite, a file cannot be used, or two have one name; or items
            without a check are there and no function, or a function and no such items.
    """
    suites = [read(_path(name)) for name in names]
    unruled = [suite.name for suite in suites if any(not item.check for item in suite.items)]
    if unruled and not function:
        raise UserError(
            f"guard_suites: {unruled[0]} has items without check, which one of "
            f"{', '.join(get_args(Check))} or the setting guard_function has to score"
        )
    if function and not unruled:
        raise UserError("guard_function: it scores items without check, and no suite has any")
    for suite in suites:
        if sum(each.name == suite.name for each in suites) > 1:
            raise UserError(f"guard_suites: two suites are called {suite.name!r}; rename a file")
    return suites


def read(path: Path) -> Suite:
    """The suite in a file; its name is the file's.

    Raises:
        UserError: the file cannot be read, or a line is no item; says which.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"guard_suites: {path} cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"guard_suites: {path} is longer than {MOST_BYTES:,} bytes")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"guard_suites: {path} is no UTF-8 text") from None
    items = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                items.append(_item(line))
            except ValueError as error:
                raise UserError(f"guard_suites: {path}:{number}: {error}") from None
    if not items:
        raise UserError(f"guard_suites: {path} has no items; write one a line")
    if len(items) > MOST_ITEMS:
        raise UserError(f"guard_suites: {path} has {len(items):,} items; keep {MOST_ITEMS:,}")
    return Suite(path.stem, tuple(items))


def passes(item: Item, answer: str) -> bool:
    """Whether an answer is right by the item's check.

    Raises:
        ValueError: it has none.
    """
    match item.check:
        case None:
            raise ValueError("the item has no check")
        case "equals":
            return answer.split() == str(item.value).split()
        case "contains":
            values = item.value if isinstance(item.value, list) else [item.value]
            return all(str(value).casefold() in answer.casefold() for value in values)
        case "matches":
            try:
                return _pattern(item.value).search(answer, timeout=SECONDS) is not None
            except TimeoutError:
                return False
        case "json":
            fenced = _FENCE.match(answer)
            try:
                document = json.loads(fenced[1] if fenced else answer)
            except (ValueError, RecursionError):
                return False
            return _has(document, item.value)


def _path(name: str) -> Path:
    known = BUNDLED / f"{name}{SUFFIX}"
    if name in (*GENERAL, *STARTER):
        return known
    path = at_home(name)
    if not path.suffix and not path.exists():
        known_names = ", ".join((*GENERAL, *STARTER))
        raise UserError(
            f"guard_suites: there is no suite {name!r}; name a file, or one of {known_names}"
        )
    return path


def _item(line: str) -> Item:
    """The item of a line.

    Raises:
        ValueError: it is none; says why.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(fields, Mapping):
        raise ValueError("it is no JSON object")
    if unknown := fields.keys() - set(_KEYS):
        raise ValueError(f"there is no key {sorted(unknown)[0]!r}; they are {', '.join(_KEYS)}")
    prompt, value = fields.get("prompt"), fields.get("value")
    check = next((each for each in get_args(Check) if each == fields.get("check")), None)
    by_function = "check" not in fields and "value" not in fields
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("prompt has to be a text")
    if prompt != prompt.encode(errors="ignore").decode():  # which no tokenizer takes
        raise ValueError("prompt has half of a character, a lone surrogate")
    if check is None and not by_function:
        raise ValueError(f"check has to be one of {', '.join(get_args(Check))}")
    if check == "equals" and not _is_text(value):
        raise ValueError("equals needs a text as value")
    if check == "contains":
        values = value if isinstance(value, list) else [value]
        if not values or not all(map(_is_text, values)):
            raise ValueError("contains needs a text as value, or a list of texts")
    if check == "matches":
        if not isinstance(value, str):
            raise ValueError("matches needs a regular expression as value")
        try:
            _pattern(value)
        except (regex.error, RecursionError, OverflowError) as error:
            raise ValueError(f"value is no regular expression: {error}") from None
    tokens = fields.get("tokens", TOKENS)
    if not 1 <= whole(tokens) <= MOST_TOKENS:
        raise ValueError(f"tokens has to be a number from 1 to {MOST_TOKENS:,}")
    return Item(prompt, check, value, whole(tokens))


def _is_text(value: Any) -> bool:
    """Whether a value of JSON is a text, or a number, which an answer writes alike. No answer is
    told by true: Python writes it with a capital letter."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


@cache
def _pattern(text: str) -> "regex.Pattern[str]":
    return regex.compile(text)


def _has(document: Any, wanted: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(document, Mapping) and all(
            key in document and (value is None or _same(document[key], value))
            for key, value in wanted.items()
        )
    return _same(document, wanted)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON, where true is no 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
