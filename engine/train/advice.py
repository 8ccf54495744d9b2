"""What a finding advises, without what the settings do already."""

from collections.abc import Callable
from dataclasses import replace

from engine.events import Finding
from engine.settings.schema import Settings

# A clause of some advice, and when a run is so already.
_ALREADY: tuple[tuple[str, Callable[[Settings], bool]], ...] = (
    (", set max_grad_norm to 1 or less", lambda each: 0 < (each.max_grad_norm or 0) <= 1),
    (", or lower judge_margin if it is above 0", lambda each: each.judge_margin == 0),
    (
        ", use the dpop loss, which holds chosen answers up",
        lambda each: each.dpo_cpo_loss_type == "dpop",
    ),
    (
        "; judge_mode: generate lets one think first",
        lambda each: each.judge_mode == "generate",
    ),
)


def fitting(finding: Finding, settings: Settings) -> Finding:
    """The finding with what is left of its advice for a run with these settings."""
    advice = finding.advice
    for clause, already in _ALREADY:
        if clause in advice and already(settings):
            advice = advice.replace(clause, "")
    return finding if advice == finding.advice else replace(finding, advice=advice)
