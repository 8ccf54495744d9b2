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
from engine.suites.changes import changes
from engine.train import state as checkpoints
from engine.train.collapse_watch import ADVICE as COLLAPSE_ADVICE
from engine.train.evaluation import Evaluation
from engine.train.guard import Guard, loss_in_words, start_in_words
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
        guard: Guard,
        journal: Journal,
        control: Control,
    ) -> None:
        self.halted: str | None = None  # why the run stopped, where nobody asked it to
        self.waited = 0.0  # seconds that were waited for a model's verdicts on the next batch
        self.reporter = Reporter(state, total_steps, journal)
        self._settings = settings
        self._state = state
        self._total_steps = total_steps
        self._update = update
        self._judge = judge
        self._evaluations = evaluations
        self._journal = journal
        self._control = control
        self._clock = StepClock(control, journal)
        self._guard = guard
        self._memory = MemoryGuard(settings)
        self._watches_judge = settings.judge_watch != "off" and not judge.stores_labels
        self._watches_text = settings.collapse_watch != "off"
        self.must_stop = self._clock.must_stop

    def before_training(self) -> None:
        """Make the evaluation of the step that is reached, unless it was made already."""
        if self._state.evaluated < self._state.step and self._evaluation_due():
            self.evaluate("valid")
        if self._state.guarded < self._state.step and self._guard_due():
            self.guard()
        if self._sound_checkpoint_due():
            self.save(sound=True)
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
        if self._watches_text:
            state.collapse_watch.add(judged, result)
        self.reporter.report_health()
        if self._due(settings.steps_per_report):
            self.reporter.report()
        if self._evaluation_due():
            self.evaluate("valid")
        loss = self.guard() if self._guard_due() else None
        sound = self._sound_checkpoint_due() and state.collapse_watch.fault() is None
        if self._due(settings.save_every) or sound:
            self.save(sound=sound)
        self._mind_text()
        self._mind_judge()
        if loss and settings.guard == "stop" and state.step < self._total_steps:
            self._halt(f"the guard: it {loss} that were right at the start; guard: warn goes on")
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

    def guard(self) -> str | None:
        """Measure what the policy can do; at the start that is remembered, later compared with it.
        Returns what was lost beyond chance, in words.

        Raises:
            Interrupted: asked to stop.
        """
        state = self._state
        self._journal.progress("evaluating")
        scores = self._guard.measure(self._update.policy)
        state.guarded = state.step
        if state.step == 0:
            state.could = scores
            self._journal.log("info", start_in_words(scores))
            return None
        compared = changes(state.could, scores)
        self.reporter.report_guard(compared)
        return loss_in_words(compared)

    def guard_at_end(self) -> None:
        """Measure what the trained policy can do, if there is a start to compare it with."""
        if self._guard and self._state.could and self._state.guarded < self._state.step:
            self.guard()

    def save(self, *, sound: bool = False) -> None:
        """Write a checkpoint of this step; `sound`: one to go back to where the text breaks."""
        watch = self._state.collapse_watch
        if sound:
            watch.kept(self._state.step)
        state = self._state.to_json(self._judge.pending())
        self._journal.checkpoint(
            lambda folder: checkpoints.save(folder, self._update, state), sound=watch.checkpoints
        )
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

    def _sound_checkpoint_due(self) -> bool:
        """Whether the watch over the text wants a checkpoint of this step. Not of full training,
        whose checkpoints are as large as the model: it has those of `save_every`."""
        every = self._settings.gradient_accumulation_steps
        return (
            self._watches_text
            and self._settings.train_type != "full"
            and self._state.collapse_watch.checkpoint_due(self._state.step, every)
        )

    def _guard_due(self) -> bool:
        """At the start, and every `steps_per_guard`; the end comes after the last checkpoint."""
        step, every = self._state.step, self._settings.steps_per_guard
        if not self._guard or (step and not self._state.could):
            return False
        return step == 0 or (every > 0 and step % every == 0 and step < self._total_steps)

    def _mind_text(self) -> None:
        """Save and pause, or warn, where the text that the policy samples has broken."""
        watch, step = self._state.collapse_watch, self._state.step
        fault = watch.fault() if self._watches_text else None
        if fault is None:
            return
        watch.over = True
        sound = watch.sound_step()
        kept = "" if sound is None else f"; the checkpoint of step {sound:,}, from before, is kept"
        reason = f"step {step:,}: the text has broken: {fault}{kept}; {COLLAPSE_ADVICE}"
        if self._settings.collapse_watch == "pause" and step < self._total_steps:
            self._pause(reason)
        else:
            self._journal.log("warning", reason)

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
        excess = self._memory.excess()
        if excess is not None:
            self._pause(excess)

    def _pause(self, reason: str) -> None:
        """Save and pause; a pause that nobody can end is a stop."""
        if not self._control.attended:
            self._halt(reason)
            return
        self._journal.log("error", f"paused with a checkpoint: {reason}")
        self.save()
        self._control.pause()

    def _halt(self, reason: str) -> None:
        """Stop with a checkpoint, and say why."""
        self.halted = f"stopped with a checkpoint: {reason}"
        self._control.stop()
