"""Labels that a person took back: moved into a file that nothing which counts labels reads.

They are added there before they go where they counted, so that a kill between the two leaves a
label that still counts, and is taken for no retracted one.
"""

from collections.abc import Collection, Sequence

from engine.runs.folder import PAIRS, RETRACTED, UNDECIDED, Run
from engine.runs.storage import StorageError


def retract(run: Run, pair_ids: Collection[str], files: Sequence[str] = (PAIRS, UNDECIDED)) -> None:
    """Move the labels of some pairs out of `files`, in the process that may write these.

    Raises:
        StorageError: they count as before, or some of them do.
    """
    try:
        run.path.stat()  # whose files, while it is away, would be taken for empty ones
        judged = [line for file in files for line in run.read(file)]
        known = list(run.read(RETRACTED))
    except OSError as error:
        raise StorageError(run.path, error) from error
    lines = [line for line in judged if line.get("pair_id") in pair_ids]
    if not lines:
        return
    run.append(RETRACTED, [line for line in lines if line not in known], sync=True)
    for file in files:
        run.rewrite(file, lambda line: None if line.get("pair_id") in pair_ids else line)
