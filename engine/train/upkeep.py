"""What a run does between the steps of its algorithm: it reports, evaluates and saves when due,
serves requests, pauses, and minds its memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.data.pairs import JudgedPair
from engine.events import Paused, Split
from engine.judges import Judge, JudgeAway
from engine.model.language_model import LanguageModel
from engine.runs.checkpoints import in_words
from engine.runs.folder import SAMPLED
from engine.settings.schema import Settings
from engine.suites.changes import changes
from engine.train import state as checkpoints
from engine.train.evaluation import Evaluation, WinRate
from engine.train.journal import Journal
from engine.train.pausing import POLL_SECONDS, StepClock
from engine.train.reporting import Measures, Reporter, StepMeasures
from engine.train.state import TrainingState
from engine.train.update import StepResult, Update
from engine.train.watch import collapse_watch
from engine.train.watch.guard import Guard, loss_in_words, start_in_words
from engine.train.watch.memory_guard import MemoryGuard


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
        measures: Measures | None = None,
        step_measures: StepMeasures | None = None,
    ) -> None:
        """`measures` are what the judge tells of itself, up to a step, by metric; `step_measures`
        are added to those of each step."""
        self.halted: str | None = None  # why the run stopped, where nobody asked it to
        self.waited = 0.0  # seconds that were waited for a model's verdicts on the next batch
        self.reporter = Reporter(state, total_steps, journal, settings, measures, step_measures)
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
        self._unsaved_best = False  # the best step is this one, and has no checkpoint yet
        self._watches_judge = settings.judge_watch != "off" and not settings.human_judge
        self._watches_text = settings.collapse_watch != "off"
        self.must_stop = self._clock.must_stop

    @property
    def evaluates_first(self) -> bool:
        """Whether the step that is reached has yet to be evaluated."""
        not_made = self._state.evaluated < self._state.step and "valid" in self._evaluations
        return not_made and self._evaluation_due()

    def before_training(self) -> None:
        """Make the evaluation of the step that is reached, unless it was made already."""
        # Of a step whose checkpoint does not know of it.
        late = self.evaluates_first and self._state.step > 0
        if self.evaluates_first:
            self.evaluate("valid")
        if self._start_needs_guard():
            self._remember_start(self._update.policy)
        not_looked_at = self._state.guarded < self._state.step
        loss = self.guard() if not_looked_at and self._guard_due() else None
        sound = self._sound_checkpoint_due()
        if sound or late:
            self.save(sound=sound, extra=not late)
        self._mind_loss(loss)
        self._begin_step()

    def after_step(
        self, judged: Sequence[JudgedPair], result: StepResult, update_seconds: float
    ) -> None:
        """Measure and tell of a step, and do what is due after it."""
        state, settings, journal = self._state, self._settings, self._journal
        self._count_time()
        self.reporter.add_step(
            judged,
            result,
            learning_rate=self._update.learning_rate,
            update_seconds=update_seconds,
            step_seconds=self._clock.seconds(),
        )
        journal.record_verdicts(judged, self._judge.name)
        journal.advance(state.step, state.elapsed)
        if self._watches_judge:
            state.judge_watch.add(judged)
        if self._watches_text:
            state.collapse_watch.add(judged, result)
        self.reporter.report_health()
        if self._due(settings.steps_per_report):
            self._mind_drift(self.reporter.report())
        if self._evaluation_due():
            self.evaluate("valid")
        loss = self.guard() if self._guard_due() else None
        sound = self._sound_checkpoint_due() and state.collapse_watch.fault() is None
        due = self._due(settings.save_every) or state.ended is not None
        if due or self._unsaved_best or sound:
            self.save(sound=sound, extra=not due)
        if state.ended:
            return
        self._mind_text()
        self._mind_judge()
        self._mind_loss(loss)
        if state.step < self._total_steps:
            self._mind_memory()
        self._begin_step()

    def serve_requests(self) -> None:
        """Evaluate or save, where that was requested."""
        if self._control.take("evaluate"):
            if "valid" in self._evaluations:
                self.evaluate("valid")
            else:
                self.reporter.report_no_prompts()
        if self._control.take("save") or self._unsaved_best or self._state.ended:
            self.save()

    def wait_for_judge(self) -> None:
        """Sleep until a batch may be collected, or a while."""
        start = monotonic()
        if self._judge.stores_labels:
            self._journal.progress("waiting")
        self._control.wait(min(POLL_SECONDS, self._judge.settles_in()))
        if not self._judge.stores_labels:
            self.waited += monotonic() - start

    def judge_is_away(self, reason: str, *, saves: bool = True) -> None:
        """Pause with a checkpoint, since the judge is not there and was waited for; not `saves`:
        there is one."""
        self._pause(f"{reason}; the run goes on from here once the judge is back", saves=saves)

    def evaluate(self, split: Split, *, step: int | None = None) -> None:
        """Measure the win rate on a split, if it has prompts and there is a judge to measure by.
        `step` is the one that the policy is of, where it is not the newest."""
        step = self._state.step if step is None else step
        evaluation = self._evaluations.get(split)
        if evaluation is None:
            return
        self._journal.progress("evaluating")
        while True:
            try:
                rates = evaluation.measure(self._update.policy)
                break
            except JudgeAway as away:
                # Of another step the policy is at the end alone, after the last checkpoint.
                self.judge_is_away(str(away), saves=step == self._state.step)
                if self.must_stop():
                    raise Interrupted from None
        if split == "valid":
            self._state.evaluated = self._state.step
        self._count_time()
        self.reporter.report_win_rates(split, rates, len(evaluation), step)
        # Who evaluates apart is the better measure of what is best.
        if split == "valid" and (rate := rates[-1]):
            self._mind_progress(rate)

    def guard(self, *, step: int | None = None) -> str | None:
        """Measure what the policy can do, against what the start can. `step` is the one that the
        policy is of, where it is not the newest. Returns what was lost beyond chance, in words.

        Raises:
            Interrupted: asked to stop.
        """
        state = self._state
        self._journal.progress("evaluating")
        if not state.could:
            # It is the start, and so nobody waits for this before the first pair.
            self._remember_start(self._update.reference)
        scores = self._guard.measure(self._update.policy)
        state.guarded = state.step
        for name, before in state.could.items():
            if len(scores.get(name, ())) != len(before):
                self._journal.log(
                    "warning",
                    f"guard: {name} has not the items that it had when the run began, so that "
                    "nothing is said of it",
                )
        compared = changes(state.could, scores)
        if not compared:
            return None
        self.reporter.report_guard(compared, state.step if step is None else step)
        return loss_in_words(compared)

    def guard_at_end(self, step: int) -> None:
        """Measure what the policy that the run keeps can do, which is that of a step."""
        state = self._state
        if self._knows_start() and (step != state.step or state.guarded < step):
            self.guard(step=step)

    def save(self, *, sound: bool = False, extra: bool = False) -> None:
        """Write a checkpoint of this step; `sound`: one to go back to where the text breaks;
        `extra`: beside those of `save_every`."""
        watch = self._state.collapse_watch
        if sound:
            watch.add_checkpoint(self._state.step)
        self._count_time()
        state = self._state.to_json(self._judge.pending())
        self._journal.checkpoint(
            lambda folder: checkpoints.save(folder, self._update, state),
            self._state.best.best,
            watch.checkpoints,
            extra=extra,
        )
        self._unsaved_best = False
        self._journal.update()  # with how far the run is

    def restore(self, folder: Path | None, *, went_back: bool = False) -> None:
        """Go on from a checkpoint, or from the start without one; judge anew what waited.
        `went_back`: it is one that was chosen, so that what the run ended for counts no more."""
        state, journal = self._state, self._journal
        pending = state.restore(checkpoints.restore(folder, self._update)) if folder else []
        ended = state.ended is not None
        if went_back:
            state.go_on()
        journal.step = state.step
        pending = state.add_samples(
            pending, journal.run.read(SAMPLED), lambda text: journal.log("warning", text)
        )
        journal.advance(state.step, state.elapsed)
        self._clock.lap()  # what loading took is no part of the run
        for batch in pending:
            self._judge.submit(batch)
        if went_back and ended:
            self.save()  # so that a resume from here does not end at once

    def at_end(self) -> None:
        """Let the run's folder tell what the run took, now that nothing more is to come."""
        self._count_time()
        self._journal.advance(self._state.step, self._state.elapsed)

    def _count_time(self) -> None:
        self._state.elapsed += self._clock.lap()

    def _begin_step(self) -> None:
        self._clock.restart()
        self.reporter.begin_step()

    def _due(self, every: int) -> bool:
        return self._state.step % every == 0 or self._state.step == self._total_steps

    def _evaluation_due(self) -> bool:
        every = self._settings.steps_per_eval
        return every > 0 and (self._due(every) or self._state.ended is not None)

    def _mind_progress(self, result: WinRate) -> None:
        """Keep the best step, and end the run where no better one came for long enough."""
        state, patience = self._state, self._settings.stop_after
        self._unsaved_best = state.best.add(state.step, result, state.health.latest("kl") or 0.0)
        best = state.best.best
        state.health.best_step = best.step if best else None
        if patience and best and state.best.in_vain >= patience and not state.ended:
            times = "1 evaluation was" if patience == 1 else f"{patience} evaluations were"
            self._end(f"{times} no better than {in_words(best)} (stop_after)")

    def _mind_drift(self, metrics: Mapping[str, float]) -> None:
        """End the run where the policy has gone too far from its reference, or its answers grow
        without end."""
        kl, limit = metrics.get("kl"), self._settings.max_kl
        if limit and kl is not None and kl > limit:
            self._end(f"kl was {kl:.1f} nats, above max_kl {limit:g}")
        growth, limit = self._state.health.growth(), self._settings.max_growth
        if limit and growth and growth > limit and not self._state.ended:
            self._end(
                f"answers are {growth:.1f} times as long as they were, above max_growth {limit:g}"
            )

    def _end(self, reason: str) -> None:
        """Let this step be the last, unless it is anyhow."""
        if self._state.step < self._total_steps:
            self._state.ended = f"ended at step {self._state.step:,}: {reason}"
            self._journal.log("warning", self._state.ended)

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
        """Every `steps_per_guard`; the end comes after the last checkpoint."""
        step, every = self._state.step, self._settings.steps_per_guard
        due = 0 < step < self._total_steps and every > 0 and step % every == 0
        return due and self._knows_start()

    def _knows_start(self) -> bool:
        """Whether the guard has, or can still get, what the model could do at the start: that is
        the reference, unless the settings name another one."""
        other = self._settings.reference_model_path
        return bool(self._guard) and (bool(self._state.could) or not other)

    def _start_needs_guard(self) -> bool:
        """Whether what the model can do at the start has to be measured now or never."""
        return bool(self._guard and self._settings.reference_model_path) and not (
            self._state.step or self._state.could
        )

    def _remember_start(self, lm: LanguageModel) -> None:
        self._journal.progress("evaluating")
        self._state.could = self._guard.measure(lm)
        self._journal.log("info", start_in_words(self._state.could))

    def _mind_text(self) -> None:
        """Save and pause, or warn, where the text that the policy samples has broken."""
        watch, step = self._state.collapse_watch, self._state.step
        fault = watch.fault() if self._watches_text else None
        if fault is None:
            return
        watch.over = True
        sound = watch.sound_step()
        fallback = (
            "" if sound is None else f"; the checkpoint of step {sound:,}, from before, is kept"
        )
        advice = collapse_watch.advice(self._settings)
        reason = f"step {step:,}: the text has broken: {fault}{fallback}; {advice}"
        if self._settings.collapse_watch == "pause" and step < self._total_steps:
            self._pause(reason)
        else:
            self._journal.log("warning", reason)

    def _mind_loss(self, loss: str | None) -> None:
        """Stop where the guard has found a loss, if it is to."""
        if loss and self._settings.guard == "stop" and self._state.step < self._total_steps:
            self._halt(f"the guard: it {loss} that were right at the start; guard: warn goes on")

    def _mind_judge(self) -> None:
        """Save and pause, or warn, where the judge's first pairs show that it is not worth it."""
        watch = self._state.judge_watch
        by_model = not self._settings.judge_kinds.isdisjoint(("model", "server"))
        fault = watch.fault(by_model=by_model) if self._watches_judge else None
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

    def _pause(self, reason: str, *, saves: bool = True) -> None:
        """Save and pause; a pause that nobody can end is a stop."""
        if not self._control.attended:
            self._halt(reason)
            return
        self._journal.log("error", f"paused with a checkpoint: {reason}")
        if saves:
            self.save()
        self._control.pause()
        self._journal.emit(Paused(step=self._state.step, reason=reason))

    def _halt(self, reason: str) -> None:
        """Stop with a checkpoint, and say why."""
        self.halted = f"stopped with a checkpoint: {reason}"
        self._control.stop()
