"""A judge tried on pairs in a process of its own, for a screen that shows how it goes: a run may be
training meanwhile, and what is loaded for a trial is gone with it. Importing this is light.
"""

import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import RunError, UserError
from engine.events import Event, Log, Progress, Writing
from engine.policy_process import PolicyProcess, serve

if TYPE_CHECKING:
    from engine.judge_card import TrialPair, TriedPair
    from engine.settings.schema import Settings

SECONDS = 0.05  # between two tellings of how far it is


@dataclass(frozen=True, slots=True)
class TrialPairs:
    """The pairs, of which none is judged yet."""

    pairs: "tuple[TrialPair, ...]"


@dataclass(frozen=True, slots=True)
class TrialJudged:
    """The next pair has its verdict."""

    pair: "TriedPair"


@dataclass(frozen=True, slots=True)
class TrialDone:
    """All pairs are judged, in so many seconds each; None where none was put before the judge."""

    seconds_per_pair: float | None


@dataclass(frozen=True, slots=True)
class TrialFailed:
    """It cannot go on; `error` is one sentence."""

    error: str


TrialEvent = Progress | Log | Writing | TrialPairs | TrialJudged | TrialDone | TrialFailed


class JudgeTrial(PolicyProcess[TrialEvent]):
    """Tries the judge of the settings, on the pairs of a file or on sampled ones, and ends. Closing
    it stops it at once. Belongs to one thread."""

    def __init__(self, settings: "Settings", file: Path | None = None) -> None:
        super().__init__("judge_trial", "", TrialFailed)
        # Its own, so that nothing stays of a process that is ended.
        self._folder = tempfile.TemporaryDirectory(
            prefix="lora-studio-", ignore_cleanup_errors=True
        )
        self._request = settings, file, self._folder.name

    def start(self) -> None:
        """Begin to load."""
        super().start()
        self.send(self._request)

    def close(self) -> None:
        """Stop at once."""
        super().close()
        threading.Thread(target=self._clean, daemon=True).start()

    def _clean(self) -> None:
        self.join()
        self._folder.cleanup()


# -- in the process ------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Try the judge that comes over a connection."""
    serve(descriptor, _try, TrialFailed)


def _try(connection: Connection) -> None:
    from engine.judge_card import read_pairs, try_judge
    from engine.judges import JudgeAway

    settings, file, tempfile.tempdir = connection.recv()
    sent_at = 0.0

    def tell(event: Event) -> None:
        nonlocal sent_at
        if isinstance(event, Log | Writing):
            connection.send(event)
        elif isinstance(event, Progress) and (
            not event.done or time.monotonic() - sent_at > SECONDS
        ):
            sent_at = time.monotonic()
            connection.send(event)

    def tell_pairs(pairs: "Sequence[TrialPair]") -> None:
        connection.send(TrialPairs(tuple(pairs)))

    def tell_pair(pair: "TriedPair") -> None:
        connection.send(TrialJudged(pair))

    try:
        pairs = read_pairs(file) if file else None
        trial = try_judge(settings, pairs, on_event=tell, on_pairs=tell_pairs, on_pair=tell_pair)
    except (JudgeAway, RunError) as error:
        raise UserError(str(error)) from error
    connection.send(TrialDone(trial.seconds_per_pair))
