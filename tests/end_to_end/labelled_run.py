"""A small run that a script judges as a person would, in a process of its own, to be killed.

Says on its output what it is about to do and what was acknowledged, a JSON object a line.
"""

import json
import random
import sys
import time
import zlib

from engine.errors import UserError
from engine.events import PairSampled, Pick
from engine.runs import archive
from engine.session import Session, Shown
from engine.settings.files import from_mapping

PRESSES: tuple[Shown, ...] = ("left", "right", "left", "right", "tie", "both_bad", "skip")
UNDO = 0.15  # share of the answers that are taken back


def press(pair: PairSampled) -> Shown | Pick:
    """What the person thinks of a pair, or of more answers, whenever asked."""
    chance = zlib.crc32(pair.pair_id.encode())
    if pair.answers:
        at = chance % (len(pair.answers) + 1)
        return Pick(at) if at < len(pair.answers) else "both_bad"
    return PRESSES[chance % len(PRESSES)]


def meant_by(pair: PairSampled) -> str:
    """The text that wins, or the verdict where none does."""
    shown = press(pair)
    if isinstance(shown, Pick):
        return pair.answers[shown.best].text
    return {"left": pair.left, "right": pair.right}.get(shown, shown)


def main(values: str, seed: str) -> None:
    """Start the run that the settings name, or resume it, and answer until it ends."""
    chance = random.Random(seed)
    settings = from_mapping(json.loads(values), "the test")
    try:
        run = archive.open_run(settings.run_name or "")
    except UserError:
        run = None
    session = Session(settings, run)
    session.start()
    while session.alive:
        for pair in session.waiting()[:1]:
            labels = len(pair.answers) - 1 if isinstance(press(pair), Pick) else 1
            say(giving=pair.pair_id, meant=meant_by(pair), labels=labels)
            if session.answer(pair.pair_id, press(pair)):
                say(given=pair.pair_id)
            if chance.random() < UNDO:
                say(undoing=pair.pair_id)
                if session.undo(pair.pair_id) == "undone":
                    say(undone=pair.pair_id)
        time.sleep(0.003)
    session.join()
    say(ended=session.status, error=session.error)


def say(**facts: str | int | None) -> None:
    """Tell the test, at once."""
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
