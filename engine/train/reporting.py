"""What a run's steps measured: means between reports, health, and win rates."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

import mlx.core as mx

from engine.data.columns import counted
from engine.data.pairs import JudgedPair
from engine.events import (
    EVAL_WIN_RATE,
    WIN_RATE,
    Evaluated,
    Finding,
    Guarded,
    HealthChanged,
    Report,
    Split,
    StepDone,
    SuiteChange,
)
from engine.machine.backend import backend
from engine.machine.memory import process_memory
from engine.settings.schema import Settings
from engine.train.evaluation import WinRate
from engine.train.journal import Journal
from engine.train.metrics import Averages, add_judged
from engine.train.state import TrainingState
from engine.train.update import StepResult
from engine.train.watch.advice import fitting
from engine.train.watch.findings import findings_of, sentence
from engine.train.watch.guard import changes_in_words, loss_in_words

SPLITS: dict[Split, str] = {
    "valid": "valid",
    "test": "test",
    "kept": "valid, with answers drawn anew",
}
Measures = Callable[[int], dict[str, float]]  # by metric, up to a step


class StepMeasures(Protocol):
    """What is measured of each step by somebody else."""

    def restart(self) -> None:
        """A step begins: what was measured since the last one is no part of it."""
        ...

    def of_step(self) -> dict[str, float]:
        """The metrics of the step that ends now."""
        ...


class Reporter:
    """Adds up what steps measure in a run's state, and tells of it through its journal."""

    def __init__(
        self,
        state: TrainingState,
        total_steps: int,
        journal: Journal,
        settings: Settings,
        measures: Measures | None = None,
        step_measures: StepMeasures | None = None,
    ) -> None:
        self._step_measures = step_measures
        self._state = state
        self._settings = settings
        self._measures = measures or (lambda step: {})
        self._total_steps = total_steps
        self._journal = journal
        self._findings: tuple[Finding, ...] | None = None  # of the last HealthChanged

    def begin_step(self) -> None:
        """A step begins, after whatever was done since the last one."""
        if self._step_measures:
            self._step_measures.restart()

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
        measured = self._step_measures.of_step() if self._step_measures else {}
        for averages in (own, state.averages):
            add_judged(averages, judged)
            for name, value in result.means.items():
                all_pairs = name == "loss" or not result.pairs
                averages.add(name, value, result.pairs + all_pairs * result.offline)
            averages.add("trained_pairs", 1, result.pairs)
            averages.add("offline_pairs", 1, result.offline)
            averages.add("pairs", 1, 0 if judged else result.offline)  # for the speed
            averages.add("dropped_steps", float(result.dropped is not None))
            averages.add("grad_norm", result.grad_norm)
            averages.add("learning_rate", learning_rate)
            averages.add("step_seconds", step_seconds)
            for name, value in measured.items():
                averages.add(name, value)
        state.seconds += step_seconds
        if result.dropped:
            self._journal.log("warning", f"step {state.step} changed nothing: {result.dropped}")
        metrics = {name: value for name, value in own.report().items() if value is not None}
        metrics |= self._measures(state.step)
        # Of pairs that others wrote it is no trend.
        state.health.add({k: v for k, v in metrics.items() if result.pairs or k != "chosen_logp"})
        state.health.verdicts.update(each.verdict.choice for each in judged)
        self._journal.emit(
            StepDone(
                step=state.step,
                total_steps=self._total_steps,
                metrics=metrics,
                seconds=state.elapsed,
            )
        )

    def report_health(self) -> None:
        """Tell how the run is doing where that has changed, and log what is new."""
        step, health = self._state.step, self._state.health
        findings = tuple(fitting(each, self._settings) for each in findings_of(health))
        if findings != self._findings:
            self._findings = findings
            self._journal.emit(HealthChanged(step=step, findings=findings))
        if news := health.news(step, findings):
            for finding in news:
                self._journal.log("warning", sentence(finding))
            self._journal.update(health=self._findings_as_json())

    def report(self) -> dict[str, float]:
        """Write the means since the last report, and start anew; return those that there are."""
        state = self._state
        line = {"step": state.step} | state.averages.report() | self._measures(state.step)
        # On a CPU numpy holds arrays too, and what counts is the whole process.
        process = process_memory() if backend() == "cpu" else 0
        line["peak_memory_gb"] = max(mx.get_peak_memory(), process) / 1e9
        line["seconds"], line["elapsed_seconds"] = state.seconds, state.elapsed
        mx.reset_peak_memory()
        state.averages = Averages()
        self._journal.metrics(line)
        metrics = {name: value for name, value in line.items() if value is not None}
        self._journal.emit(Report(step=state.step, metrics=metrics))
        self._journal.update(loss=line["loss"], metrics=metrics, health=self._findings_as_json())
        return metrics

    def report_win_rates(
        self, split: Split, rates: Sequence[WinRate | None], prompts: int, step: int
    ) -> None:
        """Write and tell of the win rate on a split of so many prompts, of the policy as it was
        after a step: by the run's judge, and by the evaluator where that is another one; None
        where one gave no valid verdict."""
        rated = [rate for rate in rates if rate]
        if not rated:
            why = f"the judge gave no valid verdict on {counted(prompts, 'prompt')}"
            self._no_win_rate(split, why, step)
            return
        count, *more = (rate.prompts if rate else 0 for rate in rates)
        line = _named(WIN_RATE, rates[0])
        for other in rates[1:]:
            line |= _named(EVAL_WIN_RATE, other)
        counts = {"prompts": count, **({"eval_prompts": sum(more)} if more else {})}
        times = {"elapsed_seconds": self._state.elapsed}
        self._journal.metrics({"step": step, "split": split} | counts | line | times)
        if split != "kept":
            known = {name: value for name, value in line.items() if value is not None}
            self._state.health.add(known)
        examples = rated[0].examples
        self._journal.update(**line, win_rate_step=step, examples=[asdict(e) for e in examples])
        self._journal.log("info", f"step {step} win rate {_in_words(rates, SPLITS[split])}")
        self._journal.emit(
            Evaluated(
                step=step,
                split=split,
                prompts=count,
                examples=examples,
                eval_prompts=sum(more),
                win_rate=line["win_rate"],
                win_rate_low=line["win_rate_low"],
                win_rate_high=line["win_rate_high"],
                eval_win_rate=line.get("eval_win_rate"),
                eval_win_rate_low=line.get("eval_win_rate_low"),
                eval_win_rate_high=line.get("eval_win_rate_high"),
            )
        )
        self.report_health()

    def report_guard(self, changes: Sequence[SuiteChange], step: int) -> None:
        """Write and tell of what the policy of a step can do against what the start could; what
        was lost beyond chance is a finding."""
        self._state.health.unlearned = loss_in_words(changes)
        self._journal.update(guard=[asdict(each) for each in changes], guard_step=step)
        self._journal.log("info", f"step {step}: {changes_in_words(changes)}")
        self._journal.emit(Guarded(step=step, suites=tuple(changes)))
        self.report_health()

    def report_no_prompts(self) -> None:
        """Say that a run has nothing to evaluate on."""
        self._no_win_rate("valid", "this run has no prompts to evaluate on", self._state.step)

    def _no_win_rate(self, split: Split, why: str, step: int) -> None:
        """The line of metrics is there for who waits for an evaluation that was requested."""
        nothing = dict.fromkeys(WIN_RATE)
        self._journal.metrics({"step": step, "split": split, "prompts": 0} | nothing)
        self._journal.log("warning", f"step {step}: no win rate, {why}")

    def _findings_as_json(self) -> list[dict[str, str]]:
        return [asdict(finding) for finding in self._findings or ()]


def _named(names: tuple[str, str, str], rate: WinRate | None) -> dict[str, float | None]:
    """A win rate with its interval, by what metrics.jsonl calls them."""
    values = (rate.win_rate, rate.low, rate.high) if rate else (None, None, None)
    return dict(zip(names, values, strict=True))


def _in_words(rates: Sequence[WinRate | None], split: str) -> str:
    """Win rates for the log: of the judge alone, or by whom each is."""
    by = ("",) if len(rates) == 1 else (" by the judge", " by the evaluator")
    return "; ".join(
        f"{rate.win_rate:.1%}{who} on {split} "
        f"({rate.low:.1%} to {rate.high:.1%}, {rate.prompts} prompts)"
        + (f"; {rate.invalid} more got no valid verdict" if rate.invalid else "")
        if rate
        else f"none{who}, which gave no valid verdict"
        for who, rate in zip(by, rates, strict=True)
    )
