"""The first page of the form: what a run needs, and what differs from where the form began or from
the ready-made settings nearest to that (`tui.setup.origin`)."""

from tui.setup.form import FIELDS, Form
from tui.setup.origin import Origin

WHAT = ("model", "data", "prompt_feature", "judge", "judge_system", "run_name")
HOW = (
    "iters",
    "batch_size",
    "learning_rate",
    "max_completion_length",
    "train_type",
    "lora_parameters.rank",
    "beta",
    "temperature",
)
WHAT_TITLE, HOW_TITLE = "what is trained", "how"


def added(form: Form, origin: Origin, current: str | None = None) -> list[str]:
    """The settings that are on the page because they were changed, or have to be mended; the
    `current` one stays as long as the cursor is on it."""
    return [
        key
        for key in FIELDS
        if key not in (*WHAT, *HOW)
        and (key == current or key in form.problems or origin.changed(form, key))
    ]


def columns(
    form: Form, origin: Origin, current: str | None = None, *, two: bool = False
) -> list[list[str]]:
    """The titles and settings of the page, in one column or in two. The cursor is on the setting
    `current`."""
    more = added(form, origin, current)
    names = origin.names(form, more) or origin.source
    changed = [f"changed from {names}", *more] if more else []
    if two:
        return [[WHAT_TITLE, *WHAT, *changed], [HOW_TITLE, *HOW]]
    return [[*WHAT, *HOW, *changed]]
