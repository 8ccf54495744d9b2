"""The pairs of a run's chats: two answers to one conversation, of which a person picked one.

They are labels of the run beside those that it learned from, in a file of their own that no
training reads or writes: a run that is resumed goes on as if nobody had talked with it, and one
may pick while it trains.
"""

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.events import Choice
from engine.runs.folder import CHAT_PAIRS, Run
from engine.runs.labels import PERSON
from engine.runs.relabel import CHAT_ID
from engine.runs.retracted import retract


def pair_id(chat: str, turn: int) -> str:
    """The id of the pair of answers to one turn of a chat."""
    return f"{CHAT_ID}{chat}-{turn:03d}"


def label(run: Run, pair: Pair, choice: Choice, authors: tuple[str, str]) -> None:
    """Keep a person's pick, in place of an earlier one of the same pair; it is on the disk when
    this returns. `authors` say which policy wrote the first answer and the second.

    Raises:
        StorageError: it is as it was.
    """
    record = JudgedPair(pair, Verdict(choice)).to_record(PERSON, "messages")
    line = record | {"first_by": authors[0], "second_by": authors[1]}
    if any(each.get("pair_id") == pair.pair_id for each in run.read(CHAT_PAIRS)):
        run.rewrite(CHAT_PAIRS, lambda each: line if each.get("pair_id") == pair.pair_id else each)
    else:
        run.append(CHAT_PAIRS, [line], sync=True)


def take_back(run: Run, pair_id: str) -> None:
    """Take a pick out of the file again.

    Raises:
        StorageError: it is still there.
    """
    retract(run, [pair_id], [CHAT_PAIRS])
