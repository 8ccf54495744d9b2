"""Every setting, once: its name, type, default, bounds, unit, section and what turning it does.

`sections/` holds them, a file each section. The form, the YAML, the command line and the page of
all settings are drawn from `Settings`. How settings are read from files and written to them is
the subject of `engine.settings.files`.
"""

from functools import cache
from typing import Any

from engine.settings.fields import Setting, describe
from engine.settings.judge_names import HYBRID
from engine.settings.sections.fine_tune import FineTuneSettings
from engine.settings.sections.judge import JudgeSettings
from engine.settings.sections.model_and_data import ModelAndDataSettings
from engine.settings.sections.output import OutputSettings
from engine.settings.sections.preference import PreferenceSettings
from engine.settings.sections.session import SessionSettings
from engine.settings.sections.training import TrainingSettings


# The last section first, since pydantic takes the fields of the last base first.
class Settings(
    SessionSettings,
    OutputSettings,
    JudgeSettings,
    PreferenceSettings,
    TrainingSettings,
    FineTuneSettings,
    ModelAndDataSettings,
):
    """All settings of a run, validated one by one; `problems` looks at them together."""

    @property
    def prompt_tokens(self) -> int:
        """Room for a prompt, in tokens: what the longest completion leaves of `max_seq_length`."""
        return self.max_seq_length - self.max_completion_length

    @property
    def judged_tokens(self) -> int:
        """`judge_max_tokens`, or the default: room for what the policy reads and writes, also
        where the judge's tokenizer makes more tokens of it."""
        return self.judge_max_tokens or max(32, 2 * self.max_seq_length)

    @property
    def lookahead_batches(self) -> int:
        """`lookahead` with `auto` resolved."""
        if self.lookahead == "auto":
            return 1 if self.human_judge else 4 if self.judge == HYBRID else 0
        return self.lookahead


@cache
def fields() -> tuple[Setting, ...]:
    """Every setting in the order of the form, nested ones with dotted keys."""
    return tuple(describe(Settings))


SECTIONS = tuple(dict.fromkeys(field.section for field in fields()))


def value(settings: Settings, key: str) -> Any:
    """The value of a setting by its dotted key."""
    part: Any = settings
    for name in key.split("."):
        part = getattr(part, name)
    return part


def no_effect(settings: Settings) -> dict[str, str]:
    """The settings that change nothing now, each with the reason."""
    return {
        field.key: field.applies.otherwise
        for field in fields()
        if field.applies and not field.applies.holds(settings)
    }


def changed(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that are not at their default: key -> (value, default)."""
    values = ((field.key, value(settings, field.key), field.default) for field in fields())
    return {key: (now, default) for key, now, default in values if now != default}
