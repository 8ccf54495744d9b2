"""What a model kept, gained and lost, in words: the guard's suites."""

from engine.events import SuiteChange
from tui.text.safe_text import safe_line


def change_in_words(change: SuiteChange) -> str:
    """One suite, without its name."""
    counts = f"{change.kept} kept, {change.gained} gained, {change.lost} lost of {change.items}"
    return f"{counts} · {_sure(change)}"


def kept(change: SuiteChange) -> str:
    """`39 of 40 +2`: how much is left of what was right before, and how much came to it."""
    gained = f" +{change.gained}" if change.gained else ""
    return f"{change.kept} of {change.before}{gained}"


def table(changes: tuple[SuiteChange, ...]) -> list[str]:
    """A line a suite."""
    names = [safe_line(each.suite, 24) for each in changes]
    width = max(map(len, names), default=0)
    return [
        f"{name:<{width}}  {change_in_words(each)}"
        for name, each in zip(names, changes, strict=True)
    ]


def _sure(change: SuiteChange) -> str:
    if change.p is None:
        return f"only {change.before} right before, too few to lose"
    return f"p {change.p:.2g}" if change.p < 0.995 else "p 1"
