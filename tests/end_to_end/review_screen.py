"""Reading a pair off the screen, as a person does."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """A pair as a person reads it off the screen."""

    of_run: int
    prompt: str
    left: str
    right: str


def read(lines: list[str]) -> Shown | None:
    """The pair on the screen, if there is one."""
    place = re.search(r" (\d+) of [\d,]+ [━╸─]", lines[0])
    titles = ((row, re.match(r" [─━] 1 .*(?=[─━] 2 )", line)) for row, line in enumerate(lines))
    title, middle = next(((row, found.end()) for row, found in titles if found), (0, 0))
    if place is None or not title:
        return None
    facts = next(row for row, line in enumerate(lines) if re.match(r"\s+\d+ tokens?\b", line))
    rows = lines[title + 1 : facts]
    return Shown(
        of_run=int(place[1]),
        prompt=joined(lines[1:title]).removeprefix("> "),
        left=joined([row[:middle] for row in rows]),
        right=joined([row[middle:] for row in rows]),
    )


def joined(rows: list[str]) -> str:
    text = " ".join(" ".join(rows).split())
    return text.removesuffix("the end").removesuffix("↓ more below").strip()
