"""What a run does between the steps of its algorithm: it reports, evaluates and saves when due,
serves requests, pauses, and minds its memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.data.pairs import JudgedPair
from engine.judges import Judge, JudgeAway
from engine.runs.folder import SAMPLED
from engine.settings.schema import Settings
from engine.train import state as checkpoints
from engine.train.evaluation import Evaluation
from engine.train.journal import Journal
from engine.train.memory_guard import MemoryGuard
from engine.train.pausing import POLL_SECONDS, StepClock
from engine.train.reporting import Reporter
from engine.train.state import TrainingState
from engine.train.update import StepResult, Update


class Upkeep:
    """One run's upkeep, on the engine's thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        state: TrainingState,
        total_steps: int,
        update: Update,
        judge: Judge,
        evaluations: Mapping[str, Evaluation],
        journal: Journal,
        control: Control,
    ) -> None:
        self.halted: str | None = None  # why the run stopped, where nobody asked it to
        self.waited = 0.0  # seconds that were waited for a model's verdicts on the next batch
        self.reporter = Reporter(state, total_steps, journal, settings)
        self._settings = settings
        self._state = state
        self._total_steps = total_steps
        self._update = update
        self._judge = judge
        self._evaluations = evaluations
        self._journal = journal
        self._control = control
        self._clock = StepClock(control, journal)
        self._guard = MemoryGuard(settings)
        self._watches_judge = settings.judge_watch != "off" and not judge.stores_labels
        self.must_stop = self._clock.must_stop

    def before_training(self) -> None:
        """Make the evaluation of the step that is reached, unless it was made already."""
        if self._state.evaluated < self._state.step and self._evaluation_due():
            self.evaluate("valid")
        self._clock.restart()

    def after_step(
        self, judged: Sequence[JudgedPair], result: StepResult, update_seconds: float
    ) -> None:
        """Measure and tell of a step, and do what is due after it."""
        state, settings, journal = self._state, self._settings, self._journal
        self.reporter.add_step(
            judged,
            result,
            learning_rate=self._update.learning_rate,
            update_seconds=update_seconds,
            step_seconds=self._clock.seconds(),
        )
        journal.record_verdicts(judged, self._judge.name, stored=self._judge.stores_labels)
        journal.advance(state.step, state.seconds)
        if self._watches_judge:
            state.judge_watch.add(judged)
        self.reporter.report_health()
        if self._due(settings.steps_per_report):
            self.reporter.report()
        if self._evaluation_due():
            self.evaluate("valid")
        if self._due(settings.save_every):
            self.save()
        self._mind_judge()
        if state.step < self._total_steps:
            self._mind_memory()
        self._clock.restart()

    def serve_requests(self) -> None:
        """Evaluate or save, where that was requested."""
        if self._control.take("evaluate"):
            if "valid" in self._evaluations:
                self.evaluate("valid")
            else:
                self.reporter.report_no_prompts()
        if self._control.take("save"):
            self.save()

    def wait_for_judge(self) -> None:
        """Sleep until a batch may be collected, or a while."""
        start = monotonic()
        if self._judge.stores_labels:
            self._journal.progress("waiting")
        self._control.wait(min(POLL_SECONDS, self._judge.settles_in()))
        if not self._judge.stores_labels:
            self.waited += monotonic() - start

    def judge_is_away(self, reason: str) -> None:
        """Pause with a checkpoint, since the judge is not there and was waited for."""
        self._pause(f"{reason}; the run goes on from here once the judge is back")

    def evaluate(self, split: str) -> None:
        """Measure the win rate on a split, if it has prompts and the judge is a model."""
        evaluation = self._evaluations.get(split)
        if evaluation is None:
            return
        self._journal.progress("evaluating")
        while True:
            try:
                result = evaluation.measure(self._update.policy)
                break
            except JudgeAway as away:
                self.judge_is_away(str(away))
                if self.must_stop():
                    raise Interrupted from None
        self._state.evaluated = self._state.step
        if result is None:
            self.reporter.report_no_verdict(split, len(evaluation))
        else:
            self.reporter.report_win_rate(split, result)

    def save(self) -> None:
        """Write a checkpoint of this step."""
        state = self._state.to_json(self._judge.pending())
        self._journal.checkpoint(lambda folder: checkpoints.save(folder, self._update, state))
        self._journal.update()  # with how far the run is

    def restore(self, folder: Path | None) -> None:
        """Go on from a checkpoint, or from the start without one; judge anew what waited."""
        state, journal = self._state, self._journal
        pending = state.restore(checkpoints.restore(folder, self._update)) if folder else []
        journal.step = state.step
        pending = state.add_samples(
            pending, journal.run.read(SAMPLED), lambda text: journal.log("warning", text)
        )
        journal.advance(state.step, state.seconds)
        for batch in pending:
            self._judge.submit(batch)

    def _due(self, every: int) -> bool:
        return self._state.step % every == 0 or self._state.step == self._total_steps

    def _evaluation_due(self) -> bool:
        return self._settings.steps_per_eval > 0 and self._due(self._settings.steps_per_eval)

    def _mind_judge(self) -> None:
        """Save and pause, or warn, where the judge's first pairs show that it is not worth it."""
        watch = self._state.judge_watch
        fault = watch.fault() if self._watches_judge else None
        if fault is None:
            return
        watch.over = True
        if self._settings.judge_watch == "pause" and self._state.step < self._total_steps:
            self._pause(fault)
        else:
            self._journal.log("warning", fault)

    def _mind_memory(self) -> None:
        """Save and pause above the limit of memory."""
        excess = self._guard.excess()
        if excess is not None:
            self._pause(excess)

    def _pause(self, reason: str) -> None:
        """Save and pause; a pause that nobody can end is a stop."""
        if not self._control.attended:
            self.halted = f"stopped with a checkpoint: {reason}"
            self._control.stop()
            return
        self._journal.log("error", f"paused with a checkpoint: {reason}")
        self.save()
        self._control.pause()
