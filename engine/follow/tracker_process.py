"""Keeps a run in one program's library: what `engine.follow.trackers` starts.

Lines of JSON come from standard input: `start`, `metrics`, `pairs` and `end`, or the end of the
stream, where the run's process has gone. The one reply is an error; then this process ends.
"""

import json
import os
from collections.abc import Iterable
from typing import Any

NICENESS = 10  # the run goes first


def main(library: str) -> None:
    """Serve until the run has ended, or the library fails."""
    lines, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    # A library that asks gets no answer, and one that prints does not reply.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.nice(NICENESS)
    try:
        serve(library, lines)
    except BaseException as error:  # a library may raise anything, SystemExit too
        words = " ".join(str(error).split())[:300]
        text = f"{type(error).__name__}: {words}" if words else type(error).__name__
        os.write(replies, json.dumps({"error": text}).encode() + b"\n")
        os._exit(1)  # not by way of what a library does at the end


def serve(library: str, lines: Iterable[bytes]) -> None:
    """Pass lines on to a library."""
    from engine.follow.tracker_libraries import LIBRARIES, TrackerLibrary

    tracker: TrackerLibrary | None = None
    open_library = LIBRARIES[library]()  # imports it
    for line in lines:
        message: dict[str, Any] = json.loads(line)
        match message["kind"]:
            case "start":
                tracker = open_library(message)
            case "metrics" if tracker:
                values = {k: v for k, v in message["values"].items() if v is not None}
                tracker.metrics(message["step"], values)
            case "pairs" if tracker:
                tracker.pairs(message["step"], message["rows"])
            case "end" if tracker:
                tracker.close(failed=message["status"] == "failed")
                return
            case _:
                pass
    if tracker:
        tracker.close(failed=True)
