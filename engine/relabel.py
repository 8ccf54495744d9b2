"""Changing a label after the fact, in the files of a run that nobody trains now."""

from typing import Any

from engine.durable import Record
from engine.errors import UserError
from engine.events import Choice
from engine.pairs import DECIDED
from engine.run_folder import PAIRS, UNDECIDED, Run


def relabel(run: Run, pair_id: str, choice: Choice) -> Record:
    """Give a pair another verdict, a person's; return its new line.

    A decided pair is kept in pairs.jsonl, any other in undecided.jsonl. A kill between the two
    writes leaves the pair in both files; the line with `was` is the newer one.

    Raises:
        UserError: the run has no such pair, or is being trained (RunBusy).
        StorageError: nothing was changed.
    """
    return _change(run, pair_id, lambda line: relabelled(line, choice))


def set_flag(run: Run, pair_id: str, flagged: bool) -> Record:
    """Flag a pair, or take its flag away; return its new line. Raises as `relabel` does."""
    return _change(run, pair_id, lambda line: {**line, "flagged": flagged})


def relabelled(line: Record, choice: Choice) -> Record:
    """A pair's line with another verdict: `was` says who had said what."""
    old = line.get("choice")
    if old == choice:
        return line
    first, second = _sides(str(old) in DECIDED, old == "second")
    new_first, new_second = _sides(choice in DECIDED, choice == "second")
    names = {first: new_first, second: new_second}
    changed: Record = {}
    for key, entry in line.items():
        side, joint, fact = key.partition("_")
        renamed = side in names and fact in ("", "tokens", "finished")
        changed[f"{names[side]}{joint}{fact}" if renamed else key] = entry
    was = line.get("was") or {"choice": old, "judge": line.get("judge")}
    return {**changed, "choice": choice, "judge": "human", "was": was}


def _sides(decided: bool, swapped: bool) -> tuple[str, str]:
    """What the fields of the first and the second completion are called."""
    names = ("chosen", "rejected") if decided else ("first", "second")
    return (names[1], names[0]) if swapped else names


def _change(run: Run, pair_id: str, change: Any) -> Record:
    with run.lock():
        for file in (PAIRS, UNDECIDED):
            lines = [line for line in run.read(file) if line.get("pair_id") == pair_id]
            if lines:
                break
        else:
            raise UserError(f"the run {run.name!r} has no pair {pair_id!r}.")
        new: Record = change(lines[-1])
        home = PAIRS if new.get("choice") in DECIDED else UNDECIDED
        if home != file:
            run.append(home, [new], sync=True)
            run.rewrite(file, lambda line: None if line.get("pair_id") == pair_id else line)
        else:
            run.rewrite(file, lambda line: new if line.get("pair_id") == pair_id else line)
        return new
