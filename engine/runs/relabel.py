"""Changing a label after the fact, in the files of a run: of one that nobody trains now, or by the
process that trains it, of a pair that was learned from already.

A decided pair is kept in pairs.jsonl, any other in undecided.jsonl. A change that moves a pair
between them writes both files; what it is to be is written down first, in relabel.json, so that
a kill between the two leaves something to finish from. A pair of a chat, or one on which the judge
was tried, stays in the file of those.
"""

import contextlib
from collections.abc import Callable

from engine.data.pairs import DECIDED, completion_fields
from engine.errors import RunError, UserError
from engine.events import Choice
from engine.runs import plan_file
from engine.runs.folder import CARD_PAIRS, CHAT_PAIRS, PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.runs.retracted import retract
from engine.runs.storage import StorageError

PLANNED = "relabel.json"
PLAN_LIMIT = 1 << 28  # bytes; it holds one pair
CHAT_ID = "chat-"  # begins the id of a pair of a chat
CARD_ID = "card-"  # and that of one on which the judge was tried


def relabel(run: Run, pair_id: str, choice: Choice) -> Record:
    """Give a pair another verdict, a person's; return its new line.

    Raises:
        UserError: the run has no such pair, or is being trained (RunBusy).
        StorageError: nothing was changed, or it is finished when the run is opened next.
    """
    return _change(run, pair_id, lambda line: relabelled(line, choice))


def relabel_own(run: Run, pair_id: str, choice: Choice | None) -> None:
    """Give a pair another verdict, or with None take its label out of the files, in the process
    that holds the run.

    Raises:
        UserError: the run has no such pair.
        StorageError: nothing was changed, or it is finished when the run is opened next.
    """
    if choice is not None:
        _change_locked(run, pair_id, lambda line: relabelled(line, choice))
        return
    settle(run)
    retract(run, [pair_id])


def find(run: Run, pair_id: str) -> tuple[str, Record] | None:
    """The file that a judged pair is in, and its line; None: it has no label."""
    for file in (PAIRS, UNDECIDED, CHAT_PAIRS, CARD_PAIRS):
        lines = [line for line in run.read(file) if line.get("pair_id") == pair_id]
        if lines:
            return file, lines[-1]
    return None


def set_flag(run: Run, pair_id: str, flagged: bool) -> Record:
    """Flag a pair, or take its flag away; return its new line. Raises as `relabel` does."""
    return _change(run, pair_id, lambda line: {**line, "flagged": flagged})


def relabelled(line: Record, choice: Choice) -> Record:
    """A pair's line with another verdict: `was` says who had said what. Like any label of a
    person it is kept when the run goes on from before its step."""
    old = line.get("choice")
    if old == choice:
        return line
    first, second = completion_fields(str(old))
    new_first, new_second = completion_fields(choice)
    names = {first: new_first, second: new_second}
    changed: Record = {}
    for key, entry in line.items():
        side, joint, fact = key.partition("_")
        renamed = side in names and fact in ("", "tokens", "finished")
        changed[f"{names[side]}{joint}{fact}" if renamed else key] = entry
    was = line.get("was") or {"choice": old, "judge": line.get("judge")}
    return {**changed, "choice": choice, "judge": "human", "was": was, "keep": True}


def settle(run: Run) -> str | None:
    """Finish a change that a kill cut in two, with the lock held; a sentence if there was one.

    Raises:
        StorageError: it is still to be finished.
    """
    if not (run.path / PLANNED).exists():
        return None
    line = planned(run)
    if line is None:
        plan_file.remove(run, PLANNED)
        return None
    _store(run, line)
    plan_file.remove(run, PLANNED)
    return f"the change of the label of pair {line['pair_id']} was finished"


def planned(run: Run) -> Record | None:
    """The line of a pair whose label is being changed, as it is to be; None: there is none.

    Raises:
        StorageError: it cannot be read.
    """
    line = plan_file.read(run, PLANNED, PLAN_LIMIT).get("line")
    return line if isinstance(line, dict) and "pair_id" in line else None


def settle_if_free(run: Run) -> None:
    """`settle`, unless the run is in use or cannot be written now."""
    if (run.path / PLANNED).exists():
        with contextlib.suppress(UserError, RunError), run.lock():
            settle(run)


def _change(run: Run, pair_id: str, change: Callable[[Record], Record]) -> Record:
    with run.lock():
        return _change_locked(run, pair_id, change)


def _change_locked(run: Run, pair_id: str, change: Callable[[Record], Record]) -> Record:
    settle(run)
    match = find(run, pair_id)
    if match is None:
        raise UserError(f"the run {run.name!r} has no pair {pair_id!r}.")
    file, line = match
    new = change(line)
    if _file_of(new) == file:
        _replace(run, file, pair_id, new)
        return new
    plan_file.write(run, PLANNED, {"line": new})
    try:
        run.append(_file_of(new), [new], sync=True)
    except StorageError:
        plan_file.remove(run, PLANNED)  # nothing was changed
        raise
    settle(run)
    return new


def _store(run: Run, line: Record) -> None:
    """Leave `line` as the only one of its pair; may be done again after it was cut short."""
    file, pair_id = _file_of(line), line["pair_id"]
    if all(each.get("pair_id") != pair_id for each in run.read(file)):
        run.append(file, [line], sync=True)
    else:
        _replace(run, file, pair_id, line)
    _replace(run, UNDECIDED if file == PAIRS else PAIRS, pair_id, None)


def _file_of(line: Record) -> str:
    for begins, file in ((CHAT_ID, CHAT_PAIRS), (CARD_ID, CARD_PAIRS)):
        if str(line.get("pair_id")).startswith(begins):
            return file
    return PAIRS if line.get("choice") in DECIDED else UNDECIDED


def _replace(run: Run, file: str, pair_id: str, new: Record | None) -> None:
    run.rewrite(file, lambda line: new if line.get("pair_id") == pair_id else line)
