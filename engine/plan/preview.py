"""What the data of a run holds, told before a run: its first prompts, how many, how long, and of
which columns.

It is read a part at a time, and each part is told, so that a screen has the first rows at once.
Nothing is fetched: of a dataset of the hub there is what its cache holds.
"""

import heapq
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from engine.data.mixture import sources_of
from engine.data.prompts import Prompt, PromptReader
from engine.data.sources import SplitName, read_splits
from engine.errors import UserError
from engine.plan.prompt_tokens import longest_of
from engine.settings.schema import Settings

ROWS = 50  # prompts that are shown
ROW_LENGTH = 600  # characters of each
LONG = 16  # the longest prompts, whose tokens are counted
BETWEEN = 0.4  # seconds between two parts that are told
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPreview:
    """What is known of the data so far. All texts are untrusted.

    `count` are its distinct prompts by split; the lengths are characters of a prompt, and
    `longest_tokens` is about what the longest one takes with its chat template. `whole`: all of it
    was read. `absent`: it is a dataset of the hub that nothing was fetched of yet.
    """

    error: str = ""
    absent: bool = False
    rows: tuple[str, ...] = ()
    count: dict[str, int] = field(default_factory=dict)
    shortest: int = 0
    median: int = 0
    longest: int = 0
    longest_tokens: int | None = None
    columns: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    whole: bool = False

    @property
    def unused(self) -> tuple[str, ...]:
        """The columns that no prompt is made of."""
        return tuple(name for name in self.columns if name not in self.used)


def read_preview(settings: Settings, between: float = BETWEEN) -> Iterator[DataPreview]:
    """What the data holds, first of a part of it, in the end of all.

    The last one has an `error` where the data cannot be read. Never raises for what it reads.
    """
    reader, sample = PromptReader(settings), _Sample()
    names: tuple[str, ...] = ()
    shown_at = time.monotonic()
    try:
        sources = sources_of(settings)
        # What is streamed is here, or is not read at all.
        splits = [read_splits(s.data, replace(s.reading, streaming=False)) for s in sources]
        names = tuple(dict.fromkeys(name for each in splits for name in each["train"].columns))
        # As a run reads them, so that what is in two splits counts where the run has it.
        for name, (source, split) in product(
            reversed(SPLITS), list(zip(sources, splits, strict=True))
        ):
            for prompt in reader.prompts(split[name], source) if name in split else ():
                sample.add(name, prompt)
                now = time.monotonic()
                if now - shown_at > between:
                    yield sample.preview(reader)
                    shown_at = time.monotonic()
        if not sample.count.get("train"):
            raise UserError(f"data: {settings.data} holds no prompts to train on: {reader.why()}")
        yield sample.preview(reader, longest_of(sample.longest_texts(), settings.model))
    except UserError as error:
        yield DataPreview(error=str(error), columns=names)


def longest_prompt(settings: Settings) -> int | None:
    """About the tokens of the longest prompt of the data; None where it cannot be read."""
    *_, last = read_preview(settings, between=float("inf"))
    return last.longest_tokens


class _Sample:
    """What is remembered of the prompts that were read."""

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self._rows: list[str] = []
        self._lengths = array("L")
        self._long: list[tuple[int, int, str]] = []  # a heap: length, number, text

    def add(self, split: str, prompt: Prompt) -> None:
        self.count[split] = self.count.get(split, 0) + 1
        if split == "train" and len(self._rows) < ROWS:
            self._rows.append(prompt.text[:ROW_LENGTH])
        self._lengths.append(len(prompt.text))
        length = sum(len(each.content) for each in prompt.messages)
        if len(self._long) < LONG or length > self._long[0][0]:
            text = "\n".join(each.content for each in prompt.messages)
            place = (length, len(self._lengths), text)
            (heapq.heappush if len(self._long) < LONG else heapq.heappushpop)(self._long, place)

    def longest_texts(self) -> list[str]:
        return [text for *_, text in self._long]

    def preview(self, reader: PromptReader, longest_tokens: int | None = None) -> DataPreview:
        columns = reader.columns
        lengths = sorted(self._lengths)
        return DataPreview(
            rows=tuple(self._rows),
            count=dict(self.count),
            shortest=lengths[0],
            median=lengths[len(lengths) // 2],
            longest=lengths[-1],
            longest_tokens=longest_tokens,
            columns=_distinct(each.names for each in columns),
            used=_distinct(each.used() for each in columns),
            dropped={reason: count for reason, count in reader.dropped.items() if count},
            notes=tuple(reader.notes()),
            whole=longest_tokens is not None,
        )


def _distinct(lists: Iterable[list[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))
