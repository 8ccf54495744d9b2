"""The judged pairs of a run, read from its files: in order, filtered, each as one line."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from engine.data.recorded_pairs import messages_of, text_of
from engine.errors import RunError, UserError
from engine.events import Choice
from engine.json_number import real
from engine.runs.folder import CARD_PAIRS, CHAT_PAIRS, PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.runs.relabel import relabel, set_flag
from tui.text.choice import label_log, outcome, words
from tui.text.prompt_text import prompt_line
from tui.text.safe_text import LIMIT, safe_line
from tui.text.search import matcher

FILES = (PAIRS, UNDECIDED, CHAT_PAIRS, CARD_PAIRS)
LINE = 300  # characters of a prompt that a row may show


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pairs to show."""

    name: str
    holds: Callable[[Record], bool]


def disagrees(line: Record) -> bool:
    """Whether the judge's two orders, or a person and the judge, say different things."""
    orders, q, choice = line.get("q_orders"), real(line.get("q")), line.get("choice")
    if isinstance(orders, list) and len(orders) == 2:
        first, second = map(real, orders)
        if first is not None and second is not None and (first - 0.5) * (second - 0.5) <= 0:
            return True
    if q is not None and line.get("judge") == "human":
        return choice in ("first", "second") and (choice == "first") != (q > 0.5)
    return False


def _overruled(line: Record) -> bool:
    """Whether a person has picked the other answer than the model."""
    model = line.get("model")
    choice = model.get("choice") if isinstance(model, dict) else None
    sides = ("first", "second")
    return choice in sides and line.get("choice") in sides and choice != line.get("choice")


FILTERS = (
    Filter("all", lambda line: True),
    Filter("first won", lambda line: line.get("choice") == "first"),
    Filter("second won", lambda line: line.get("choice") == "second"),
    Filter("ties", lambda line: line.get("choice") == "tie"),
    Filter("both bad", lambda line: line.get("choice") == "both_bad"),
    Filter("skipped", lambda line: line.get("choice") == "skip"),
    Filter("not judged", lambda line: line.get("choice") in ("identical", "empty", "invalid")),
    Filter("not answered", lambda line: line.get("choice") == "unanswered"),
    Filter("model overruled", _overruled),
    Filter("disagreement", disagrees),
    Filter("flagged", lambda line: line.get("flagged") is True),
    Filter("with a note", lambda line: bool(line.get("note"))),
    Filter("label changed", lambda line: bool(line.get("was"))),
)


class PairTable:
    """All pairs of a run by id. `read` reads what was written since, on any thread; `take` adds it,
    on the thread that shows the pairs, while nothing is read."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.lines: dict[str, Record] = {}
        self._followers = {file: run.follow(file) for file in FILES}
        self._news: list[Record] = []  # what was read and is not in `lines` yet
        self._replaced = False  # whether it is in place of all that is there

    def read(self) -> bool:
        """Read what is new; whether there was anything."""
        read = [follower.read() for follower in self._followers.values()]
        if any(replaced for replaced, _ in read):
            self._news, self._replaced = [], True
            self._followers = {file: self.run.follow(file) for file in FILES}
            read = [follower.read() for follower in self._followers.values()]
        self._news += [_in_sight(line) for _, lines in read for line in lines]
        return self._replaced or bool(self._news)

    def take(self) -> None:
        """Add what was read."""
        if self._replaced:
            self.lines = {}
        for line in self._news:
            known = self.lines.get(pair_id(line))
            if known is None or line.get("was") or not known.get("was"):
                self.lines[pair_id(line)] = line
        self._news, self._replaced = [], False

    def relabel(self, line: Record, choice: Choice) -> None:
        """Give a pair another verdict, on the disk too.

        Raises:
            UserError: a process trains the run; its labels can be changed once it ends.
            StorageError: it cannot be written.
        """
        self._refuse_while_trained()
        self.put(relabel(self.run, pair_id(line), choice))
        with contextlib.suppress(RunError):  # the label is changed all the same
            self.run.log("info", label_log(pair_id(line)))

    def flag(self, line: Record, flagged: bool) -> None:
        """Flag a pair or take its flag away, on the disk too; raises as `relabel`."""
        self._refuse_while_trained()
        self.put(set_flag(self.run, pair_id(line), flagged))

    def put(self, line: Record) -> None:
        """Add a pair, or replace what is known of it."""
        self.lines[pair_id(line)] = _in_sight(line)

    def _refuse_while_trained(self) -> None:
        if holder := self.run.holder():  # asked first, since a change would wait for it a while
            raise UserError(
                f"process {holder.pid} trains this run: its labels can be changed once it ends"
            )

    def matching(self, pair_filter: Filter, text: str = "") -> list[Record]:
        """The pairs that a filter holds for, and that have every word of `text`, by step."""
        has_words = matcher(text)
        matches = [
            line
            for line in self.lines.values()
            if pair_filter.holds(line) and (not text or has_words(_text(line)))
        ]
        return sorted(matches, key=pair_id)

    def counts(self) -> list[tuple[Filter, int]]:
        """How many pairs each filter holds for; filters without any are left out, all stays."""
        counts = [(each, sum(map(each.holds, self.lines.values()))) for each in FILTERS]
        return [(each, count) for each, count in counts if count or each is FILTERS[0]]


def pair_line(line: Record, width: int) -> Content:
    """A row: step, verdict, how sure, marks, and the prompt."""
    q, second = real(line.get("q")), line.get("choice") == "second"
    sure = f"{1 - q if second else q:.2f}" if q is not None else ""
    marks = "".join(
        mark if there else " "
        for mark, there in (
            ("⚑", line.get("flagged") is True),
            ("✎", bool(line.get("note")) or bool(line.get("was"))),
            ("≠", disagrees(line)),
        )
    )
    choice = str(line.get("choice"))
    won = choice in ("first", "second")
    step = line.get("step")
    return Content.assemble(
        (f" {step if isinstance(step, int) else '–':>6} ", "$muted"),
        (f"{words(choice, str(line.get('judge'))).cells:<5}", "$foreground" if won else "$muted"),
        (f"{sure:>4} ", "$muted"),
        (f"{marks} ", "$warning"),
        (safe_line(_prompt(line), min(LINE, max(1, width - 22))), "$foreground"),
    )


def pair_facts(line: Record) -> list[str]:
    """What is said of a pair beside its texts: an earlier label, flag, note and lengths."""
    facts: list[str] = []
    was = line.get("was")
    if isinstance(was, dict):
        earlier = outcome(str(was.get("choice")))
        facts.append(f"label changed: {was.get('judge')} had said {earlier}")
    if isinstance(model := line.get("model"), dict):
        q, why = real(model.get("q")), "checked at random" if model.get("audit") else "not sure"
        at = "" if q is None else f" at {q:.2f}"
        facts.append(f"the model, {why}: {outcome(str(model.get('choice')))}{at}")
    if any(isinstance(each, dict) and each.get("rationale") for each in (line, line.get("model"))):
        facts.append("enter shows what the judge wrote")
    facts += ["flagged"] if line.get("flagged") is True else []
    facts += [f"note: {line['note']}"] if line.get("note") else []
    return [*facts, *filter(None, [_lengths(line)])]


def pair_id(line: Record) -> str:
    """The id of a pair."""
    return str(line.get("pair_id"))


def _lengths(line: Record) -> str:
    sides = ("chosen", "rejected") if "chosen" in line else ("first", "second")
    parts: list[str] = []
    for side in sides:
        if f"{side}_tokens" not in line:  # a pair of a file
            continue
        cut = ", cut" if line.get(f"{side}_finished") is False else ""
        parts.append(f"{side} {line[f'{side}_tokens']} tokens{cut}")
    return ", ".join(parts)


def _text(line: Record) -> str:
    keys = ("prompt", "chosen", "rejected", "first", "second", "note")
    return " ".join(text_of(line[key]) for key in keys if key in line)


def _in_sight(line: Record) -> Record:
    """A pair with what a screen shows of its texts."""
    return {key: _short(entry) for key, entry in line.items()}


def _short(value: Any) -> Any:
    """A value of a line without what is too long to be shown: a prompt may be a book."""
    if isinstance(value, str):
        return value[: LIMIT + 1]
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return value


def _prompt(line: Record) -> str:
    prompt = line.get("prompt")
    return prompt_line(text_of(prompt), messages_of(prompt))
