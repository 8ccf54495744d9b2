"""What a run's steps measured: means between reports, health, and win rates."""

from collections.abc import Sequence
from dataclasses import asdict

import mlx.core as mx

from engine.data.columns import counted
from engine.data.pairs import JudgedPair
from engine.events import Evaluated, Finding, HealthChanged, Report, StepDone
from engine.machine.backend import backend
from engine.machine.memory import process_memory
from engine.settings.schema import Settings
from engine.train.advice import fitting
from engine.train.evaluation import WinRate
from engine.train.health import sentence
from engine.train.journal import Journal
from engine.train.metrics import Averages, add_judged
from engine.train.state import TrainingState
from engine.train.update import StepResult


class Reporter:
    """Adds up what steps measure in a run's state, and tells of it through its journal."""

    def __init__(
        self, state: TrainingState, total_steps: int, journal: Journal, settings: Settings
    ) -> None:
        self._state = state
        self._settings = settings
        self._total_steps = total_steps
        self._journal = journal
        self._findings: tuple[Finding, ...] | None = None  # of the last HealthChanged

    def add_sampling(self, tokens: int, seconds: float) -> None:
        """Add the sampling of a batch."""
        self._state.averages.add("sample_seconds", seconds)
        self._state.averages.add("sampled_tokens", tokens)

    def add_judging(self, seconds: float) -> None:
        """Add the time that verdicts took."""
        self._state.averages.add("judge_seconds", seconds)

    def add_step(
        self,
        judged: Sequence[JudgedPair],
        result: StepResult,
        *,
        learning_rate: float,
        update_seconds: float,
        step_seconds: float,
    ) -> None:
        """Add a step to the means of the next report, and tell of it."""
        state, own = self._state, Averages()
        state.averages.add("update_seconds", update_seconds)
        for averages in (own, state.averages):
            add_judged(averages, judged)
            for name, value in result.means.items():
                averages.add(name, value, result.pairs)
            averages.add("trained_pairs", 1, result.pairs)
            averages.add("dropped_steps", float(result.dropped is not None))
            averages.add("grad_norm", result.grad_norm)
            averages.add("learning_rate", learning_rate)
            averages.add("step_seconds", step_seconds)
        state.seconds += step_seconds
        if result.dropped:
            self._journal.log("warning", f"step {state.step} changed nothing: {result.dropped}")
        metrics = {name: value for name, value in own.report().items() if value is not None}
        state.health.add(metrics)
        state.health.verdicts.update(each.verdict.choice for each in judged)
        self._journal.emit(
            StepDone(step=state.step, total_steps=self._total_steps, metrics=metrics)
        )

    def report_health(self) -> None:
        """Tell how the run is doing where that has changed, and log what is new."""
        step, health = self._state.step, self._state.health
        findings = tuple(fitting(each, self._settings) for each in health.findings())
        if findings != self._findings:
            self._findings = findings
            self._journal.emit(HealthChanged(step=step, findings=findings))
        if news := health.news(step, findings):
            for finding in news:
                self._journal.log("warning", sentence(finding))
            self._journal.update(health=self._findings_as_json())

    def report(self) -> None:
        """Write the means since the last report, and start anew."""
        state = self._state
        line = {"step": state.step} | state.averages.report()
        # On a CPU numpy holds arrays too, and what counts is the whole process.
        process = process_memory() if backend() == "cpu" else 0
        line["peak_memory_gb"] = max(mx.get_peak_memory(), process) / 1e9
        line["seconds"] = state.seconds
        mx.reset_peak_memory()
        state.averages = Averages()
        self._journal.metrics(line)
        metrics = {name: value for name, value in line.items() if value is not None}
        self._journal.emit(Report(step=state.step, metrics=metrics))
        self._journal.update(loss=line["loss"], metrics=metrics, health=self._findings_as_json())

    def report_win_rate(self, split: str, result: WinRate) -> None:
        """Write and tell of a win rate on a split."""
        step = self._state.step
        line = {
            "win_rate": result.win_rate,
            "win_rate_low": result.low,
            "win_rate_high": result.high,
        }
        self._journal.metrics({"step": step, "split": split, "prompts": result.prompts} | line)
        self._state.health.add({"win_rate": result.win_rate})
        examples = [
            {"prompt": each.prompt, "before": each.before, "after": each.after}
            for each in result.examples
        ]
        self._journal.update(**line, win_rate_step=step, examples=examples)
        self._journal.log(
            "info",
            f"step {step} win rate {result.win_rate:.1%} on {split} "
            f"({result.low:.1%} to {result.high:.1%}, {result.prompts} prompts)"
            + (f"; {result.invalid} more got no valid verdict" if result.invalid else ""),
        )
        self._journal.emit(
            Evaluated(
                step=step,
                split="test" if split == "test" else "valid",
                prompts=result.prompts,
                examples=result.examples,
                **line,
            )
        )

    def report_no_verdict(self, split: str, prompts: int) -> None:
        """Say that a split could not be judged."""
        self._no_win_rate(split, f"the judge gave no valid verdict on {counted(prompts, 'prompt')}")

    def report_no_prompts(self) -> None:
        """Say that a run has nothing to evaluate on."""
        self._no_win_rate("valid", "this run has no prompts to evaluate on")

    def _no_win_rate(self, split: str, why: str) -> None:
        """The line of metrics is there for who waits for an evaluation that was requested."""
        step = self._state.step
        nothing = dict.fromkeys(("win_rate", "win_rate_low", "win_rate_high"))
        self._journal.metrics({"step": step, "split": split, "prompts": 0} | nothing)
        self._journal.log("warning", f"step {step}: no win rate, {why}")

    def _findings_as_json(self) -> list[dict[str, str]]:
        return [asdict(finding) for finding in self._findings or ()]
