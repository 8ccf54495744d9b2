"""What a run does at this moment, how far it is and how fast, in words."""

from collections.abc import Callable

from engine.events import Progress
from tui.text.format import count, duration, number
from tui.text.safe_text import safe_line

PHASES = {
    "starting": "starting",
    "loading": "loading the models",
    "downloading": "downloading",
    "sampling": "sampling",
    "judging": "judging",
    "waiting": "waiting for your verdict",
    "updating": "updating",
    "warming": "warm start: learning from earlier pairs",
    "evaluating": "evaluating",
    "saving": "saving a checkpoint",
    "fusing": "fusing the model",
    "paused": "paused",
    "idle": "idle",
}
# In a sentence of its own, for a person who waits for the next pair.
SENTENCES = {
    "starting": "The run is starting",
    "loading": "Loading the model",
    "sampling": "Sampling the next pairs",
    "updating": "Learning from the last batch",
    "warming": "Warm start: the run learns from earlier pairs first",
    "paused": "The run is paused; f3 and p let it go on",
}
SPEEDS = (("pairs_per_second", "pairs/s"), ("sampled_tokens_per_second", "tok/s"))


def phase_words(phase: str) -> str:
    """A phase in a few words; one that is not known stands for itself."""
    return PHASES.get(phase, phase)


def phase_sentence(phase: str) -> str:
    """A phase as the beginning of a sentence."""
    return SENTENCES.get(phase) or phase_words(phase).capitalize()


def amount(progress: Progress) -> str:
    """How far a phase is: `12 of 30 pairs`; empty where it does not say."""
    if not (progress.done or progress.total):
        return ""
    of = f" of {progress.total:,}" if progress.total else ""
    share = "" if progress.share is None else f" · {progress.share:.0%}"
    return safe_line(f"{progress.done:,}{of} {progress.unit}".rstrip()) + share


def activity(phase: str, progress: Progress | None) -> str:
    """A phase and how far it is: `sampling 12 of 30 pairs`."""
    far = amount(progress) if progress and progress.phase == phase else ""
    return f"{phase_words(phase)} {far}".rstrip()


def speeds(latest: Callable[[str], float | None]) -> list[str]:
    """How fast a run goes, from the newest values of its metrics: `4.9 pairs/s`, `407 tok/s`."""
    known = [(value, unit) for name, unit in SPEEDS if (value := latest(name)) is not None]
    return [f"{number(value, 2) if value < 100 else count(value)} {unit}" for value, unit in known]


def time_left(seconds: float | None, *, warming: bool = False) -> str:
    """How long the rest will take, or that of a warm start; empty before that is known."""
    of = " of the warm start" if warming else ""
    return "" if seconds is None else f"{duration(seconds)} left{of}"
