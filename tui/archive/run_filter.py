"""The filter of the list of runs: words, and conditions such as `rank=8 win>0.6 tag:x`.

A word has to be in a run's name, model, judge, status or tags. A condition names what the columns
show, or a setting, whole or by the end of its name.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.runs.run_summary import RunSummary
from engine.settings.schema import fields
from tui.text.search import matcher

CONDITION = re.compile(r"([A-Za-z_.]+)(<=|>=|!=|[=:<>])(.+)")
EXACT = 17  # decimal places, beyond those of a number that is shown
KEYS = tuple(each.key for each in fields())
FACTS: Mapping[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.name,
    "status": lambda run: run.status,
    "model": lambda run: run.model,
    "judge": lambda run: run.judge,
    "type": lambda run: run.train_type,
    "tag": lambda run: run.tags,
    "tags": lambda run: run.tags,
    "note": lambda run: run.notes,
    "step": lambda run: run.step,
    "steps": lambda run: run.step,
    "pairs": lambda run: run.pairs,
    "loss": lambda run: run.loss,
    "win": lambda run: run.win_rate,
    "time": lambda run: run.seconds,
}
Values = Callable[[RunSummary], Mapping[str, Any]]  # the settings of a run, as far as they are read


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` of `FACTS`, or a setting; compared by `sign` with `text`."""

    key: str
    sign: str
    text: str

    def holds(self, run: RunSummary, values: Values) -> bool:
        """Whether it holds for a run; what is not known never does.

        A column equals a number that it rounds to, as it is shown; a setting is one exactly."""
        if self.key in FACTS:
            actual = FACTS[self.key](run)
            if isinstance(actual, float) and self.sign in ("=", ":", "!="):
                actual = round(actual, _places(self.text))
        else:
            actual = values(run).get(self.key)
        if isinstance(actual, tuple | list):
            return any(_compare(str(each), self.sign, self.text) for each in actual)
        return actual is not None and _compare(actual, self.sign, self.text)


def parse(text: str) -> tuple[list[Condition], str]:
    """The conditions in a filter, and the words beside them."""
    conditions, words = [], []
    for word in text.split():
        match = CONDITION.fullmatch(word)
        key = _key(match[1]) if match else None
        if match and key:
            conditions.append(Condition(key, match[2], match[3]))
        else:
            words.append(word)
    return conditions, " ".join(words)


def needs_settings(text: str) -> bool:
    """Whether a filter asks for what only the configs of the runs tell."""
    return any(each.key not in FACTS for each in parse(text)[0])


def mistaken(text: str) -> str:
    """Which condition of a filter no run can hold, and why; empty where there is none."""
    for match in filter(None, map(CONDITION.fullmatch, text.split())):
        name, sign, than = match.groups()
        if _key(name) is None and not than.startswith("//"):  # an address is a word
            names = (*FACTS, *KEYS, *(key.rpartition(".")[2] for key in KEYS))
            near = difflib.get_close_matches(name.lower(), names, 1, 0.5)
            hint = f", the nearest is {near[0]}" if near else ""
            return f"there is no column or setting {name}{hint}"
        if sign[0] in "<>" and _number(than) is None:
            return f"{than} is no number"
    return ""


def matching(runs: Sequence[RunSummary], text: str, values: Values) -> list[RunSummary]:
    """The runs that hold every word and every condition of a filter."""
    conditions, words = parse(text)
    matches = matcher(words)
    return [
        run
        for run in runs
        if matches(_searched(run)) and all(each.holds(run, values) for each in conditions)
    ]


def _key(name: str) -> str | None:
    lowered = name.lower()
    if lowered in FACTS:
        return lowered
    ends = (key for key in KEYS if key == lowered or key.rpartition(".")[2] == lowered)
    return next(ends, None)


def _compare(actual: object, sign: str, text: str) -> bool:
    if isinstance(actual, int | float) and not isinstance(actual, bool):
        number = _number(text)
        if number is None:
            return sign == "!="
        signs = {"<": actual < number, ">": actual > number, "<=": actual <= number}
        signs |= {">=": actual >= number, "!=": actual != number}
        return signs.get(sign, actual == number)
    shown = (
        {True: "on", False: "off"}.get(actual, str(actual))
        if isinstance(actual, bool)
        else str(actual)
    )
    same = shown.lower() == text.lower()
    return {":": text.lower() in shown.lower(), "=": same, "!=": not same}.get(sign, False)


def _number(text: str) -> float | None:
    try:
        number = float(text.rstrip("%"))
        return round(number / 100, 15) if text.endswith("%") else number
    except ValueError:
        return None


def _places(text: str) -> int:
    """How many decimal places of its number are typed: 2 for `59%` and for `0.59`."""
    if "e" in text.lower():
        return EXACT
    return len(text.rstrip("%").partition(".")[2]) + (2 if text.endswith("%") else 0)


def _searched(run: RunSummary) -> str:
    return " ".join((run.name, run.model, run.judge, run.status, run.train_type, *run.tags))
