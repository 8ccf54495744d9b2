"""What a finding advises, without what the settings do already or make of no effect."""

from collections.abc import Callable
from dataclasses import replace

from engine.events import Finding
from engine.settings.conditions import LLM, READER, SUMMED
from engine.settings.schema import Settings

_RUBRIC = (
    "make the rubric tell answers apart",
    "make the rubric concrete",
    "mend the rubric",
    "say in the rubric that short is good",
    "favour short answers in the rubric",
    "ask for more in the rubric",
    "a rubric that says what to look for",
    "use a judge that keeps to its winner when answers are swapped",
)
# An option of some advice, and when it is of no use to a run.
_OF_NO_USE: tuple[tuple[str, Callable[[Settings], bool]], ...] = (
    ("set max_grad_norm to 1 or less", lambda each: 0 < (each.max_grad_norm or 0) <= 1),
    (
        "lower judge_margin if it is above 0",
        lambda each: not (each.judge_margin and LLM.holds(each)),
    ),
    ("set max_kl", lambda each: each.max_kl > 0),
    ("set length_penalty", lambda each: each.length_penalty > 0 or not LLM.holds(each)),
    ("set length_normalize", lambda each: each.length_normalize or not SUMMED.holds(each)),
    ("say missing_eos: lose", lambda each: each.missing_eos == "lose"),
    ("use the dpop loss, which holds chosen answers up", lambda each: not _may_use_dpop(each)),
    ("judge_mode: generate lets one think first", lambda each: each.judge_mode == "generate"),
    *((option, lambda each: not READER.holds(each)) for option in _RUBRIC),
)
_LLM_TIES = (
    ": the judge is closer to 0.5 than judge_margin, or its two orders disagree under "
    "judge_ties: orders"
)
_FOLLOWS = "Use a judge that follows instructions; judge_mode: generate lets one think first."
_MEND = "Mend the function that judges; the log says why its verdicts are not valid."


def fitting(finding: Finding, settings: Settings) -> Finding:
    """The finding with what is left of it, and of its advice, for a run with these settings."""
    advice, means = finding.advice, finding.means
    if not LLM.holds(settings):
        means = means.replace(_LLM_TIES, "")
    if not READER.holds(settings):
        advice = advice.replace(_FOLLOWS, _MEND)
    for option, of_no_use in _OF_NO_USE:
        if of_no_use(settings):
            advice = _without(advice, option)
    if (advice, means) == (finding.advice, finding.means):
        return finding
    return replace(finding, advice=advice, means=means)


def _may_use_dpop(settings: Settings) -> bool:
    """Whether the dpop loss would be another one, and not refused beside the other settings."""
    others = settings.length_normalize or settings.label_smoothing
    return not (others or settings.soft_labels == "geometric") and (
        settings.dpo_cpo_loss_type != "dpop"
    )


def _without(advice: str, option: str) -> str:
    """A list `A, b, or c.` without one of its options; it may stand after a semicolon."""
    first = f"{option[0].upper()}{option[1:]}, "
    if advice.startswith(first):
        rest = advice.removeprefix(first).removeprefix("or ")
        return rest[0].upper() + rest[1:]
    if f"; {option}, " in advice:
        return advice.replace(f"; {option}, ", "; ")
    if (last := f", or {option}") in advice:
        return ", or ".join(advice.replace(last, "").rsplit(", ", 1))
    return advice.replace(f", {option}", "").replace(f"; {option}", "")
