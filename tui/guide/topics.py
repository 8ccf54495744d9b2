"""The guide as topics, read from `guide.md`: chapters under `#`, topics under `##`."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tui.text.search import matcher

FILE = Path(__file__).with_name("guide.md")
SETTINGS, METRICS = "Settings", "Metrics"
NAME = " · "  # between a metric's label and its name, where they differ


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the guide, or the heading of a chapter with what stands below it. `text` is
    Markdown without the title; `name` is a metric's in metrics.jsonl, else the title."""

    chapter: str
    title: str
    text: str
    name: str

    @property
    def heads_chapter(self) -> bool:
        """Whether it is the heading of its chapter."""
        return self.title == self.chapter

    @property
    def names(self) -> tuple[str, str]:
        """What it can be found under, in lower case."""
        return self.title.lower(), self.name.lower()

    def is_named(self, words: Iterable[str]) -> bool:
        """Whether one of some words stands in its title or name."""
        return any(word in name for word in words for name in self.names)


@cache
def topics() -> tuple[Topic, ...]:
    """All topics in the order of the guide, each chapter after its heading."""
    result: list[Topic] = []
    chapter, heading, lines = "", "", list[str]()
    for line in [*FILE.read_text(encoding="utf-8").splitlines(), "# "]:
        if not line.startswith(("# ", "## ")):
            lines.append(line)
            continue
        if heading:
            title, _, name = heading.partition(NAME)
            result.append(Topic(chapter, title, "\n".join(lines).strip(), name or title))
        heading, lines = line.lstrip("#").strip(), []
        if line.startswith("# "):
            chapter = heading
    return tuple(result)


def first() -> Topic:
    """Where the guide opens that was not asked for a topic."""
    return next(topic for topic in topics() if not topic.heads_chapter)


def find(name: str) -> Topic | None:
    """The topic of a setting, a metric by its label or its name, a screen or that title; a setting
    before a metric."""
    matches = [topic for topic in topics() if name.lower() in topic.names]
    matches.sort(key=lambda topic: topic.chapter != SETTINGS)
    return matches[0] if matches else None


def search(text: str) -> list[Topic]:
    """Topics that hold every word of `text`, those first that have all of it in their title, then
    those that have a word of it there."""
    matches, words = matcher(text), text.lower().split()
    result = [topic for topic in topics() if matches("\n".join((*topic.names, topic.text)))]
    whole = " ".join(words)
    return sorted(result, key=lambda each: (not each.is_named([whole]), not each.is_named(words)))


def advice(key: str) -> str:
    """What the guide says of a setting, in one paragraph; empty where it says nothing."""
    for topic in topics():
        if topic.chapter == SETTINGS and topic.title == key:
            return " ".join(topic.text.split())
    return ""
