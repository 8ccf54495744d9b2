"""What a finding advises, without what the settings do already."""

from collections.abc import Callable
from dataclasses import replace

from engine.events import Finding
from engine.settings.schema import Settings

# A clause of some advice, when it is of no use to a run, and what is said instead.
_OF_NO_USE: tuple[tuple[str, Callable[[Settings], bool], str], ...] = (
    (", set max_grad_norm to 1 or less", lambda each: 0 < (each.max_grad_norm or 0) <= 1, ""),
    (", or lower judge_margin if it is above 0", lambda each: each.judge_margin == 0, ""),
    (
        ", use the dpop loss, which holds chosen answers up",
        lambda each: each.dpo_cpo_loss_type == "dpop",
        "",
    ),
    (
        "Use a judge that follows instructions; judge_mode: generate lets one think first.",
        lambda each: each.judge_kinds.isdisjoint(("model", "server")),
        "Mend the function that judges; the log says why its verdicts are not valid.",
    ),
    (
        "; judge_mode: generate lets one think first",
        lambda each: each.judge_mode == "generate",
        "",
    ),
)


def fitting(finding: Finding, settings: Settings) -> Finding:
    """The finding with what is left of its advice for a run with these settings."""
    advice = finding.advice
    for clause, of_no_use, instead in _OF_NO_USE:
        if clause in advice and of_no_use(settings):
            advice = advice.replace(clause, instead)
    return finding if advice == finding.advice else replace(finding, advice=advice)
