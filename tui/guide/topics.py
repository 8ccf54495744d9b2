"""The guide as topics, read from `guide.md`: chapters under `#`, topics under `##`."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tui.text.search import matcher

FILE = Path(__file__).with_name("guide.md")
SETTINGS, METRICS = "Settings", "Metrics"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the guide. `text` is Markdown without the heading."""

    chapter: str
    title: str
    text: str


@cache
def topics() -> tuple[Topic, ...]:
    """All topics in the order of the guide."""
    result: list[Topic] = []
    chapter, title, lines = "", "", list[str]()
    for line in [*FILE.read_text(encoding="utf-8").splitlines(), "# "]:
        if line.startswith(("# ", "## ")):
            if title:
                result.append(Topic(chapter, title, "\n".join(lines).strip()))
            title, lines = "", []
            if line.startswith("# "):
                chapter = line[2:].strip()
            else:
                title = line[3:].strip()
        else:
            lines.append(line)
    return tuple(result)


def find(name: str | None) -> Topic | None:
    """The topic of a setting, a metric, a screen or that title; a setting before a metric."""
    lowered = (name or topics()[0].title).lower()
    matches = [topic for topic in topics() if topic.title.lower() == lowered]
    matches.sort(key=lambda topic: topic.chapter != SETTINGS)
    return matches[0] if matches else None


def search(text: str) -> list[Topic]:
    """Topics that hold every word of `text`, those that hold one in their title first."""
    matches, words = matcher(text), text.lower().split()
    result = [topic for topic in topics() if matches(f"{topic.title}\n{topic.text}")]
    return sorted(result, key=lambda topic: not any(word in topic.title.lower() for word in words))


def advice(key: str) -> str:
    """What the guide says of a setting, in one paragraph; empty where it says nothing."""
    for topic in topics():
        if topic.chapter == SETTINGS and topic.title == key:
            return " ".join(topic.text.split())
    return ""
