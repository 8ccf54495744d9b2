"""What a run will take, in the words of the line under the form and of the table behind it."""

from dataclasses import dataclass

from engine.errors import UserError
from engine.json_number import real
from engine.machine import hub
from engine.model import files
from engine.plan.judging import judging_cost
from engine.plan.memory import MemoryPlan, missing, parameters, plan, refusal
from engine.plan.rates import RateAdvice, rate_advice
from engine.runs import archive
from engine.runs.folder import METRICS
from engine.settings.local_paths import anchored
from engine.settings.schema import Settings
from tui.text.format import duration, size
from tui.text.safe_text import safe_line

MAX_EARLIER_RUNS = 3  # earlier runs that may tell how long a step takes
WORTH_TELLING = 1.5  # times the memory that prompts as long as settings allow may take more
# What a step's duration depends on most.
PACE = (
    "batch_size",
    "completions",
    "max_completion_length",
    "train_type",
    "quantization",
    "grad_checkpoint",
)


@dataclass(frozen=True)
class Cost:
    """The plan of a run, why it will not fit if so, and how long a step took before.

    `at_most` are the bytes that it takes should prompts be as long as `max_seq_length` allows.
    `absent` is the key and the name of a model or of data that is not here and cannot be fetched,
    `misnamed` the key of a model's name that can be none, with the reason.
    """

    plan: MemoryPlan
    refusal: str | None
    step_seconds: float | None
    measured_in: str = ""
    absent: tuple[str, str] | None = None
    rate: RateAdvice | None = None
    misnamed: tuple[str, str] | None = None
    at_most: int = 0


def cost(
    settings: Settings,
    *,
    longest: int | None = None,
    prompts: int | None = None,
    reading: bool = False,
    ask_hub: bool = False,
) -> Cost:
    """What a run with these settings will take. Reads files, and may ask the hub.

    Args:
        longest: the tokens of the data's longest prompt, as far as they are known.
        prompts: that the run trains on, as far as they are known.
        reading: whether that is about to be known; whether the run fits is not said before.

    Raises:
        UserError: a model is not what the settings take it for.
    """
    planned = plan(settings, ask_hub=ask_hub, longest_prompt=longest)
    at_most = planned if longest is None else plan(settings)
    seconds, name = earlier_pace(settings)
    misnamed = misnamed_model(settings)
    absent = None
    if ask_hub and not misnamed and planned.download is None and not hub.hub_reachable():
        absent = next(iter(missing(settings)), None)
    refused = None if reading else refusal(planned, settings)
    rate = rate_advice(settings, parameters(settings), prompts)
    return Cost(planned, refused, seconds, name, absent, rate, misnamed, at_most.known)


def misnamed_model(settings: Settings) -> tuple[str, str] | None:
    """The setting whose model can be none by its name, such as a file of data, and why."""
    names = [("model", settings.model)]
    if settings.reference_model_path:
        names.append(("reference_model_path", settings.reference_model_path))
    names += [(key, name) for name, key in settings.judge_names("model").items()]
    reasons = ((key, files.misnamed(name)) for key, name in names)
    return next(((key, reason) for key, reason in reasons if reason), None)


def earlier_pace(settings: Settings) -> tuple[float | None, str]:
    """Seconds a step took in the newest run of the same kind, and the name of that run."""
    settings = anchored(settings)  # as those of runs are
    count = 0
    for run in archive.list_runs(archive.runs_root(settings)):
        same = (run.model, run.judge) == (settings.model, settings.judge)
        if run.damaged or not same or not run.step:
            continue
        if (count := count + 1) > MAX_EARLIER_RUNS:
            break
        try:
            earlier = archive.Run(run.path).known_settings()[0]
        except UserError:
            continue
        if all(getattr(earlier, key) == getattr(settings, key) for key in PACE):
            for record in reversed(archive.Run(run.path).last(METRICS, 3)):
                seconds = real(record.get("step_seconds"))
                if seconds is not None and seconds > 0:
                    return seconds, run.name
    return None, ""


def sentence(settings: Settings, cost: Cost | None) -> str:
    """The line that is always true: memory, download, time a step, steps."""
    parts = ["looking at the model …"]
    if cost:
        download = f"{cost.absent[0]} is not here" if cost.absent else _download(cost.plan)
        parts = [_memory(cost), download]
    if cost and cost.step_seconds:
        parts.append(f"about {duration(cost.step_seconds)} a step")
    if settings.human_judge:
        parts.append("as fast as you judge")
    parts.append(length(settings))
    if judging := judging_cost(settings):
        parts.append(judging)
    return " · ".join(parts) + _rate_line(cost)


def _rate_line(cost: Cost | None) -> str:
    """A second line: what was measured that tells of the learning rate."""
    if cost is None or cost.rate is None:
        return ""
    return f"\n{'! ' if cost.rate.warning else ''}{cost.rate.text}"


def length(settings: Settings) -> str:
    """How long the run is, in its own measure."""
    warms_up = settings.warm_start and settings.warm_start_epochs
    return f"{_own_length(settings)}{' after a warm start' if warms_up else ''}"


def _own_length(settings: Settings) -> str:
    if settings.epochs:
        return (
            f"{settings.epochs:g} {'pass' if settings.epochs == 1 else 'passes'} over the prompts"
        )
    return f"{settings.iters:,} step{'s' * (settings.iters != 1)}"


def table(cost: Cost) -> list[tuple[str, str, str]]:
    """Memory by part: name, size and a remark; the sum and the machine last."""
    each = cost.plan
    shared = "shares those above"
    rows = [
        ("policy", each.policy, ""),
        ("reference", each.reference, shared if each.reference == 0 else ""),
        ("judge", each.judge, shared if each.judge == 0 else ""),
        ("adapters", each.adapters, ""),
        ("optimizer", each.optimizer, "with gradients"),
        ("cache", each.cache, "at most, sampling"),
        ("activations", each.activations, "at most, scoring"),
        ("program", each.program, ""),
    ]
    lines = [(name, _size(size), remark) for name, size, remark in rows]
    total = size(each.known) if each.total is not None else f"over {size(each.known)}"
    lines.append(("needs", total, "cache or activations"))
    if each.longest_prompt is not None:
        lines.append(("at most", size(cost.at_most), "by max_seq_length"))
    free = f"{size(each.machine_available)} free now"
    lines.append(("machine", size(each.machine_total), free))
    lines.append(("download", _size(each.download), ""))
    if cost.step_seconds:
        remark = f"as in {safe_line(cost.measured_in, 14)}"
        lines.append(("a step", duration(cost.step_seconds), remark))
    return lines


def _size(count: int | None) -> str:
    return "?" if count is None else size(count) if count else "–"


def _memory(cost: Cost) -> str:
    each = cost.plan
    needed = f"{each.known / 1e9:.1f}{'' if each.total is not None else '+'}"
    machine = f"of {each.machine_total / 1e9:.0f} GB" if each.machine_total else "GB"
    more = cost.at_most > WORTH_TELLING * each.known
    by_settings = f" ({cost.at_most / 1e9:.1f} by max_seq_length)" if more else ""
    return f"needs {needed} {machine}{by_settings}"


def _download(each: MemoryPlan) -> str:
    if each.download is None:
        return "downloads the model"
    return f"downloads {size(each.download)}" if each.download else "no download"
