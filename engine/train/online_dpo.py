"""Online DPO: the loop.

    prompts -> two completions each, from the policy as it is now
            -> a judge picks the better one
            -> the loss on that pair, against the frozen reference
            -> one optimizer step; again

One loop serves both judges: a model answers when its verdicts are collected, a person when a key
is pressed. Meanwhile up to `lookahead` further batches are sampled.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

from engine.compute.sampling import Interrupted, Sampler, sample, stream_seed
from engine.control import Control
from engine.data.columns import counted
from engine.data.pairs import Pair, Verdict, make_pair
from engine.data.prompts import Prompt, PromptOrder
from engine.data.rendering import render_prompt
from engine.events import Evaluated, Finding, HealthChanged, Report, StepDone
from engine.judges import Judge
from engine.machine.device import backend, memory, process_memory
from engine.model.language_model import LanguageModel
from engine.runs.folder import SAMPLED
from engine.settings.schema import Settings
from engine.train import state as checkpoints
from engine.train.evaluation import Evaluation
from engine.train.health import Health, sentence
from engine.train.metrics import Averages, add_judged
from engine.train.optimizers import build_optimizer
from engine.train.reporting import Journal
from engine.train.update import StepResult, Update

# How long a loop that waits for a person sleeps before it looks around again, in seconds.
POLL_SECONDS = 0.25
# What a line that something else has changed raises when it is read.
DAMAGE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Trainer:
    """One run's loop and its state. Everything here happens on the engine's thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        policy: LanguageModel,
        reference: LanguageModel,
        judge: Judge,
        prompts: list[Prompt],
        evaluations: Mapping[str, Evaluation],
        journal: Journal,
        control: Control,
    ) -> None:
        """`evaluations` by split: "valid" every now and then, "test" at the end."""
        self.settings = settings
        self.policy = policy
        self.judge = judge
        self.prompts = prompts
        self.evaluations = evaluations
        self.journal = journal
        self.control = control
        self.total_steps = total_steps(settings, len(prompts))
        self.sampler = Sampler.of(settings)
        updates = math.ceil(self.total_steps / settings.gradient_accumulation_steps)
        self.update = Update(
            policy,
            reference,
            settings,
            build_optimizer(settings, updates),
            lambda done, total: journal.progress("updating", done, total, "pairs"),
        )
        self.order = PromptOrder(len(prompts), settings.seed)
        self.step = 0  # batches learned from
        self.sampled = 0  # batches sampled
        self.evaluated = -1  # the last step that was evaluated
        self.halted: str | None = None  # why it stopped, where nobody asked it to
        self.seconds = 0.0
        self.means = Averages()
        self.health = Health()
        self._findings: tuple[Finding, ...] | None = None  # as last told
        self._mark = time.monotonic()
        self._memory = memory()[0]

    # -- the loop --------------------------------------------------------------------------------

    def train(self) -> bool:
        """Train until the last step, or until asked to stop; True for the last step.

        Either way the newest checkpoint is that of the step that was reached.
        """
        try:
            if self.evaluated < self.step and self._evaluation_due():
                self._evaluate("valid")
            self._start_clock()
            while self.step < self.total_steps and not self._held():
                self._serve_requests()
                if self._wants_pairs() and not self._update_waits():
                    self._sample()
                elif judged := self._collect():
                    self._learn(judged)
                else:
                    self._wait()
            finished = self.step == self.total_steps
        except Interrupted:
            finished = False
        if not finished:
            self.save()
        return finished

    def _wants_pairs(self) -> bool:
        """Whether the judge should get another batch now."""
        ahead = self.judge.open_batches() > self.settings.lookahead_batches
        return self.sampled < self.total_steps and not ahead

    def _update_waits(self) -> bool:
        """Whether a batch that a person judged is to be learned from before more is sampled: else
        one who answers faster than pairs are made would never see the policy change."""
        return self.judge.stores_labels and self.judge.settles_in() == 0

    def _sample(self) -> None:
        """Sample the next batch of pairs and hand it to the judge."""
        settings, step = self.settings, self.sampled + 1
        order = self.order.state()
        prompts = [self.prompts[index] for index in self.order.next(settings.batch_size)]
        budget = settings.max_seq_length - settings.max_completion_length
        ids = [render_prompt(self.policy.tokenizer, each, settings, budget) for each in prompts]
        most = 2 * len(prompts) * settings.max_completion_length
        start = time.monotonic()
        try:
            completions = sample(
                self.policy,
                ids,
                copies=2,
                max_tokens=settings.max_completion_length,
                sampler=self.sampler,
                seed=stream_seed(settings.seed, "sampling", step),
                progress=lambda tokens: self.journal.progress("sampling", tokens, most, "tokens"),
                stop=self._held,
            )
        except Interrupted:
            self.order.restore(order)
            raise
        seconds = time.monotonic() - start
        self.means.add("sample_seconds", seconds)
        self.means.add("sampled_tokens", sum(len(c.ids) for both in completions for c in both))
        pairs = [
            make_pair(
                step=step,
                index=index,
                weights_step=self.step,
                prompt=prompt,
                prompt_ids=prompt_ids,
                completions=(first, second),
                texts=(self.policy.text(first.ids), self.policy.text(second.ids)),
            )
            for index, (prompt, prompt_ids, (first, second)) in enumerate(
                zip(prompts, ids, completions, strict=True)
            )
        ]
        self.sampled = step
        if self.judge.stores_labels:
            self.journal.remember(step, pairs, self.order.state())
        self.judge.submit(pairs)

    def _collect(self) -> list[tuple[Pair, Verdict]] | None:
        start = time.monotonic()
        judged = self.judge.collect()
        if judged is not None:
            self.means.add("judge_seconds", time.monotonic() - start)
        return judged

    def _learn(self, judged: list[tuple[Pair, Verdict]]) -> None:
        """Take the step of a judged batch, and what is due after it."""
        start = time.monotonic()
        self.step += 1
        self.journal.step = self.step
        self.journal.progress("updating", 0, len(judged), "pairs")
        learned = self.update.step(judged, step=self.step, last=self.step == self.total_steps)
        self.means.add("update_seconds", time.monotonic() - start)
        self._measure(judged, learned)
        self.journal.judged(judged, self.judge.name, stored=self.judge.stores_labels)
        self.journal.advance(self.step, self.seconds)
        self._look_after_health()
        if self._due(self.settings.steps_per_report):
            self._report()
        if self._evaluation_due():
            self._evaluate("valid")
        if self._due(self.settings.save_every):
            self.save()
        self._guard_memory()
        self._start_clock()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.total_steps

    def _evaluation_due(self) -> bool:
        return self.settings.steps_per_eval > 0 and self._due(self.settings.steps_per_eval)

    # -- measuring -------------------------------------------------------------------------------

    def _measure(self, judged: list[tuple[Pair, Verdict]], learned: StepResult) -> None:
        """Add this step to the means of the next report, and tell of it."""
        own = Averages()
        for means in (own, self.means):
            add_judged(means, judged)
            for name, value in learned.means.items():
                means.add(name, value, learned.pairs)
            means.add("trained_pairs", 1, learned.pairs)
            means.add("dropped_steps", float(learned.dropped is not None))
            means.add("grad_norm", learned.grad_norm)
            means.add("learning_rate", self.update.learning_rate)
        if learned.dropped:
            self.journal.log("warning", f"step {self.step} changed nothing: {learned.dropped}")
        seconds = time.monotonic() - self._mark
        self.seconds += seconds
        self.means.add("step_seconds", seconds)
        own.add("step_seconds", seconds)
        metrics = {name: value for name, value in own.report().items() if value is not None}
        self.health.add(metrics)
        self.health.verdicts.update(verdict.choice for _, verdict in judged)
        self.journal.emit(StepDone(step=self.step, total_steps=self.total_steps, metrics=metrics))

    def _look_after_health(self) -> None:
        """Tell how the run is doing where that has changed, and log what is new."""
        findings = self.health.findings()
        if findings != self._findings:
            self._findings = findings
            self.journal.emit(HealthChanged(step=self.step, findings=findings))
        if news := self.health.news(self.step, findings):
            for finding in news:
                self.journal.log("warning", sentence(finding))
            self.journal.update(health=self._told_findings())

    def _told_findings(self) -> list[dict[str, str]]:
        return [asdict(finding) for finding in self._findings or ()]

    def _report(self) -> None:
        """Write the means since the last report, and start anew."""
        line = {"step": self.step} | self.means.report()
        # On a CPU numpy holds arrays too, and what counts is the whole process.
        process = process_memory() if backend() == "cpu" else 0
        line["peak_memory_gb"] = max(mx.get_peak_memory(), process) / 1e9
        line["seconds"] = self.seconds
        mx.reset_peak_memory()
        self.means = Averages()
        self.journal.metrics(line)
        metrics = {name: value for name, value in line.items() if value is not None}
        self.journal.emit(Report(step=self.step, metrics=metrics))
        self.journal.update(loss=line["loss"], metrics=metrics, health=self._told_findings())

    def _evaluate(self, split: str) -> None:
        """Measure the win rate on a split, if it has prompts and the judge is a model."""
        evaluation = self.evaluations.get(split)
        if evaluation is None:
            return
        self.journal.progress("evaluating")
        result = evaluation.measure(self.policy)
        self.evaluated = self.step
        if result is None:
            invalid = counted(len(evaluation), "prompt")
            self._no_win_rate(split, f"the judge gave no valid verdict on {invalid}")
            return
        line = {
            "win_rate": result.win_rate,
            "win_rate_low": result.low,
            "win_rate_high": result.high,
        }
        self.journal.metrics({"step": self.step, "split": split, "prompts": result.prompts} | line)
        examples = [
            {"prompt": each.prompt, "before": each.before, "after": each.after}
            for each in result.examples
        ]
        self.health.add({"win_rate": result.win_rate})
        self.journal.update(**line, examples=examples)
        self.journal.log(
            "info",
            f"step {self.step} win rate {result.win_rate:.1%} on {split} "
            f"({result.low:.1%} to {result.high:.1%}, {result.prompts} prompts)"
            + (f"; {result.invalid} more got no valid verdict" if result.invalid else ""),
        )
        self.journal.emit(
            Evaluated(
                step=self.step,
                split="test" if split == "test" else "valid",
                prompts=result.prompts,
                examples=result.examples,
                **line,
            )
        )

    def _no_win_rate(self, split: str, why: str) -> None:
        """Say why; the line of metrics is there for who waits for an evaluation that was asked."""
        nothing = dict.fromkeys(("win_rate", "win_rate_low", "win_rate_high"))
        self.journal.metrics({"step": self.step, "split": split, "prompts": 0} | nothing)
        self.journal.log("warning", f"step {self.step}: no win rate, {why}")

    def test(self) -> None:
        """The win rate on the test split, where the settings ask for it."""
        self._evaluate("test")

    # -- waiting and being asked -----------------------------------------------------------------

    def _held(self) -> bool:
        """Sleep while paused; True when asked to stop. Looked at between tokens."""
        if self.control.paused:
            paused = time.monotonic()
            self.journal.update(status="paused")
            while self.control.paused:
                self.journal.progress("paused")
                self.control.wait(POLL_SECONDS)
            self._mark += time.monotonic() - paused
            if not self.control.stopping:
                self.journal.update(status="running")
        return self.control.stopping

    def _serve_requests(self) -> None:
        if self.control.take("evaluate"):
            if "valid" in self.evaluations:
                self._evaluate("valid")
            else:
                self._no_win_rate("valid", "this run has no prompts to evaluate on")
        if self.control.take("save"):
            self.save()

    def _wait(self) -> None:
        """A person is at work."""
        self.journal.progress("waiting")
        self.control.wait(min(POLL_SECONDS, self.judge.settles_in()))

    def _start_clock(self) -> None:
        self._mark = time.monotonic()

    def _guard_memory(self) -> None:
        """Save and pause before the system would have to end the process; a pause that nobody can
        end is a stop."""
        limit = self.settings.memory_limit * self._memory
        if not self._memory or self.step == self.total_steps or process_memory() <= limit:
            return
        mx.clear_cache()  # arrays that MLX keeps for later can be had back
        if (used := process_memory()) > limit:
            why = (
                f"with a checkpoint: {used / 1e9:.1f} GB are in use, above memory_limit "
                f"({limit / 1e9:.1f} GB); free memory or lower batch_size, then go on"
            )
            if not self.control.attended:
                self.halted = f"stopped {why}"
                self.control.stop()
                return
            self.journal.log("error", f"paused {why}")
            self.save()
            self.control.pause()

    # -- the state -------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of this step."""
        state = {
            "step": self.step,
            "sampled": self.sampled,
            "evaluated": self.evaluated,
            "seconds": self.seconds,
            "order": self.order.state(),
            "means": self.means.state(),
            "health": self.health.state(),
            "pending": [[pair.to_json() for pair in batch] for batch in self.judge.pending()],
        }
        self.journal.checkpoint(lambda folder: checkpoints.save(folder, self.update, state))
        self.journal.update()  # with how far the run is

    def restore(self, folder: Path | None) -> None:
        """Go on from a checkpoint, or from the start without one; ask again for what waited."""
        pending: list[list[Pair]] = []
        if folder is not None:
            state = checkpoints.restore(folder, self.update)
            self.step = self.journal.step = state["step"]
            self.sampled = state["sampled"]
            self.evaluated = state["evaluated"]
            self.seconds = state["seconds"]
            self.order.restore(state["order"])
            self.means = Averages(state["means"])
            # Older checkpoints do not tell; their runs are taken to have learned.
            self.health = Health(state.get("health", {"learned_pairs": self.step}))
            pending = [[Pair.from_json(pair) for pair in batch] for batch in state["pending"]]
        # What a person was asked since the checkpoint comes back too, and is not asked again.
        waiting = {batch[0].step: batch for batch in pending}
        for line in self.journal.run.read(SAMPLED):
            try:
                step, pairs = int(line["step"]), [Pair.from_json(pair) for pair in line["pairs"]]
                if step > self.sampled:
                    self.order.restore(line["order"])
                    self.sampled = step
                if step > self.step:
                    waiting.setdefault(step, pairs)
            except DAMAGE as error:
                self.journal.log("warning", f"{SAMPLED}: a damaged line is left out ({error!r})")
        self.journal.advance(self.step, self.seconds)
        for _, batch in sorted(waiting.items()):
            self.judge.resubmit(batch)


def total_steps(settings: Settings, prompts: int) -> int:
    """Steps of a run over so many prompts."""
    if settings.epochs > 0:
        return max(1, math.ceil(settings.epochs * prompts / settings.batch_size))
    return settings.iters
