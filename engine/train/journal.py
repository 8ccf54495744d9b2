"""What a loop has to say: to whoever listens, and to the run's folder, always.

A disk that is full or gone does not end a run: it waits, says so, and goes on when it can write.
"""

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.compute import headway
from engine.control import Control
from engine.data.pairs import CUT, JudgedPair, Layout, Pair, Verdict
from engine.events import Event, Level, Log, PairJudged, Paused, PhaseName, Progress, Saved
from engine.runs import durable
from engine.runs.checkpoints import Best
from engine.runs.durable import StorageError
from engine.runs.folder import LOG, METRICS, PAIRS, SAMPLED, UNDECIDED, Run, timestamp
from engine.runs.json_lines import Record
from engine.secrets import hide
from engine.train.earlier_labels import EarlierLabels

RETRY_SECONDS = 2.0
PERSON = "human"  # as a judge's name


class Journal:
    """Writes a run's files and emits its events, from the engine's thread."""

    def __init__(self, run: Run, emit: Callable[[Event], None], control: Control) -> None:
        self.run = run
        self.emit = emit
        self._control = control
        self.step = 0
        self.layout: Layout = "text"  # of the files of pairs
        self.labelled: Collection[str] = ()  # ids of pairs with a label from before a restart
        self.earlier: EarlierLabels | None = None  # of steps that the run went back from
        self.pairs = 0  # with a label in the run's files
        # What a checkpoint is written within.
        self.saving: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self._reached = {"step": 0, "seconds": 0.0}
        self._counting = threading.Lock()  # a person's labels come from another thread

    def progress(
        self,
        phase: PhaseName,
        done: int = 0,
        total: int = 0,
        unit: str = "",
        share: float | None = None,
    ) -> None:
        """Say how far the current phase is."""
        headway.sign()
        self.emit(
            Progress(phase=phase, step=self.step, done=done, total=total, unit=unit, share=share)
        )

    def log(self, level: Level, text: str) -> None:
        """A line for the log, without tokens that a library may have put into it."""
        text = hide(text)
        self.emit(Log(level=level, text=text))
        self.persist(lambda: self.run.append(LOG, [f"{timestamp()} {level:<7} {text}"]))

    def metrics(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl."""
        self.persist(lambda: self.run.append(METRICS, [line]))

    def update(self, **fields: Any) -> None:
        """Fields of run.json."""
        self.persist(lambda: self.run.update(**fields))

    def advance(self, step: int, seconds: float) -> None:
        """Let the run's folder tell that so many steps were taken, in so many seconds."""
        with self._counting:
            self._reached = {"step": step, "seconds": seconds}
            self._write_progress()

    def count_pairs(self, more: int | None = None) -> None:
        """Count labels that were stored; without a number, count all that the files have."""
        with self._counting:
            if more is None:
                self.pairs = sum(1 for file in (PAIRS, UNDECIDED) for _ in self.run.read(file))
            else:
                self.pairs += more
            self._write_progress()

    def _write_progress(self) -> None:
        with contextlib.suppress(StorageError):  # the next step says it again
            self.run.advance(pairs=self.pairs, **self._reached)

    def record_verdicts(self, judged: Sequence[JudgedPair], judge: str) -> None:
        """Emit the verdicts of the run's judge and store them, except for a person's, which were
        stored as they were given."""
        for each in judged:
            pair, verdict = each.pair, each.verdict
            self.emit(
                PairJudged(
                    pair_id=pair.pair_id,
                    step=pair.step,
                    prompt=pair.prompt,
                    messages=pair.messages,
                    first=pair.first,
                    second=pair.second,
                    choice=verdict.choice,
                    q=verdict.q,
                    judge=CUT if each.by_cut else verdict.judge or judge,
                    rationale=verdict.any_rationale,
                )
            )
        new = [
            each
            for each in judged
            if each.pair.pair_id not in self.labelled
            and ((each.verdict.judge or judge) != PERSON or each.pair.automatic_choice())
            and not self.claim(each.pair)
        ]
        for file, decided in ((PAIRS, True), (UNDECIDED, False)):
            lines = [_line(each, judge, self.layout) for each in new if each.decided == decided]
            if lines:
                self.persist(lambda file=file, lines=lines: self.run.append(file, lines))
        with self._counting:
            self.pairs += len(new)

    def claim(self, pair: Pair) -> Verdict | None:
        """The verdict that a person gave on the same texts in a step that the run went back from;
        its label is this pair's from now on."""
        verdicts: list[Verdict | None] = []
        if earlier := self.earlier:
            self.persist(lambda: verdicts.append(earlier.claim(pair)))
        return verdicts[-1] if verdicts else None

    def checkpoint(
        self,
        write: Callable[[Path], None],
        best: Best | None = None,
        sound: Sequence[int] = (),
        *,
        extra: bool = False,
    ) -> None:
        """A checkpoint of the current step; everything written before is on the disk with it.
        The arguments but for `write` are as of `engine.runs.checkpoints.write_manifest`."""
        self.progress("saving")

        def write_synced() -> None:
            for file in (METRICS, PAIRS, UNDECIDED, LOG):
                if (path := self.run.path / file).exists():
                    durable.sync_file(path)
            with self.run.checkpoint_folder(self.step, best, sound, extra=extra) as folder:
                write(folder)
            self.run.prune_checkpoints()
            self.run.rewrite(SAMPLED, lambda line: line if _step_of(line) > self.step else None)

        with self.saving():
            self.persist(write_synced)
        self.emit(Saved(step=self.step, folder=str(self.run.path)))

    def record_samples(self, step: int, pairs: Sequence[Pair], order: dict[str, int]) -> None:
        """Store a batch before a person is asked about it."""
        line = {"step": step, "order": order, "pairs": [pair.to_json() for pair in pairs]}
        self.persist(lambda: self.run.append(SAMPLED, [line], sync=True))

    def persist(self, write: Callable[[], object]) -> None:
        """Write, and while the storage refuses, wait and try again until asked to stop."""
        reported = False
        while True:
            try:
                self._write(write)
                break
            except StorageError as error:
                if self._control.stopping and reported:
                    raise
                if not reported:
                    self.emit(Log(level="error", text=f"paused: {error}"))
                    self.emit(Paused(step=self.step, reason=str(error)))
                    reported = True
                self.progress("paused")
                self._control.wait(RETRY_SECONDS)
        if reported:
            self.emit(Log(level="info", text="the run can write again and goes on"))

    def _write(self, write: Callable[[], object]) -> None:
        """Write; whatever the storage refuses with is a `StorageError`."""
        try:
            write()
        except OSError as error:
            raise StorageError(Path(error.filename or self.run.path), error) from error


def _line(judged: JudgedPair, judge: str, layout: Layout) -> Record:
    """The line of a pair. One that nobody answered in time is never asked again."""
    line = judged.to_record(judge, layout)
    return {**line, "keep": True} if judged.verdict.choice == "unanswered" else line


def _step_of(line: Mapping[str, Any]) -> int:
    """The step that a line names; 0 where it names none."""
    step = line.get("step")
    return step if isinstance(step, int) else 0
