"""A verdict in words, as long as the place for them allows."""

from dataclasses import dataclass

from engine.events import Choice, Pick, Shown


@dataclass(frozen=True, slots=True)
class ChoiceWords:
    """A choice in four `cells` of a row, as a `label` by itself, and in a `phrase`."""

    cells: str
    label: str
    phrase: str


WORDS: dict[Choice, ChoiceWords] = {
    "first": ChoiceWords("1 ✓", "1", "the first"),
    "second": ChoiceWords("2 ✓", "2", "the second"),
    "tie": ChoiceWords("tie", "tie", "a tie"),
    "both_bad": ChoiceWords("bad", "both bad", "both bad"),
    "skip": ChoiceWords("skip", "skipped", "skipped"),
    "identical": ChoiceWords("same", "equal answers", "equal answers, not judged"),
    "empty": ChoiceWords("none", "empty answers", "empty answers, not judged"),
    "invalid": ChoiceWords("inv.", "invalid", "no valid verdict"),
    "unanswered": ChoiceWords("late", "not answered", "not answered in time"),
}
# What a person picked goes without a number: Review shows two answers in a hidden order, so that
# the one behind key 1 may be the second that was sampled.
PICKED = ChoiceWords("  ✓", "✓", "the one with ✓")
# What stands for a moment beside the two answers, left and right, after a person's verdict.
MARKS: dict[Shown, tuple[str, str]] = {
    "left": ("✓", ""),
    "right": ("", "✓"),
    "tie": ("=", "="),
    "both_bad": ("✗", "✗"),
    "skip": ("–", "–"),
}


def words(choice: str, judge: str = "") -> ChoiceWords:
    """The words for a choice as a file may hold it, and for who made it where that is known; one
    that is not known stands for itself."""
    if judge == "human" and choice in ("first", "second"):
        return PICKED
    return next(
        (each for name, each in WORDS.items() if name == choice), ChoiceWords("?", choice, choice)
    )


def verdict_words(shown: Shown) -> str:
    """What a person said of two answers, as a beginning: `the first won`."""
    return outcome(shown_choice(shown))


def pick_words(shown: Shown | Pick) -> str:
    """What a person said of two answers or more: `5 is the best, 2 the worst`."""
    if not isinstance(shown, Pick):
        return verdict_words(shown)
    worst = "" if shown.worst is None else f", {shown.worst + 1} the worst"
    return f"{shown.best + 1} is the best{worst}"


def marks(shown: Shown | Pick, count: int) -> list[str]:
    """What stands for a moment beside so many answers after a person's verdict."""
    if not isinstance(shown, Pick):
        left, right = MARKS[shown]
        same = left if left == right else ""
        return [left, right, *[same] * (count - 2)]
    each = ["" for _ in range(count)]
    each[shown.best] = "✓"
    if shown.worst is not None:
        each[shown.worst] = "✗"
    return each


def outcome(choice: str, judge: str = "") -> str:
    """What came of a pair: `the first won`, `a tie`."""
    phrase = words(choice, judge).phrase
    return f"{phrase} won" if choice in ("first", "second") else phrase


def shown_choice(shown: Shown) -> Choice:
    """A verdict on two answers side by side, where the left one is called the first."""
    match shown:
        case "left":
            return "first"
        case "right":
            return "second"
        case _:
            return shown


def label_kept(choice: str) -> str:
    """What is said where a pair is given the label that it has."""
    return f"its label is that already: {outcome(choice)}"


def label_log(pair_id: str, *, removed: bool = False) -> str:
    """The line of a run's log about a label that was changed; its files say from what to what."""
    return f"label of pair {pair_id} {'removed' if removed else 'changed'} by hand"


def label_changed(choice: str) -> str:
    """What is said where a pair was given another label."""
    return f"label changed: {outcome(choice)}"
