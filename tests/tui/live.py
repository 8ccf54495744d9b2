"""A run that trains in the app without an engine: a session whose events a test decides."""

import math
import random
from collections.abc import Iterable, Sequence

from engine.events import (
    Evaluated,
    Event,
    PairJudged,
    PairSampled,
    Progress,
    Report,
    RunEnded,
    RunStarted,
    RunStatus,
    StepDone,
)
from engine.runs.folder import Run
from engine.settings.files import preset
from engine.settings.schema import Settings
from tui.app import StudioApp
from tui.state.run_view import RunView

START = 1_790_000_000.0  # seconds since the epoch
SECONDS = 8.0  # a step


class LiveSession:
    """The part of `engine.session.Session` that the app uses."""

    def __init__(self, events: Iterable[Event] = (), settings: Settings | None = None) -> None:
        self.settings = settings or preset("starter")
        self.events = list(events)
        self.asked: list[str] = []
        self.stopped_by = ""
        self.pairs: list[PairSampled] = []
        self.alive = self.has_folder = self.attended = True
        self._ended: RunStatus = "stopped"
        self.unbegun = self.lingers = False
        self.run: Run | None = None
        self.error: str | None = None

    @property
    def status(self) -> RunStatus:
        paused = [each for each in self.asked if each in ("pause", "unpause")][-1:] == ["pause"]
        return self._ended if not self.alive else "paused" if paused else "running"

    @property
    def stopping(self) -> bool:
        return "stop" in self.asked

    def drain(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def waiting(self) -> list[PairSampled]:
        return self.pairs

    def agreement(self) -> tuple[int, int]:
        return 0, 0

    def join(self, timeout: float | None = None) -> bool:
        self.asked.append("join")
        return True

    def pause(self) -> None:
        self.asked.append("pause")
        self.events.append(Progress(phase="paused", step=3))

    def unpause(self) -> None:
        self.asked.append("unpause")
        self.events.append(Progress(phase="sampling", step=3))

    def stop(self, *, keep: bool = False, by: str = "") -> None:
        self.asked.append("stop")
        self.stopped_by = by

    def screen_has_gone(self) -> None:
        self.attended = False

    def end(self, status: RunStatus = "stopped", error: str | None = None) -> None:
        """What the engine's thread does at its end."""
        self.alive, self._ended = False, status
        self.events.append(RunEnded(status=status, step=3, error=error, time=START))

    def evaluate_now(self) -> None:
        self.asked.append("evaluate")

    def save_now(self) -> None:
        self.asked.append("save")


def attach(app: StudioApp, session: LiveSession) -> RunView:
    """Make a session the app's own, as `start_run` does."""
    app.control.session = session  # type: ignore[assignment]
    view = app.control.view = RunView("polite", settings=session.settings)
    return view


def a_run(steps: int = 40, total: int = 100) -> list[Event]:
    """The events of a calm run, the same every time."""
    chance = random.Random(1)
    events: list[Event] = [started(total=total)]
    for step in range(1, steps + 1):
        at, metrics = START + SECONDS * step, _metrics(step / total, chance)
        events.append(StepDone(time=at, step=step, total_steps=total, metrics=metrics))
        if step % 10 == 0:
            report = metrics | {"peak_memory_gb": 3.1}
            events.append(Report(time=at, step=step, metrics=report))
            events.append(evaluated(step, 0.5 + 0.4 * step / total, at))
    events.append(judged())
    events.append(Progress(time=START, phase="judging", step=steps, done=3, total=8, unit="pairs"))
    return events


def started(step: int = 0, total: int = 100) -> RunStarted:
    return RunStarted(
        time=START,
        name="polite",
        folder="",
        step=step,
        total_steps=total,
        device="cpu",
        trainable_parameters=1,
        total_parameters=2,
        prompts=500,
        dropped_prompts={},
    )


def evaluated(step: int, rate: float, at: float = START) -> Evaluated:
    return Evaluated(
        time=at,
        step=step,
        split="valid",
        win_rate=rate,
        win_rate_low=rate - 0.06,
        win_rate_high=rate + 0.06,
        prompts=64,
        examples=(),
    )


def judged(
    prompt: str = "How do I keep basil alive?", first: str = "", second: str = ""
) -> PairJudged:
    return PairJudged(
        time=START,
        pair_id="0000040-000",
        step=40,
        prompt=prompt,
        first=first or "Give it six hours of light and water it when the soil is dry.",
        second=second or "Basil is a herb that comes from India.",
        choice="first",
        q=0.88,
        judge="starter",
    )


def steps(metric: str, values: Sequence[float]) -> list[Event]:
    """A step for each value of one metric."""
    return [
        StepDone(time=START + n, step=n, total_steps=len(values), metrics={metric: value})
        for n, value in enumerate(values, 1)
    ]


def _metrics(share: float, chance: random.Random) -> dict[str, float]:
    def around(value: float, spread: float) -> float:
        return chance.gauss(value, spread)

    return {
        "loss": around(0.69 * math.exp(-2 * share), 0.02),
        "margin": around(2 * share, 0.1),
        "accuracy": min(1.0, around(0.5 + 0.4 * share, 0.03)),
        "kl": abs(around(3 * share, 0.1)),
        "completion_tokens": around(150, 5),
        "swap_consistency": min(1.0, around(0.93, 0.02)),
        "first_position_rate": around(0.5, 0.02),
        "judge_q": around(0.85, 0.02),
        "eos_rate": min(1.0, around(0.97, 0.01)),
        "grad_norm": abs(around(1.0, 0.1)),
        "learning_rate": 1e-5,
        "sampled_tokens_per_second": around(412, 10),
        "pairs_per_second": around(5.1, 0.1),
        "chosen_logp": around(-90, 1),
        "rejected_logp": around(-95, 1),
        "tie_rate": 0.1,
        "identical_rate": 0.0,
        "invalid_rate": 0.0,
    }
