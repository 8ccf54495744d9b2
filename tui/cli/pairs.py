"""What `lora-studio pairs` does and prints: labels of runs written as a dataset, and pairs looked
over."""

from collections.abc import Sequence
from pathlib import Path

from engine.data.preference_check import PreferenceCheck, Share, Tally, check
from engine.data_folder import at_home
from engine.errors import UserError
from engine.runs.archive import open_run
from engine.runs.json_lines import to_json
from engine.runs.labels import select
from engine.runs.pair_files import (
    KINDS,
    TRAIN,
    kind_of,
    prepare_target,
    split_by_prompt,
    write_pairs,
)
from engine.runs.preference_sources import preferences_of
from tui.text.format import several
from tui.text.safe_text import safe_line

MESSAGES_IN_CSV = (
    "messages are JSON in the cells of a csv file, which trainers take for plain text: "
    "jsonl and parquet hold them as they are"
)


def write_lines(
    runs: Sequence[str],
    to: str,
    *,
    kind: str | None = None,
    valid: float | None = None,
    seed: int = 0,
    ties: bool = False,
    flagged: bool = False,
    retracted: bool = False,
    force: bool = False,
) -> list[str]:
    """Write the pairs of some runs; return what is said of it.

    Raises:
        UserError: a run is not there, the target may not be written, or there is no pair.
    """
    if kind is not None and kind not in KINDS:
        raise UserError(f"--format {kind}: choose one of {', '.join(KINDS)}")
    if valid is not None and not 0 < valid < 1:
        raise UserError(f"--valid {valid:g}: give a share of the prompts between 0 and 1, as 0.1")
    file_kind = kind_of(to)
    if file_kind and kind not in (None, file_kind):
        raise UserError(f"--to {to} ends in another format than {kind}: leave --format out")
    if file_kind and valid is not None:
        folder = Path(to).with_suffix("")
        raise UserError(f"--valid makes two files, which want a folder: --to {folder}/")
    target = at_home(to)
    folders = [open_run(run) for run in dict.fromkeys(runs)]
    prepare_target(target, force=force)
    selection = select(folders, ties=ties, flagged=flagged, retracted=retracted)
    left_out = ", ".join(f"{count} {why}" for why, count in selection.left_out.items())
    if not selection.labels:
        raise UserError(
            f"there is no pair to write in {', '.join(map(repr, runs))}"
            + (f"; left out: {left_out}" if left_out else ": no label has a winner")
        )
    splits = {TRAIN: selection.labels}
    if valid is not None:
        splits = split_by_prompt(selection.labels, valid, seed)
    prepare_target(target, force=force)  # it may have come meanwhile
    chosen_kind = file_kind or kind or KINDS[0]
    layout = write_pairs(target, splits, chosen_kind, folder=file_kind is None)
    total = f"written to {safe_line(to)}: {several(len(selection.labels), 'pair')}"
    if valid is not None:
        total += f" ({', '.join(f'{len(part)} {name}' for name, part in splits.items())})"
    lines = [total, *([f"left out: {left_out}"] if left_out else [])]
    return [*lines, *([MESSAGES_IN_CSV] if chosen_kind == "csv" and layout != "text" else [])]


def check_lines(source: str, *, json: bool) -> list[str]:
    """Look over the pairs of a file, a folder of them, or a run; return what is said of them.

    Raises:
        UserError: it is not there, or holds no pairs.
    """
    result = check(preferences_of(source))
    if not (result.pairs or result.ties):
        reason = f": {result.unreadable.first} {result.unreadable_reason}"
        why = reason if result.unreadable.count else ""
        raise UserError(f"{source} holds no preference pair{why}")
    if json:
        return [to_json(result.to_json())]
    rows = _rows(result)
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {safe_line(value)}" for name, value in rows]


def _rows(result: PreferenceCheck) -> list[tuple[str, str]]:
    unreadable = _tally(result.unreadable)
    if result.unreadable_reason:
        unreadable += f" {result.unreadable_reason}"
    conflicts = _tally(result.conflicts)
    if result.conflicts.count:
        conflicts = f"{conflicts}; in {several(result.conflicting, 'pair')}"
    return [
        ("pairs", f"{result.pairs:,}"),
        ("ties", f"{result.ties:,}"),
        ("unreadable", unreadable),
        ("duplicates", _tally(result.duplicates)),
        ("chosen is rejected", _tally(result.identical)),
        ("chosen is empty", _tally(result.empty_chosen)),
        ("rejected is empty", _tally(result.empty_rejected)),
        ("in conflict", conflicts),
        ("longer wins", _share(result.longer_wins, "pairs of different length")),
        ("first shown wins", _share(result.first_shown_wins, "readings")),
    ]


def _tally(tally: Tally) -> str:
    return f"{tally.count:,}" + (f"  first: {tally.first}" if tally.count else "")


def _share(share: Share, of: str) -> str:
    if share.share is None:
        return f"unknown  there are no {of}"
    return f"{share.share:.0%}  {share.count:,} of {share.of:,} {of}"
